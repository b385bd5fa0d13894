import type { PayloadPart } from '@swarmctl/shared/wire';
import { expect, test } from 'vitest';
import { PayloadStore } from './payload-store.ts';

const payload = (id: string, name: string, base = name, number = 1, kind: 'secret' | 'config' = 'secret') =>
  ({
    ...{ kind, id, name, version: { base, number }, data: Buffer.from(id), templated: false },
    ...{ at: 0, size: id.length },
  }) satisfies PayloadPart;

test('is asked by id, by name for the newest version, and by a version', () => {
  const store = new PayloadStore();
  store.put([payload('b', 'cert.v10', 'cert', 10), payload('a', 'cert'), payload('c', 'cert.v2', 'cert', 2)]);
  store.put([payload('d', 'cert', 'cert', 1, 'config')]);
  const id = (reference: string, kind?: 'secret' | 'config') => store.get(reference, kind)?.id;
  expect([id('a'), id('cert'), id('cert.v2'), id('cert', 'config'), id('d'), id('d', 'config'), id('x')]).toEqual([
    'a',
    'b',
    'c',
    'd',
    undefined,
    'd',
    undefined,
  ]);
});

test('tells of what came and went, and of nothing else', () => {
  const store = new PayloadStore();
  let told = 0;
  const end = store.onChange(() => told++);
  store.put([]);
  store.keepOnly(['a']);
  expect(told).toBe(0);
  store.put([payload('a', 'one'), payload('b', 'two')]);
  store.keepOnly(['b', 'c']);
  expect([told, store.get('a'), store.get('b')?.name]).toEqual([2, undefined, 'two']);
  end();
  store.keepOnly([]);
  expect([told, store.get('b')]).toEqual([2, undefined]);
});

test('is put together from pieces, and has nothing of what is not whole', () => {
  const store = new PayloadStore();
  let told = 0;
  store.onChange(() => told++);
  const piece = (at: number, text: string) => ({ ...payload('a', 'one'), at, size: 6, data: Buffer.from(text) });
  store.put([piece(0, 'ab')]);
  store.put([piece(2, 'c')]);
  expect([store.get('one'), told]).toEqual([undefined, 0]);
  // The connection was lost, and another begins anew.
  store.put([piece(0, 'abcd')]);
  store.put([piece(4, 'ef'), payload('b', 'two')]);
  expect([String(store.get('one')?.data), String(store.get('two')?.data), told]).toEqual(['abcdef', 'b', 1]);
  store.put([piece(0, 'ab')]);
  expect(() => store.put([piece(4, 'ef')])).toThrow('secret a: a piece from byte 4 came after 2');
});
