import type { MeshPeer, MeshView } from '@swarmctl/shared/wire';
import { describe, expect, it } from 'vitest';
import { addressIn, deviceName, isInPool, macOf, markOf } from './names.ts';
import { type MeshFound, type MeshWanted, nothingFound, planMesh, planRemoval, type Step } from './plan.ts';

const mark = 0x5377_0000;
const peer = (meshId: number, addr = `10.0.0.${meshId}`): MeshPeer => ({
  nodeId: `n${meshId}`,
  meshId,
  addr,
  up: true,
});
const view: MeshView = {
  self: 1,
  vni: 77,
  port: 4_789,
  pool4: '198.18.0.0/16',
  pool6: 'fd11:22:33:44::/64',
  peers: [],
};

const wanted = (more: Partial<MeshWanted> = {}): MeshWanted => ({
  device: 'swmabc',
  mark,
  mtu: 1_450,
  local: '10.0.0.1',
  families: [4, 6],
  view,
  peers: [peer(2)],
  ...more,
});

const link = {
  ...{ kind: 'vxlan', mac: '02:73:77:6d:00:01', mtu: 1_450, isUp: true },
  ...{ vni: 77, port: 4_789, local: '10.0.0.1', isLearning: false },
};
const inward = [
  { family: 4, priority: 8_999, iif: 'swmabc', table: 'main' },
  { family: 6, priority: 8_999, iif: 'swmabc', table: 'main' },
] as const;

/** What the kernel has when all of `wanted()` is true. */
const right: MeshFound = {
  link,
  addresses: ['198.18.0.1/16', 'fd11:22:33:44::1/64'],
  forwards: [{ mac: macOf(2), dst: '10.0.0.2' }],
  neighbours: [
    { addr: '198.18.0.2', mac: macOf(2), isPermanent: true },
    { addr: 'fd11:22:33:44::2', mac: macOf(2), isPermanent: true },
  ],
  rules: [
    ...inward,
    { family: 4, priority: 9_000, mark: 0x5377_0002, table: '1400307714' },
    { family: 6, priority: 9_000, mark: 0x5377_0002, table: '1400307714' },
  ],
  routes: [
    { family: 4, table: 0x5377_0002, gateway: '198.18.0.2' },
    { family: 6, table: 0x5377_0002, gateway: 'fd11:22:33:44::2' },
  ],
};

const words = (steps: readonly Step[]) => steps.map(({ tool, line }) => `${tool} ${line}`);
const plan = (want: MeshWanted, is: MeshFound) => {
  const { device, rest } = planMesh(want, is);
  return words([...device, ...rest]);
};

describe('names', () => {
  it('follow from ids', () => {
    expect(deviceName('abc-DEF_0123456789')).toBe('swmabcDEF01');
    expect(macOf(65_534)).toBe('02:73:77:6d:ff:fe');
    expect(addressIn('198.18.0.0/16', 65_534)).toBe('198.18.255.254');
    expect(addressIn('fd11:22:33:44::/64', 65_534)).toBe('fd11:22:33:44::fffe');
    expect(markOf(0xffff_0000, 2)).toBe(0xffff_0002);
    expect(isInPool('198.18.0.0/16', '198.18.255.255')).toBe(true);
    expect(isInPool('198.18.0.0/16', '198.19.0.0')).toBe(false);
    expect(isInPool('198.18.0.0/16', 'fd11::1')).toBe(false);
  });
});

