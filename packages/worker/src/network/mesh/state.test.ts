import type { IngressBackend, IngressEntry, MeshPeer, MeshView } from '@swarmctl/shared/wire';
import { describe, expect, it } from 'vitest';
import { withoutGone } from './gone.ts';
import { meshState, type StateParts, signatureOf } from './state.ts';

const peer = (meshId: number, more: Partial<MeshPeer> = {}): MeshPeer => ({
  nodeId: `n${meshId}`,
  meshId,
  addr: `10.0.0.${meshId}`,
  up: true,
  ...more,
});
const peers = [peer(2), peer(3, { up: false }), peer(4, { nodeAddr: 'fd00::4' }), peer(5)];
const view: MeshView = {
  ...{ self: 1, vni: 77, port: 4_789, pool4: '198.18.0.0/16', pool6: 'fd11:22:33:44::/64' },
  peers: [...peers, peer(6, { addr: 'fd00::6' })],
};
const parts = (more: Partial<StateParts> = {}): StateParts => ({
  device: 'swmabc',
  view,
  mark: 0x5377_0000,
  mtu: 1_450,
  families: [4, 6],
  peers,
  answers: (id) => id !== 'n5',
  gone: new Set(),
  ...more,
});

describe('what the ingress is told', () => {
  it.each([
    ['one that answers', 'n2', { kind: 'mesh', v4: '198.18.0.2', v6: 'fd11:22:33:44::2' }],
    ['one whose end is not up', 'n3', { kind: 'masquerade', v4: '10.0.0.3' }],
    ['one that does not answer', 'n5', { kind: 'masquerade', v4: '10.0.0.5' }],
    ['one of the other family', 'n6', { kind: 'masquerade', v4: 'fd00::6' }],
    ['one that nobody told of', 'x', { kind: 'masquerade', v4: '' }],
  ])('the way to %s', (_, nodeId, way) => expect(meshState(parts()).wayTo(nodeId)).toEqual(way));

  it('no way of IPv6 where the node has none', () => {
    expect(meshState(parts({ families: [4] })).wayTo('n2')).toEqual({ kind: 'mesh', v4: '198.18.0.2' });
  });

  it('marks, senders and own addresses of all peers, also of those that are silent: their connections go on', () => {
    const { marks, senders, own, addresses, routedByMain } = meshState(parts());
    expect([...marks.values()]).toEqual([0x5377_0002, 0x5377_0003, 0x5377_0004, 0x5377_0005]);
    expect(senders).toEqual(['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5']);
    expect(own).toContainEqual({ node: '10.0.0.4', mesh: '198.18.0.4' });
    expect(own).toContainEqual({ node: 'fd00::4', mesh: 'fd11:22:33:44::4' });
    expect(addresses).toEqual({ v4: '198.18.0.1', v6: 'fd11:22:33:44::1' });
    expect(routedByMain).toEqual([4, 6]);
  });

  it('nothing new when nothing is', () => {
    const signature = (more: Partial<StateParts> = {}) => signatureOf(meshState(parts(more)), view);
    expect(signature()).toBe(signature());
    expect(signature({ answers: () => true })).not.toBe(signature());
    expect(signature({ gone: new Set(['n5']) })).not.toBe(signature());
    expect(signature({ mtu: 1_400 })).not.toBe(signature());
  });
});

describe('tasks of nodes that stopped answering', () => {
  const backend = (nodeId: string): IngressBackend => ({
    ...{ taskId: `t-${nodeId}`, nodeId, protocol: 'tcp', targetPort: 80, localAddr: '172.17.0.2', localPort: 80 },
    ...{ nodeAddr: '10.0.0.1', nodePort: 32_768 },
  });
  const entry = (key: string, ...nodes: string[]): IngressEntry => ({
    ...{ key, serviceId: 's', serviceName: 's', protocol: 'tcp', publishedPort: 80, targetPort: 80 },
    backends: nodes.map(backend),
  });
  const table = new Map(
    [entry('some', 'a', 'b', 'c'), entry('all', 'b'), entry('none', 'a')].map((one) => [one.key, one] as const),
  );
  const left = (gone: string[]) =>
    [...withoutGone(table, new Set(gone), new WeakMap()).values()].map(({ backends }) =>
      backends.map(({ nodeId }) => nodeId),
    );

  it('are left out while others serve the port', () => {
    expect(left(['b'])).toEqual([['a', 'c'], ['b'], ['a']]);
    expect(left(['a', 'b', 'c'])).toEqual([['a', 'b', 'c'], ['b'], ['a']]);
  });

  it('are not waited for to drain either', () => {
    const draining = [backend('b'), backend('c')];
    const ask = { ...entry('ask', 'a', 'b'), draining };
    expect(withoutGone(new Map([['ask', ask]]), new Set(['b']), new WeakMap()).get('ask')).toEqual({
      ...entry('ask', 'a'),
      draining: [backend('c')],
    });
  });

  it('leave the rest as it was, object by object, and come to the same again', () => {
    const cache = new WeakMap();
    expect(withoutGone(table, new Set(), cache)).toBe(table);
    const once = withoutGone(table, new Set(['b']), cache);
    expect(once.get('none')).toBe(table.get('none'));
    expect(withoutGone(table, new Set(['b', 'x']), cache).get('some')).toBe(once.get('some'));
    expect(withoutGone(table, new Set(['c']), cache).get('some')).not.toBe(once.get('some'));
  });
});
