import type { Node, TunnelKeys } from '@swarmctl/shared/model';
import { expect, test } from 'vitest';
import { aCluster, aNode, aStore, builtAt } from '../../../../test/kit/builders.ts';
import { apply } from '../../../../test/sim/control/decide.ts';
import { concernsTunnels, insideAddress, TunnelTracker } from './tunnel-view.ts';

const node = (id: string, MeshID: number | undefined, key: string | undefined): Node => {
  const { Description, ...rest } = aNode({ id });
  const Tunnel = { key: key ?? '', generation: 1, dataPathAddr: `10.0.0.${MeshID}` };
  return {
    ...rest,
    Description: { ...Description!, ...(key !== undefined && { Tunnel }) },
    ...(MeshID !== undefined && { MeshID }),
  };
};
const InUse = { Generation: 1, Key: 'one', MadeAt: builtAt };
const Next = { Generation: 2, Key: 'two', MadeAt: builtAt };
const nodes = [
  node('a', 1, 'ka'),
  node('b', 258, 'kb'),
  node('unnumbered', undefined, 'kc'),
  node('none', 4, undefined),
];

function storeWith(TunnelKeys?: TunnelKeys) {
  return aStore({ cluster: aCluster({ DataPathPort: 5_000, ...(TunnelKeys && { TunnelKeys }) }), nodes });
}

test('each node is told of the others that have WireGuard, and what they share', () => {
  const tracker = new TunnelTracker();
  tracker.refresh(storeWith({ InUse, Next }).view());
  const common = { pool: '198.19.0.0/16', port: 6_000, psk: 'one', generation: 2 };
  const a = { nodeId: 'a', addr: '198.19.0.1', nodeAddr: '10.0.0.1', key: 'ka' };
  const b = { nodeId: 'b', addr: '198.19.1.2', nodeAddr: '10.0.0.258', key: 'kb' };
  expect(tracker.view('a')).toEqual({ addr: a.addr, ...common, peers: [b] });
  expect(tracker.view('b')).toEqual({ addr: b.addr, ...common, peers: [a] });
  expect(tracker.view('none')).toBeUndefined();
  expect(insideAddress(node('none', 4, undefined))).toBeUndefined();
});

test('nobody is told anything without an encrypted network', () => {
  const tracker = new TunnelTracker();
  tracker.refresh(storeWith().view());
  expect(tracker.view('a')).toBeUndefined();
});

test('a session is shown what it has not seen', () => {
  const store = storeWith({ InUse });
  const tracker = new TunnelTracker();
  const session = {};
  const unshown = () => {
    tracker.touch();
    tracker.refresh(store.view());
    const view = tracker.unshown(session, 'a');
    tracker.shown(session);
    return view;
  };
  expect(unshown()?.psk).toBe('one');
  expect(unshown()).toBeUndefined();
  apply(store, [{ op: 'update', table: 'cluster', id: 'cluster1', set: { TunnelKeys: { InUse: Next } } }]);
  expect(unshown()?.psk).toBe('two');
  expect(concernsTunnels(node('a', 1, 'ka'), node('a', 1, 'other'))).toBe(true);
  expect(concernsTunnels(node('a', 1, 'ka'), node('a', 1, 'ka'))).toBe(false);
});
