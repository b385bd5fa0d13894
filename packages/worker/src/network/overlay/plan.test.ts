import { below, seededRandom } from '@swarmctl/shared/kit';
import { macOf } from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';
import { describe, expect, it } from 'vitest';
import { failures } from './kernel.ts';
import { foreignOwner, type NetworkState, plan, planned, planRemoval, wantedNetwork } from './plan.ts';

const far = (addr: string, nodeAddr: string) => ({ addr, mac: macOf(addr), nodeAddr });
const view = (more: Partial<NetworkView> = {}): NetworkView => ({
  ...{ id: 'network1234567890', name: 'net', vni: 4097, port: 4789, encrypted: false, internal: false, names: [] },
  subnets: [{ subnet: '10.0.1.0/24', gateway: '10.0.1.1' }],
  far: [far('10.0.1.5', '10.77.0.2')],
  ...more,
});
const options = { owner: 'swarmd:n1', local: '10.77.0.1', mtu: 1450 };
const wanted = (more?: Partial<NetworkView>) => wantedNetwork(view(more), options);
const none = { ip: [], bridge: [] };
const bridge = 'swbnetwork12345';
const port = 'swxnetwork12345';

/** Does what `ip` and `bridge` would do, and refuses what they would refuse. */
class SimulatedKernel {
  #bridge: NetworkState['bridge'];
  #port: NetworkState['port'];

