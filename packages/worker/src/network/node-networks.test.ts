import type { Task } from '@swarmctl/shared/model';
import { describe, expect, test } from 'vitest';
import { aService, aTask } from '../../../../test/kit/builders.ts';
import { type NetworkParts, Networks } from './node-networks.ts';

const service = aService({ id: 's', name: 'web' });
const on = (...ids: string[]): Task => ({
  ...aTask({ id: 't1', service }),
  NetworksAttachments: ids.map((ID, i) => ({ Network: { ID }, Addresses: [`10.0.${i}.5/24`] })),
});

function setUp() {
  const done: string[] = [];
  const note =
    (what: string) =>
    async (...args: unknown[]) => {
      done.push(
        [what, ...args.map((arg) => (typeof arg === 'object' && arg && 'ID' in arg ? arg.ID : String(arg)))].join(' '),
      );
    };
  const parts: {
    -readonly [part in keyof NetworkParts]: { -readonly [verb in keyof NetworkParts[part]]: NetworkParts[part][verb] };
  } = {
    overlay: {
      apply: note('apply'),
      attach: async (task) => {
        await note('attach')(task);
        return { networks: {}, dns: ['10.0.0.1'] };
      },
      joined: note('joined'),
      detached: (taskId) => void note('detached')(taskId),
      problems: () => ['a bridge is missing'],
      onTrouble: () => {},
      close: note('close'),
    },
    resolver: { set: () => done.push('names'), close: async () => {} },
    vips: {
      started: note('started'),
      ended: (taskId) => void note('ended')(taskId),
      apply: async () => {},
      problems: () => ['a rule is missing'],
      close: async () => {},
    },
    guests: {
      apply: note('guests'),
      list: () => [],
      onChange: () => () => {},
      problems: () => ['a name is missing'],
      close: async () => {},
    },
  };
  return { networks: new Networks(parts), done, parts };
}

describe('a task', () => {
  test('on no network needs nothing', async () => {
    const { networks, done } = setUp();
    expect(await networks.attach(on())).toBeUndefined();
    await networks.joined(on(), 42);
    networks.left('t1');
    expect(done).toEqual([]);
  });

  test('is attached before its container is made, joins when it runs, and leaves once', async () => {
    const { networks, done } = setUp();
    expect(await networks.attach(on('n1', 'n2'))).toMatchObject({ dns: ['10.0.0.1'] });
    await networks.joined(on('n1', 'n2'), 42);
    networks.left('t1');
    networks.left('t1');
    expect(done).toEqual(['attach t1', 'joined t1 42', 'started t1 42 n1,n2', 'detached t1', 'ended t1']);
  });

  test('that is forgotten before it got a container leaves what it was attached to', async () => {
    const { networks, done } = setUp();
    await networks.attach(on('n1'));
    networks.left('t1');
    networks.left('t1');
    expect(done).toEqual(['attach t1', 'detached t1', 'ended t1']);
  });

  test('whose networks cannot be had has nothing to leave', async () => {
    const { networks, done, parts } = setUp();
    parts.overlay.attach = () => Promise.reject(new Error('no bridge'));
    await expect(networks.attach(on('n1'))).rejects.toThrow('no bridge');
    await expect(networks.joined(on('n1'), 42)).rejects.toThrow('no bridge');
    networks.left('t1');
    expect(done).toEqual([]);
  });

  test('that cannot join is left like any other', async () => {
    const { networks, done, parts } = setUp();
    parts.vips.started = () => Promise.reject(new Error('nft failed'));
    await networks.attach(on('n1'));
    await expect(networks.joined(on('n1'), 42)).rejects.toThrow('nft failed');
    networks.left('t1');
    expect(done).toEqual(['attach t1', 'joined t1 42', 'detached t1', 'ended t1']);
  });

  test('that ran before this daemon is attached when it is found', async () => {
    const { networks, done } = setUp();
    await networks.joined(on('n1'), 42);
    expect(done).toEqual(['attach t1', 'joined t1 42', 'started t1 42 n1']);
  });
});

test('names are known before the networks are there, and problems are everybody’s', async () => {
  const { networks, done } = setUp();
  await networks.apply(new Map());
  expect(done[0]).toBe('names');
  expect(networks.problems()).toEqual(['a bridge is missing', 'a rule is missing', 'a name is missing']);
});
