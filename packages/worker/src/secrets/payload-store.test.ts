import type { NodePayload } from '@swarmctl/shared/wire';
import { expect, test } from 'vitest';
import { PayloadStore } from './payload-store.ts';

const payload = (id: string, name: string, base = name, number = 1, kind: 'secret' | 'config' = 'secret') =>
  ({ kind, id, name, version: { base, number }, data: Buffer.from(id), templated: false }) satisfies NodePayload;

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