  state(): NetworkState {
    return { ...(this.#bridge && { bridge: this.#bridge }), ...(this.#port && { port: this.#port }) };
  }

  set(is: NetworkState): void {
    this.#bridge = is.bridge;
    this.#port = is.port;
  }

  do(line: string): void {
    const words = line.split(' ');
    const after = (word: string) => words[words.indexOf(word) + 1] ?? '';
    const device = words.includes('dev') ? after('dev') : '';
    if (line.startsWith('link add') && line.includes('type bridge')) {
      if (this.#bridge) throw new Error(`${line}: File exists`);
      this.#bridge = { owner: '', mac: 'random', mtu: 1500, isUp: false, addresses: [] };
    } else if (line.startsWith('link add')) {
      if (this.#port) throw new Error(`${line}: File exists`);
      const vxlan = { vni: Number(after('id')), local: after('local'), port: Number(after('dstport')) };
      const none = { nodes: new Map(), bridged: new Set<string>(), neighbours: new Map() };
      this.#port = { owner: '', vxlan, master: '', mtu: 1500, isUp: false, isStatic: false, ...none };
    } else if (device === bridge) this.#onBridge(line, words, after);
    else this.#onPort(line, words, after);
  }

  #onBridge(line: string, words: readonly string[], after: (word: string) => string): void {
    const is = this.#bridge;
    if (!is) throw new Error(`${line}: no such device`);
    const [object, verb, what = ''] = words;
    const others = is.addresses.filter((addr) => addr !== what);
    if (object === 'addr') this.#bridge = { ...is, addresses: verb === 'del' ? others : [...others, what] };
    else if (words.includes('alias')) this.#bridge = { ...is, owner: after('alias') };
    else if (words.includes('address')) this.#bridge = { ...is, mac: after('address') };
    else if (words.includes('mtu')) this.#bridge = { ...is, mtu: Number(after('mtu')) };
    else if (words.includes('up')) this.#bridge = { ...is, isUp: true };
    else throw new Error(`${line} is not understood`);
  }

  #onPort(line: string, words: readonly string[], after: (word: string) => string): void {
    const is = this.#port;
    if (!is) throw new Error(`${line}: no such device`);
    const [object, verb, what = ''] = words;
    const changed = (old: ReadonlyMap<string, string>, value: string) => {
      const copy = new Map(old);
      if (verb !== 'del') return copy.set(what, value);
      if (!copy.delete(what)) throw new Error(`${line}: no such entry`);
      return copy;
    };
    if (line.startsWith('link del')) this.#port = undefined;
    else if (object === 'neigh') this.#port = { ...is, neighbours: changed(is.neighbours, after('lladdr')) };
    else if (object === 'fdb' && words.includes('self')) this.#port = { ...is, nodes: changed(is.nodes, after('dst')) };
    else if (object === 'fdb') {
      const entries = new Map([...is.bridged].map((mac) => [mac, 'static']));
      this.#port = { ...is, bridged: new Set(changed(entries, 'static').keys()) };
    } else if (words.includes('alias')) this.#port = { ...is, owner: after('alias') };
    else if (words.includes('mtu')) this.#port = { ...is, mtu: Number(after('mtu')) };
    else if (words.includes('master')) {
      if (!this.#bridge) throw new Error(`${line}: no such bridge`);
      this.#port = { ...is, master: bridge, bridged: new Set() };
    } else if (words.includes('up')) this.#port = { ...is, isUp: true };
    else if (words.includes('learning')) this.#port = { ...is, isStatic: is.master === bridge };
    else if (!words.includes('addrgenmode')) throw new Error(`${line} is not understood`);
  }
}

describe('from whatever is', () => {
  it.each([1, 2, 3, 4])('seed %i: each plan leads to what is wanted, and then to nothing more', (seed) => {
    const random = seededRandom(seed);
    const some = <T>(items: readonly T[]) => items.filter(() => random() < 0.5);
    const one = <T>(items: readonly T[]) => items[below(random, items.length)] as T;
    const numbers = Array.from({ length: 12 }, (_, i) => i + 2);
    const kernel = new SimulatedKernel();
    for (let round = 0; round < 300; round++) {
      const target = wantedNetwork(
        view({
          vni: one([4097, 4097, 4097, 4098]),
          subnets: [
            { subnet: '10.0.1.0/24', gateway: one(['10.0.1.1', '10.0.1.1', '10.0.1.200']) },
            ...some([{ subnet: 'fd00:1::/64', gateway: 'fd00:1::1' }]),
          ],
          far: some(numbers).flatMap((number) => {
            const v4 = far(`10.0.1.${number}`, one(['10.77.0.2', '10.77.0.3']));
            return [v4, ...some([{ ...v4, addr: `fd00:1::${number}` }])];
          }),
        }),
        options,
      );
      const steps = plan(target, kernel.state());
      for (const line of [...steps.ip, ...steps.bridge]) kernel.do(line);
      expect(sorted(kernel.state())).toEqual(sorted(planned(target)));
      expect(plan(target, kernel.state())).toEqual(none);
      kernel.set(damaged(kernel.state(), random));
    }
  });
});

describe('over a device of its own', () => {
  const inside = { ...options, local: '198.19.0.1', device: 'swgn1' };
  const target = wantedNetwork(view({ far: [far('10.0.1.5', '198.19.0.2')] }), inside);
  const entry = `fdb replace ${macOf('10.0.1.5')} dev ${port} dst 198.19.0.2 via swgn1 self permanent`;

  it('each entry names it, too', () => {
    const { ip, bridge: steps } = plan(target, {});
    const made = `link add dev ${port} type vxlan id 4097 dstport 4789 local 198.19.0.1 dev swgn1 nolearning proxy`;
    expect(ip).toContain(made);
    expect(steps).toContain(entry);
  });

  it('a port that goes elsewhere is made anew, and so is an entry', () => {
    const is = planned(target);
    const { device: _, ...loose } = target.vxlan;
    expect(plan(target, { ...is, port: { ...is.port!, vxlan: loose } }).ip).toContain(`link del dev ${port}`);
    const nodes = new Map([[macOf('10.0.1.5'), '198.19.0.2 via undefined']]);
    expect(plan(target, { ...is, port: { ...is.port!, nodes } })).toEqual({ ip: [], bridge: [entry] });
    expect(plan(target, is)).toEqual(none);
  });
});

/** What others may have done to it. */
function damaged(is: NetworkState, random: () => number): NetworkState {
  const { bridge: ours, port: vxlan } = is;
  const losing = <T>(items: Iterable<T>) => [...items].filter(() => random() < 0.8);
  if (!ours || !vxlan || random() < 0.1) return {};
  if (random() < 0.1) return { bridge: ours };
  const isLoose = random() < 0.1;
  return {
    bridge: { ...ours, isUp: random() < 0.8, addresses: [...losing(ours.addresses), '10.9.9.9/8'] },
    port: {
      ...vxlan,
      ...(isLoose && { master: '', isStatic: false, bridged: new Set<string>() }),
      ...(!isLoose && { bridged: new Set([...losing(vxlan.bridged), '02:00:00:00:00:09']) }),
      mtu: random() < 0.8 ? vxlan.mtu : 1_400,
      nodes: new Map([...losing(vxlan.nodes), ['02:00:00:00:00:09', '10.9.9.9'] as const]),
      neighbours: new Map([...losing(vxlan.neighbours), ['10.0.1.250', '02:00:00:00:00:09'] as const]),
    },
  };
}

/** In one order, without what is no part of a state. */
const sorted = ({ bridge: ours, port: vxlan }: NetworkState) => ({
  bridge: ours && [ours.owner, ours.mac, ours.mtu, ours.isUp, [...ours.addresses].sort()],
  port: vxlan && [
    ...[vxlan.owner, vxlan.vxlan, vxlan.master, vxlan.mtu, vxlan.isUp, vxlan.isStatic],
    ...[[...vxlan.nodes].sort(), [...vxlan.bridged].sort(), [...vxlan.neighbours].sort()],
  ],
});

describe('what to do for a network', () => {
  it('that is not there', () => {
    expect(plan(wanted(), {})).toEqual({
      ip: [
        `link add dev ${bridge} type bridge mcast_snooping 0`,
        `link set dev ${bridge} alias swarmd:n1`,
        `link set dev ${bridge} address 02:42:0a:00:01:01`,
        `link set dev ${bridge} mtu 1450`,
        `addr replace 10.0.1.1/24 dev ${bridge}`,
        `link set dev ${bridge} up`,
        `link add dev ${port} type vxlan id 4097 dstport 4789 local 10.77.0.1 nolearning proxy`,
        `link set dev ${port} alias swarmd:n1`,
        `link set dev ${port} mtu 1450`,
        `link set dev ${port} addrgenmode none`,
        `link set dev ${port} master ${bridge}`,
        `link set dev ${port} up`,
        `neigh replace 10.0.1.5 lladdr 02:42:0a:00:01:05 dev ${port} nud permanent`,
      ],
      bridge: [
        `link set dev ${port} learning off flood off`,
        `fdb replace 02:42:0a:00:01:05 dev ${port} dst 10.77.0.2 self permanent`,
        `fdb replace 02:42:0a:00:01:05 dev ${port} master static`,
      ],
    });
  });

  it('that is as it should be: nothing', () => {
    const full = { far: [far('10.0.1.5', '10.77.0.2'), far('10.0.1.6', '10.77.0.3')] };
    expect(plan(wanted(full), planned(wanted(full)))).toEqual(none);
  });

  it('with one neighbour more: that one', () => {
    const more = wanted({ far: [far('10.0.1.5', '10.77.0.2'), far('10.0.1.6', '10.77.0.3')] });
    expect(plan(more, planned(wanted()))).toEqual({
      ip: [`neigh replace 10.0.1.6 lladdr 02:42:0a:00:01:06 dev ${port} nud permanent`],
      bridge: [
        `fdb replace 02:42:0a:00:01:06 dev ${port} dst 10.77.0.3 self permanent`,
        `fdb replace 02:42:0a:00:01:06 dev ${port} master static`,
      ],
    });
  });

  it('with one neighbour less: that one', () => {
    expect(plan(wanted({ far: [] }), planned(wanted()))).toEqual({
      ip: [`neigh del 10.0.1.5 dev ${port}`],
      bridge: [`fdb del 02:42:0a:00:01:05 dev ${port} master`, `fdb del 02:42:0a:00:01:05 dev ${port} self`],
    });
  });

  it('with a neighbour that moved: where it is now', () => {
    expect(plan(wanted({ far: [far('10.0.1.5', '10.77.0.9')] }), planned(wanted()))).toEqual({
      ip: [],
      bridge: [`fdb replace 02:42:0a:00:01:05 dev ${port} dst 10.77.0.9 self permanent`],
    });
  });

  it('with two addresses behind one MAC: the MAC once, for as long as one is there', () => {
    const both = { far: [far('10.0.1.5', '10.77.0.2'), { ...far('10.0.1.5', '10.77.0.2'), addr: 'fd00:0::5' }] };
    expect(plan(wanted(both), planned(wanted()))).toEqual({
      ip: [`neigh replace fd00::5 lladdr 02:42:0a:00:01:05 dev ${port} nud permanent`],
      bridge: [],
    });
    expect(plan(wanted(), planned(wanted(both)))).toEqual({ ip: [`neigh del fd00::5 dev ${port}`], bridge: [] });
  });

  it('whose VXLAN is another: a new one with all that is on it', () => {
    const steps = plan(wanted({ vni: 5000 }), planned(wanted()));
    expect(steps.ip.slice(0, 2)).toEqual([
      `link del dev ${port}`,
      `link add dev ${port} type vxlan id 5000 dstport 4789 local 10.77.0.1 nolearning proxy`,
    ]);
    expect(steps.ip).toContain(`neigh replace 10.0.1.5 lladdr 02:42:0a:00:01:05 dev ${port} nud permanent`);
    expect(steps.ip.join()).not.toContain(`add dev ${bridge}`);
    expect(steps.bridge).toHaveLength(3);
  });

  it('whose port was taken off its bridge: back on it, and known to it again', () => {
    const is = planned(wanted());
    const loose: NetworkState = { ...is, port: { ...is.port!, master: '' } };
    expect(plan(wanted(), loose)).toEqual({
      ip: [`link set dev ${port} master ${bridge}`],
      bridge: [
        `link set dev ${port} learning off flood off`,
        `fdb replace 02:42:0a:00:01:05 dev ${port} master static`,
      ],
    });
  });

  it.each<[string, Partial<NonNullable<NetworkState['bridge']>>, string[]]>([
    [
      'address',
      { addresses: ['10.0.9.1/24'] },
      [`addr replace 10.0.1.1/24 dev ${bridge}`, `addr del 10.0.9.1/24 dev ${bridge}`],
    ],
    ['MAC', { mac: '02:42:00:00:00:00' }, [`link set dev ${bridge} address 02:42:0a:00:01:01`]],
    ['MTU', { mtu: 1500 }, [`link set dev ${bridge} mtu 1450`]],
    ['state', { isUp: false }, [`link set dev ${bridge} up`]],
  ])('whose bridge has another %s', (_, changed, ip) => {
    const is = planned(wanted());
    expect(plan(wanted(), { ...is, bridge: { ...is.bridge!, ...changed } })).toEqual({ ip, bridge: [] });
  });

  it('of two families', () => {
    const subnets = [
      { subnet: '10.0.1.0/24', gateway: '10.0.1.1' },
      { subnet: 'fd00:1::/64', gateway: 'fd00:1::1' },
    ];
    expect(plan(wanted({ subnets }), planned(wanted())).ip).toEqual([`addr replace fd00:1::1/64 dev ${bridge} nodad`]);
  });

  it('that is another’s: nothing is touched', () => {
    expect(foreignOwner(wanted(), planned(wanted()))).toBeUndefined();
    expect(foreignOwner(wanted(), {})).toBeUndefined();
    const is = planned(wanted());
    expect(foreignOwner(wanted(), { bridge: { ...is.bridge!, owner: 'swarmd:n2' } })).toBe('swarmd:n2');
    // As an engine makes it when the machine starts.
    expect(foreignOwner(wanted(), { bridge: { ...is.bridge!, owner: '' } })).toBeUndefined();
  });

  it('that is to go', () => {
    expect(planRemoval({ bridge, port }).ip).toEqual([`link del dev ${port}`, `link del dev ${bridge}`]);
  });
});

it('tells what failed from what was gone already', () => {
  const lines = ['link del dev a', 'link add dev b type vxlan', 'neigh del 1.1.1.1 dev b'];
  const stderr = `Cannot find device "a"\nCommand failed /tmp/x:1\nRTNETLINK answers: File exists\nCommand failed /tmp/x:2\nRTNETLINK answers: No such file\nCommand failed /tmp/x:3\n`;
  expect(failures(stderr, lines)).toEqual(['RTNETLINK answers: File exists (link add dev b type vxlan)']);
});
