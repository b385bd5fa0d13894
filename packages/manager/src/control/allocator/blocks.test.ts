import { freeBlocks, isInRanges, mostBlocks, type Network, type Node, parseIpRange } from '@swarmctl/shared/model';
import { describe, expect, it } from 'vitest';
import { aNetwork, aNode, aService, aStore, aTask } from '../../../../../test/kit/index.ts';
import { apply, settleState } from '../../../../../test/sim/control/decide.ts';
import { endpointAllocator } from './endpoints.ts';
import { gatewayAllocator } from './gateways.ts';
import { networkWarning } from './networks.ts';
import { Rotation } from './rooms.ts';
import { taskAllocator } from './tasks.ts';

const net = (words: Parameters<typeof aNetwork>[0] = {}): Network =>
  aNetwork({ id: 'net', subnets: ['10.0.1.0/24'], ...words, spec: { Attachable: true, ...words.spec } });

/** One that can have overlay networks. */
function able(id: string, more: Partial<NonNullable<Node['Description']>> = {}): Node {
  const { Description, ...node } = aNode({ id });
  if (!Description) throw new Error('not described');
  return { ...node, Description: { ...Description, Ingress: { Kind: 'nftables' }, ...more } };
}
const ables = (count: number) => Array.from({ length: count }, (_, i) => able(`n${i + 1}`));

function settled(network: Network, nodes: readonly Node[]) {
  const store = aStore({ networks: [network], nodes });
  const own = [gatewayAllocator(new Rotation())];
  settleState(store, own);
  return { store, own, get: () => store.view().get('networks', 'net') as Network };
}

describe('each node that can have containers', () => {
  it('has a block of the upper half, and its own address in it', () => {
    const network = settled(net(), ables(3)).get();
    expect(network.Blocks).toEqual({ n1: ['10.0.1.128/28'], n2: ['10.0.1.144/28'], n3: ['10.0.1.160/28'] });
    expect(network.Gateways).toEqual({ n1: ['10.0.1.128'], n2: ['10.0.1.144'], n3: ['10.0.1.160'] });
  });

  it('has one of each family', () => {
    const network = settled(net({ subnets: ['10.0.1.0/24', 'fd00::/64'] }), ables(1)).get();
    expect(network.Blocks).toEqual({ n1: ['10.0.1.128/28', 'fd00::8000:0/120'] });
    expect(network.Gateways).toEqual({ n1: ['10.0.1.128', 'fd00::8000:0'] });
  });

  it('has none where it cannot carry the network', () => {
    const proxied = able('proxied', { Ingress: { Kind: 'proxy' } });
    const processes = able('processes', { Runtimes: ['process'] });
    expect(settled(net(), [proxied, processes, aNode({ described: false })]).get().Gateways).toEqual({});
    const spec = { DriverConfiguration: { Name: 'overlay', Options: { encrypted: '' } } };
    const Tunnel = { key: '', generation: 1, dataPathAddr: '10.9.0.1' };
    const { Blocks } = settled(net({ spec }), [able('open'), able('sealed', { Tunnel })]).get();
    expect(Object.keys(Blocks ?? {})).toEqual(['sealed']);
  });

  it('has none of a network that is not attachable', () => {
    const network = settled(net({ spec: { Attachable: false } }), ables(2)).get();
    expect([network.Blocks, network.Gateways]).toEqual([undefined, {}]);
  });

  it('keeps it, and gives it back when it is removed', () => {
    const { store, own, get } = settled(net(), ables(2));
    const before = get().Blocks;
    apply(store, [{ op: 'create', table: 'nodes', object: able('n3') }]);
    settleState(store, own);
    expect(get().Blocks).toMatchObject(before ?? {});
    apply(store, [{ op: 'remove', table: 'nodes', id: 'n1' }]);
    settleState(store, own);
    expect(Object.keys(get().Blocks ?? {})).toEqual(['n2', 'n3']);
    expect(get().Gateways['n1']).toBeUndefined();
    apply(store, [{ op: 'create', table: 'nodes', object: able('n4') }]);
    settleState(store, own);
    expect(get().Blocks?.['n4']).toEqual(['10.0.1.128/28']);
  });

  it('gets one as soon as it says that it can', () => {
    const { Description, ...node } = able('late');
    const { store, own, get } = settled(net(), [node as Node]);
    expect(get().Blocks).toBeUndefined();
    apply(store, [{ op: 'update', table: 'nodes', id: 'late', set: { Description: Description! } }]);
    settleState(store, own);
    expect(Object.keys(get().Blocks ?? {})).toEqual(['late']);
  });
});

