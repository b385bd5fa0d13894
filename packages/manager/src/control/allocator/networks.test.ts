import type { Network, NetworkSpec } from '@swarmctl/shared/model';
import { meshVniOf, vxlanIdOption } from '@swarmctl/shared/model';
import { describe, expect, it } from 'vitest';
import { aCluster, aNetwork, aNode, aStore } from '../../../../../test/kit/index.ts';
import { apply, settleState } from '../../../../../test/sim/control/decide.ts';
import { networkAllocator, networkConflict } from './networks.ts';

const asking = (Subnet: string, more: object = {}): NetworkSpec => ({
  IPAMOptions: { Driver: { Name: 'default' }, Configs: [{ Subnet, ...more }] },
});

/** As the state has them once the allocator came to rest: VNI, then `subnet gateway`. */
function allocated(networks: readonly Network[], cluster = aCluster(), nodes = [aNode()]) {
  const store = aStore({ cluster, networks, nodes });
  settleState(store, [networkAllocator()]);
  return Object.fromEntries(
    store
      .view()
      .list('networks')
      .map(({ ID, VNI, IPAM }) => [ID, [VNI, ...IPAM.Configs.map((one) => `${one.Subnet} ${one.Gateway}`)]]),
  );
}

describe('a network gets', () => {
  it('a number and a subnet, the next ones each', () => {
    expect(allocated([aNetwork({ id: 'a' }), aNetwork({ id: 'b' })])).toEqual({
      a: [4096, '10.0.0.0/24 10.0.0.1'],
      b: [4097, '10.0.1.0/24 10.0.1.1'],
    });
  });

  it('what the cluster is cut into', () => {
    const cluster = aCluster({ DefaultAddrPool: ['172.30.0.0/23', '172.31.0.0/16'], SubnetSize: 24 });
    const networks = ['a', 'b', 'c'].map((id) => aNetwork({ id }));
    expect(Object.values(allocated(networks, cluster)).map((all) => all[1])).toEqual([
      '172.30.0.0/24 172.30.0.1',
      '172.30.1.0/24 172.30.1.1',
      '172.31.0.0/24 172.31.0.1',
    ]);
  });

  it('more addresses where it stands in for a bridge, while the pools are large', () => {
    const bridge = (id: string, spec: NetworkSpec = {}) => aNetwork({ id, spec, set: { AskedDriver: 'bridge' } });
    const networks = [aNetwork({ id: 'a' }), bridge('b'), aNetwork({ id: 'c' }), bridge('d', asking('10.9.0.0/24'))];
    const subnets = (cluster = aCluster()) => Object.values(allocated(networks, cluster)).map((all) => all[1]);
    expect(subnets()).toEqual([
      '10.0.0.0/24 10.0.0.1',
      '10.0.16.0/20 10.0.16.1',
      '10.0.32.0/24 10.0.32.1',
      '10.9.0.0/24 10.9.0.1',
    ]);
    expect(subnets(aCluster({ DefaultAddrPool: ['172.30.0.0/16'] })).slice(0, 2)).toEqual([
      '172.30.0.0/24 172.30.0.1',
      '172.30.1.0/24 172.30.1.1',
    ]);
  });

  it('what it asks for', () => {
    const spec = {
      ...asking('10.9.0.0/16', { Gateway: '10.9.0.77' }),
      DriverConfiguration: { Name: 'overlay', Options: { [vxlanIdOption]: '5000' } },
    };
    expect(allocated([aNetwork({ id: 'a', spec }), aNetwork({ id: 'b' })])).toEqual({
      a: [5000, '10.9.0.0/16 10.9.0.77'],
      b: [4096, '10.0.0.0/24 10.0.0.1'],
    });
  });

  it('a way around what others ask for, and around the nodes', () => {
    const nodes = [aNode({ addr: '10.0.0.7' }), aNode({ addr: '10.0.3.1' })];
    const networks = [aNetwork({ id: 'a' }), aNetwork({ id: 'b' }), aNetwork({ id: 'c', spec: asking('10.0.1.0/24') })];
    const given = allocated(networks, aCluster(), nodes);
    expect([given['a']?.[1], given['b']?.[1], given['c']?.[1]]).toEqual([
      '10.0.2.0/24 10.0.2.1',
      '10.0.4.0/24 10.0.4.1',
      '10.0.1.0/24 10.0.1.1',
    ]);
  });

  it('an IPv6 subnet of the cluster where it is on, each its own', () => {
    const spec = { IPv6Enabled: true };
    const given = allocated([aNetwork({ id: 'a', spec }), aNetwork({ id: 'b', spec })]);
    expect(given['a']?.[1]).toBe('10.0.0.0/24 10.0.0.1');
    expect(given['a']?.[2]).toMatch(/^fd[0-9a-f]{2}:[0-9a-f:]+::\/64 fd[0-9a-f:]+::1$/);
    expect(given['a']?.[2]).not.toBe(given['b']?.[2]);
  });

  it('what came free last is given last', () => {
    const store = aStore({ cluster: aCluster(), networks: [aNetwork({ id: 'a' })] });
    const controllers = [networkAllocator()];
    settleState(store, controllers);
    apply(store, [
      { op: 'remove', table: 'networks', id: 'a' },
      { op: 'create', table: 'networks', object: aNetwork({ id: 'b' }) },
    ]);
    settleState(store, controllers);
    expect(store.view().get('networks', 'b')).toMatchObject({
      VNI: 4097,
      IPAM: { Configs: [{ Subnet: '10.0.1.0/24' }] },
    });
  });

  it('its subnet once another network has gone that had the last', () => {
    const cluster = aCluster({ DefaultAddrPool: ['10.1.0.0/24'] });
    const store = aStore({ cluster, networks: [aNetwork({ id: 'a' }), aNetwork({ id: 'b' })] });
    const controller = networkAllocator();
    settleState(store, [controller]);
    expect(store.view().get('networks', 'b')?.IPAM.Configs).toEqual([]);
    const before = store.view().get('networks', 'a') as Network;
    apply(store, [{ op: 'remove', table: 'networks', id: 'a' }]);
    const event = { table: 'networks', op: 'remove', id: 'a', index: 9, before } as const;
    expect(controller.marks(event, store.view())).toEqual(['b']);
    settleState(store, [controller]);
    expect(store.view().get('networks', 'b')?.IPAM.Configs).toEqual([{ Subnet: '10.1.0.0/24', Gateway: '10.1.0.1' }]);
  });
});