describe('steps', () => {
  it('make everything where there is nothing: the device, what leads to a peer, and what leads back by it', () => {
    expect(plan(wanted(), nothingFound)).toEqual([
      'ip link add swmabc type vxlan id 77 dstport 4789 local 10.0.0.1 nolearning',
      'ip link set dev swmabc addrgenmode none',
      'ip link set dev swmabc address 02:73:77:6d:00:01',
      'ip link set dev swmabc mtu 1450',
      'ip link set dev swmabc up',
      'ip address add 198.18.0.1/16 dev swmabc',
      'ip address add fd11:22:33:44::1/64 dev swmabc nodad',
      'ip neigh replace 198.18.0.2 lladdr 02:73:77:6d:00:02 dev swmabc nud permanent',
      'ip neigh replace fd11:22:33:44::2 lladdr 02:73:77:6d:00:02 dev swmabc nud permanent',
      'bridge fdb replace 02:73:77:6d:00:02 dev swmabc dst 10.0.0.2 self permanent',
      'ip route replace default via 198.18.0.2 dev swmabc table 1400307714',
      'ip rule add priority 8999 iif swmabc lookup main',
      'ip rule add priority 9000 fwmark 0x53770002 lookup 1400307714',
      'ip -6 route replace default via fd11:22:33:44::2 dev swmabc table 1400307714',
      'ip -6 rule add priority 8999 iif swmabc lookup main',
      'ip -6 rule add priority 9000 fwmark 0x53770002 lookup 1400307714',
    ]);
  });

  it('are none when all is right', () => expect(plan(wanted(), right)).toEqual([]));

  it('touch nothing of IPv6 where the node has none', () => {
    const lines = plan(wanted({ families: [4] }), nothingFound);
    expect(lines.filter((line) => /-6|fd11/.test(line))).toEqual([]);
    expect(lines).toHaveLength(11);
  });

  it('add a peer alone', () => {
    expect(
      plan(wanted({ peers: [peer(2), peer(3)] }), right).every((line) => /:03\b|0\.3\b|0003\b|::3\b/.test(line)),
    ).toBe(true);
    expect(plan(wanted({ peers: [peer(2), peer(3)] }), right)).toHaveLength(7);
  });

  it('take a peer away: first what leads to its table', () => {
    expect(plan(wanted({ peers: [] }), right)).toEqual([
      'ip neigh del 198.18.0.2 dev swmabc',
      'ip neigh del fd11:22:33:44::2 dev swmabc',
      'bridge fdb del 02:73:77:6d:00:02 dev swmabc dst 10.0.0.2 self',
      'ip rule del priority 9000 fwmark 0x53770002 lookup 1400307714',
      'ip route del default via 198.18.0.2 dev swmabc table 1400307714',
      'ip -6 rule del priority 9000 fwmark 0x53770002 lookup 1400307714',
      'ip -6 route del default via fd11:22:33:44::2 dev swmabc table 1400307714',
    ]);
  });

  it('follow a peer to another address', () => {
    expect(plan(wanted({ peers: [peer(2, '10.0.0.9')] }), right)).toEqual([
      'bridge fdb del 02:73:77:6d:00:02 dev swmabc dst 10.0.0.2 self',
      'bridge fdb replace 02:73:77:6d:00:02 dev swmabc dst 10.0.0.9 self permanent',
    ]);
  });

  it.each<[string, Partial<typeof link>]>([
    ['another network', { vni: 78 }],
    ['another port', { port: 8_472 }],
    ['another address outside', { local: '10.0.0.8' }],
    ['one that learns', { isLearning: true }],
    ['a device of another kind', { kind: 'dummy' }],
  ])('make the device anew for %s, and keep the rules, which do not go with it', (_, other) => {
    const lines = plan(wanted(), { ...right, link: { ...link, ...other } });
    expect(lines[0]).toBe('ip link del dev swmabc');
    expect(lines).toContain('ip address add 198.18.0.1/16 dev swmabc');
    expect(lines).toContain('ip route replace default via 198.18.0.2 dev swmabc table 1400307714');
    expect(lines.filter((line) => line.includes('rule'))).toEqual([]);
  });

  it.each<[string, MeshFound, string[]]>([
    ['an MTU', { ...right, link: { ...link, mtu: 1_500 } }, ['ip link set dev swmabc mtu 1450']],
    ['being down', { ...right, link: { ...link, isUp: false } }, ['ip link set dev swmabc up']],
    [
      'a MAC',
      { ...right, link: { ...link, mac: '02:00:00:00:00:01' } },
      ['ip link set dev swmabc address 02:73:77:6d:00:01'],
    ],
    [
      'another address',
      { ...right, addresses: [...right.addresses, '198.18.0.9/16'] },
      ['ip address del 198.18.0.9/16 dev swmabc'],
    ],
    [
      'a neighbour that was learnt',
      { ...right, neighbours: right.neighbours.map((one, i) => ({ ...one, isPermanent: i > 0 })) },
      ['ip neigh replace 198.18.0.2 lladdr 02:73:77:6d:00:02 dev swmabc nud permanent'],
    ],
    [
      'a second way to a peer',
      { ...right, forwards: [...right.forwards, { mac: macOf(2), dst: '10.0.0.7' }] },
      ['bridge fdb del 02:73:77:6d:00:02 dev swmabc dst 10.0.0.7 self'],
    ],
    [
      'a rule that is there twice',
      { ...right, rules: [...right.rules, inward[0]] },
      ['ip rule del priority 8999 iif swmabc lookup main'],
    ],
    [
      'a mark that leads elsewhere',
      { ...right, rules: [...right.rules, { family: 4, priority: 9_000, mark: 0x5377_0002, table: '7' }] },
      ['ip rule del priority 9000 fwmark 0x53770002 lookup 7'],
    ],
    [
      'a route by another peer',
      { ...right, routes: [{ family: 4, table: 0x5377_0002, gateway: '198.18.0.3' }, ...right.routes.slice(1)] },
      ['ip route replace default via 198.18.0.2 dev swmabc table 1400307714'],
    ],
  ])('repair %s', (_, found, steps) => expect(plan(wanted(), found)).toEqual(steps));

  it('remove rules and device, and with it all the rest', () => {
    expect(words(planRemoval('swmabc', right))).toEqual([
      'ip rule del priority 8999 iif swmabc lookup main',
      'ip -6 rule del priority 8999 iif swmabc lookup main',
      'ip rule del priority 9000 fwmark 0x53770002 lookup 1400307714',
      'ip -6 rule del priority 9000 fwmark 0x53770002 lookup 1400307714',
      'ip link del dev swmabc',
    ]);
    expect(planRemoval('swmabc', nothingFound)).toEqual([]);
  });
});