describe('blocks', () => {
  it('never meet one another, nor who is there already, nor the gateway of the subnet, nor whom the cluster does not know', () => {
    const network = net({ subnets: ['10.0.1.0/24'] });
    const auxiliary = [{ Subnet: '10.0.1.0/24', AuxiliaryAddresses: { printer: '10.0.1.220' } }];
    const own = {
      ...network,
      Spec: { ...network.Spec, IPAMOptions: { Configs: auxiliary } },
      IPAM: { Configs: [{ Subnet: '10.0.1.0/24', Gateway: '10.0.1.129' }] },
    };
    const taken: string[] = [];
    for (let nodes = 1; ; nodes++) {
      const [block] = freeBlocks(own, nodes, taken, [{ address: '10.0.1.200' }]) ?? [];
      if (block === undefined) break;
      const range = parseIpRange(block)!;
      for (const other of taken.map((one) => parseIpRange(one)!))
        expect(range.first > other.last || other.first > range.last).toBe(true);
      for (const addr of ['10.0.1.129', '10.0.1.200', '10.0.1.220']) expect(isInRanges([block], addr)).toBe(false);
      expect(isInRanges(['10.0.1.128/25'], block.split('/')[0]!)).toBe(true);
      taken.push(block);
    }
    // The first are larger.
    expect(taken.length).toBeGreaterThan(12);
    expect(taken[0]).toMatch(/\/28$/);
    expect(taken.at(-1)).toMatch(/\/30$/);
  });

  it.each([
    ['10.0.0.0/16', 3, '10.0.128.0/24'],
    ['10.0.1.0/24', 10, '10.0.1.128/30'],
    ['10.0.1.0/28', 2, '10.0.1.8/30'],
  ])('of %s for %i nodes begin with %s', (subnet, nodes, block) => {
    expect(freeBlocks(net({ subnets: [subnet] }), nodes, [], [])).toEqual([block]);
  });

  it('are as many as the warning says', () => {
    expect([24, 28, 29].map((prefix) => mostBlocks(net({ subnets: [`10.0.1.0/${prefix}`] })))).toEqual([32, 2, 1]);
    const auxiliary = { a: '10.0.1.129', b: '10.0.1.131', c: '10.0.1.140', d: '10.0.1.4' };
    const reserved = net({ subnets: ['10.0.1.0/24'] });
    const Configs = [{ Subnet: '10.0.1.0/24', AuxiliaryAddresses: auxiliary }];
    expect(mostBlocks({ ...reserved, Spec: { ...reserved.Spec, IPAMOptions: { Configs } } })).toBe(30);
    const IPAMOptions = { Driver: { Name: 'default' }, Configs: [{ Subnet: '10.0.1.0/28' }] };
    const spec = { Name: 'x', Labels: {}, DriverConfiguration: { Name: 'overlay' }, IPAMOptions, Attachable: true };
    const warning = (count: number, more: object = {}) =>
      networkWarning(aStore({ nodes: ables(count) }).view(), { Spec: { ...spec, ...more } });
    expect(warning(2)).toBeUndefined();
    expect(warning(3)).toContain('10.0.1.0/28 has room for containers made by hand on 2 nodes, and the cluster has 3');
    expect(warning(3, { Attachable: false })).toBeUndefined();
  });
});

it('tasks and services get no address of a block', () => {
  const service = aService({ id: 's', networks: ['net'] });
  const tasks = Array.from({ length: 200 }, (_, i) =>
    aTask({ id: `s.${String(i + 1).padStart(3, '0')}`, service, slot: i + 1, state: 'new' }),
  );
  const network = net();
  const store = aStore({ networks: [network], nodes: ables(2), services: [service], tasks });
  const rotation = new Rotation();
  settleState(store, [endpointAllocator(rotation), taskAllocator(rotation), gatewayAllocator(rotation)]);
  const given = store
    .view()
    .addressesOf('net')
    .values()
    .filter(({ holders }) => holders.some(({ kind }) => kind !== 'node'));
  // Of 127, the first is the subnet's gateway.
  expect(given).toHaveLength(126);
  expect(given.some(({ address }) => isInRanges(['10.0.1.128/25'], address))).toBe(false);
  const waiting = store.view().get('tasks', 's.200')?.Status;
  expect(waiting?.Err).toBe('no address is free in network net (10.0.1.0/24: 127 of 127)');
});