describe('what cannot be had is refused', () => {
  const store = aStore({
    cluster: aCluster({ DefaultAddrPool: ['10.1.0.0/24'] }),
    nodes: [aNode({ id: 'n', addr: '192.168.7.5', hostname: 'alpha' })],
    networks: [aNetwork({ id: 'ID1', name: 'one', subnets: ['10.1.0.0/24'], vni: 4100 })],
  });
  const overlaps = 'Pool overlaps with other one on this address space';
  it.each<[string, NetworkSpec, string | undefined]>([
    ['a free subnet', asking('10.2.0.0/16'), undefined],
    [
      'one within another',
      asking('10.1.0.128/25'),
      `${overlaps}: 10.1.0.128/25 meets 10.1.0.0/24 of network one (ID1)`,
    ],
    ['one around another', asking('10.1.0.0/16'), `${overlaps}: 10.1.0.0/16 meets 10.1.0.0/24 of network one (ID1)`],
    ['the mesh', asking('198.18.4.0/24'), `${overlaps}: 198.18.4.0/24 meets 198.18.0.0/15, which is not for networks`],
    [
      'where a node is',
      asking('192.168.7.0/24'),
      `${overlaps}: 192.168.7.0/24 meets 192.168.7.5, the address of node alpha`,
    ],
    ['no wish, and nothing left', {}, 'no subnet is free in the address pools 10.1.0.0/24'],
    [
      'a number that is taken',
      { ...asking('10.2.0.0/16'), DriverConfiguration: { Options: { [vxlanIdOption]: '4100' } } },
      'VXLAN id 4100 is taken by network one (ID1)',
    ],
    [
      'a number below those that are given',
      { ...asking('10.2.0.0/16'), DriverConfiguration: { Options: { [vxlanIdOption]: '257' } } },
      undefined,
    ],
    [
      'the number of the mesh',
      {
        ...asking('10.2.0.0/16'),
        DriverConfiguration: { Options: { [vxlanIdOption]: String(meshVniOf(aCluster().ID)) } },
      },
      `VXLAN id ${meshVniOf(aCluster().ID)} is taken by the mesh between the nodes`,
    ],
  ])('%s', (_, spec, message) => {
    expect(networkConflict(store.view(), { ...spec, Name: 'x', Labels: {} })).toBe(message);
  });
});
