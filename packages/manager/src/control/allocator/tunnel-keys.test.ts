import { type Network, type Node, type TunnelKeys, vxlanIdOption } from '@swarmctl/shared/model';
import { expect, test } from 'vitest';
import { aCluster, aNetwork, aNode, aStore, builtAt } from '../../../../../test/kit/builders.ts';
import { apply, decide, settleState } from '../../../../../test/sim/control/decide.ts';
import type { Store } from '../../store/store.ts';
import { rotationMs, tunnelKeys, waitMs } from './tunnel-keys.ts';

let made = 0;
const controller = tunnelKeys(() => `key${++made}`);
const encrypted = (Options: Record<string, string> = { encrypted: '' }): Network =>
  aNetwork({ spec: { DriverConfiguration: { Name: 'overlay', Options } } });
const node = (id: string, generation?: number, state: Node['Status']['State'] = 'ready'): Node => {
  const { Description, Status, ...rest } = aNode({ id });
  const Tunnel = { key: '', generation: generation ?? 0, dataPathAddr: '10.0.0.1' };
  return {
    ...rest,
    Status: { ...Status, State: state },
    Description: { ...Description!, ...(generation !== undefined && { Tunnel }) },
  };
};
const first = { Generation: 1, Key: 'a', MadeAt: builtAt };
const second = { Generation: 2, Key: 'b', MadeAt: builtAt + 5 };
const storeOf = (keys: TunnelKeys | undefined, nodes: Node[] = [], networks = [encrypted()]): Store =>
  aStore({ cluster: aCluster(keys && { TunnelKeys: keys }), nodes, networks });
const keysOf = (store: Store) => store.view().cluster()?.TunnelKeys;
const settle = (store: Store, now: number) => settleState(store, [controller], now);

test('there are none without an encrypted network, and one with the first', () => {
  const plain = storeOf(undefined, [], [encrypted({ encrypted: 'false' }), encrypted({ [vxlanIdOption]: '5000' })]);
  expect(settle(plain, builtAt)).toBeUndefined();
  expect(keysOf(plain)).toBeUndefined();
  const store = storeOf(undefined);
  expect(settle(store, builtAt)).toBe(builtAt + rotationMs);
  expect(keysOf(store)).toEqual({ InUse: { Generation: 1, Key: `key${made}`, MadeAt: builtAt } });
});

test('a new one is made after twelve hours, and is not used before all that are up know of it', () => {
  const store = storeOf({ InUse: first }, [node('a', 1), node('b', 1), node('down', 1, 'down'), node('plain')]);
  expect(settle(store, builtAt + rotationMs - 1)).toBe(builtAt + rotationMs);
  expect(keysOf(store)?.Next).toBeUndefined();
  const dueAt = builtAt + rotationMs;
  settle(store, dueAt);
  expect(keysOf(store)).toMatchObject({ InUse: first, Next: { Generation: 2, MadeAt: dueAt } });
  const heard = (id: string) => {
    const Description = node(id, 2).Description!;
    apply(store, [{ op: 'update', table: 'nodes', id, set: { Description } }]);
    settle(store, dueAt + 1);
  };
  heard('a');
  expect(keysOf(store)?.InUse).toEqual(first);
  heard('b');
  expect(keysOf(store)).toEqual({ InUse: { Generation: 2, Key: `key${made}`, MadeAt: dueAt } });
});

test('a node that says nothing holds up the others for ten minutes at most', () => {
  const store = storeOf({ InUse: first, Next: second }, [node('a', 2), node('mute', 1)]);
  const lateAt = second.MadeAt + waitMs;
  expect(settle(store, lateAt - 1)).toBe(lateAt);
  expect(keysOf(store)?.InUse).toEqual(first);
  expect(settle(store, lateAt)).toBe(second.MadeAt + rotationMs);
  expect(keysOf(store)).toEqual({ InUse: second });
});

test('it looks again when a node says another generation or goes down, and for nothing else of a node', () => {
  const store = storeOf({ InUse: first });
  const marks = (before: Node, after: Node) =>
    controller.marks({ table: 'nodes', op: 'update', id: 'a', index: 1, before, after }, store.view()).length;
  expect(marks(node('a', 1), node('a', 2))).toBe(1);
  expect(marks(node('a', 1), node('a', 1, 'down'))).toBe(1);
  expect(marks(node('a', 1), node('a', 1))).toBe(0);
});

test('a decision is void when the cluster was changed meanwhile', () => {
  const store = storeOf(undefined);
  const { changes } = decide(controller, store, 'keys');
  apply(store, [{ op: 'update', table: 'cluster', id: 'cluster1', set: { SubnetSize: 25 } }]);
  expect(() => apply(store, changes)).toThrow();
});
