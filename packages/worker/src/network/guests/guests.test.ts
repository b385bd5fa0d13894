import { ManualClock, silentLogger } from '@swarmctl/shared/kit';
import type { NetworkView } from '@swarmctl/shared/wire';
import { afterEach, describe, expect, it } from 'vitest';
import { NodeGuests } from './guests.ts';
import type { EngineGuest } from './types.ts';

const view = (id: string, third: number, more: Partial<NetworkView> = {}): NetworkView => ({
  ...{ id, name: id, vni: 1, port: 4789, encrypted: false, internal: false, attachable: true, far: [], names: [] },
  subnets: [{ subnet: `10.0.${third}.0/24`, gateway: `10.0.${third}.128`, block: `10.0.${third}.128/28` }],
  ...more,
});
const back = view('back', 1);
const viewsOf = (...views: NetworkView[]) => new Map(views.map((one) => [one.id, one]));
const place = (addr = '10.0.1.129', network = 'back') => ({
  ...{
    bridge: `swb${network}`,
    addresses: [addr],
    mac: '0a:00:00:00:00:01',
    names: ['palm', 'tree'],
    links: [['db', 'main-db'] as const],
  },
});
const palm = (more: Partial<EngineGuest> = {}): EngineGuest => ({
  ...{ containerId: 'c1', name: 'palm', pid: 7, nameservers: [], networks: [place()], isElsewhere: false },
  ...more,
});

let open: NodeGuests | undefined;
afterEach(() => open?.close());

function setUp(machines = ['192.0.2.53']) {
  const done: string[] = [];
  const state = {
    found: [] as EngineGuest[],
    error: undefined as Error | undefined,
    vips: undefined as Error | undefined,
    joining: undefined as (() => Promise<void>) | undefined,
  };
  const asked: string[][] = [];
  const followers = new Set<(network: string) => void>();
  const guests = new NodeGuests({
    engine: {
      list: async (bridges) => {
        asked.push([...bridges]);
        if (state.error) throw state.error;
        return state.found;
      },
      follow: async ({ lost }, signal) => {
        followers.add(lost);
        signal.addEventListener('abort', () => followers.delete(lost));
      },
    },
    overlay: {
      fit: async (id, pid, macs) => void done.push(`fit ${id} ${pid} ${[...macs].join()}`),
      unfit: (id) => void done.push(`unfit ${id}`),
      lost: (network) => void done.push(`lost ${network}`),
    },
    resolver: {
      attached: (id, { addrs, links = [], nameservers }) =>
        void done.push(
          `names ${id} ${addrs.map(({ addr }) => addr).join()} ${[...links].map((link) => link.join('='))} ${nameservers ?? ''}`.trim(),
        ),
      detached: (id) => void done.push(`nameless ${id}`),
      machines: async () => machines,
    },
    vips: {
      started: async (id, pid, networks) => {
        done.push(`vips ${id} ${pid} ${networks.join()}`);
        await state.joining?.();
        if (state.vips) throw state.vips;
      },
      ended: (id) => void done.push(`no vips ${id}`),
    },
    namespaceOf: async (pid) => ({ open: async () => void pid as never }),
    run: async ({ script, text = '' }) => {
      const to = /ip daddr \{ (.*?) \}.* dnat ip to (.*)/.exec(text);
      if (to) done.push(`asks ${to[1]} -> ${to[2]}`);
      if (script.includes('delete table')) done.push('cleared');
      return { code: 0, stdout: '', stderr: '' };
    },
    clock: new ManualClock(),
    log: silentLogger,
  });
  open = guests;
  void guests.apply(viewsOf(back));
  return { guests, done, state, asked, followers };
}

describe('a container made by hand', () => {
  it('gets what tasks get, and is told of', async () => {
    const { guests, done, state, asked } = setUp();
    let told = 0;
    guests.onChange(() => told++);
    state.found = [palm()];
    await guests.look();
    expect(asked.at(-1)).toEqual(['swbback']);
    expect(done.sort()).toEqual([
      'asks 192.0.2.53 -> 10.0.1.128',
      'fit c1 7 back,0a:00:00:00:00:01',
      'names c1 10.0.1.129 db=main-db',
      'vips c1 7 back',
    ]);
    expect(guests.list()).toEqual([
      {
        ...{ NetworkID: 'back', ContainerID: 'c1', Name: 'palm', Names: ['palm', 'tree'] },
        ...{ Addresses: ['10.0.1.129'], MAC: '0a:00:00:00:00:01' },
      },
    ]);
    expect([told > 0, guests.problems()]).toEqual([true, []]);
  });

  it('is left alone as long as nothing of it changes', async () => {
    const { guests, done, state } = setUp();
    state.found = [palm()];
    await guests.look();
    done.length = 0;
    await guests.look();
    expect(done).toEqual([]);
    state.found = [palm({ pid: 8 })];
    await guests.look();
    expect(done).toContain('vips c1 8 back');
  });

  it('that leaves has nothing any more', async () => {
    const { guests, done, state } = setUp();
    state.found = [palm()];
    await guests.look();
    done.length = 0;
    state.found = [];
    await guests.look();
    expect(done).toEqual(['nameless c1', 'unfit c1', 'no vips c1', 'cleared']);
    expect(guests.list()).toEqual([]);
  });

  it('stays as it is while the engine does not answer', async () => {
    const { guests, state } = setUp();
    state.found = [palm()];
    await guests.look();
    state.error = new Error('away');
    await expect(guests.look()).rejects.toThrow('away');
    expect(guests.list()).toHaveLength(1);
  });

  it('is tried again when something of it fails', async () => {
    const { guests, done, state } = setUp();
    state.found = [palm()];
    state.vips = new Error('nft failed');
    await guests.look();
    expect(guests.problems()).toEqual(['container palm: nft failed']);
    state.vips = undefined;
    done.length = 0;
    await guests.look();
    expect(done).toContain('vips c1 7 back');
    expect(guests.problems()).toEqual([]);
  });

  it('with an address of another block is nobody’s neighbour, and says so', async () => {
    const { guests, done, state } = setUp();
    state.found = [palm({ networks: [place('10.0.1.7')] })];
    await guests.look();
    expect(guests.list()).toEqual([]);
    expect(guests.problems()).toEqual([
      "container palm: it has 10.0.1.7 on network back, which other nodes do not know: this node's own are 10.0.1.128/28",
    ]);
    expect(done).not.toContain('asks 192.0.2.53 -> 10.0.1.128');
  });

  it.each<[string, Partial<EngineGuest>, string[], Partial<NetworkView>, string]>([
    ['has resolvers of its own', { nameservers: ['192.0.2.99'] }, ['192.0.2.53'], {}, '192.0.2.99'],
    ['has no way out', {}, ['192.0.2.53'], { internal: true }, '127.0.0.11'],
    ['has a way out elsewhere', { isElsewhere: true }, ['192.0.2.53'], { internal: true }, '192.0.2.53'],
    ['is on a machine that resolves for itself', {}, [], {}, '127.0.0.11'],
  ])('that %s', async (_, more, machines, ofView, expected) => {
    const { guests, done, state } = setUp(machines);
    await guests.apply(viewsOf({ ...back, ...ofView }));
    state.found = [palm(more)];
    await guests.look();
    expect(done).toContain(`asks ${expected} -> 10.0.1.128`);
  });

  it('whose other names only its engine knows keeps them', async () => {
    const { guests, done, state } = setUp([]);
    state.found = [palm({ isElsewhere: true })];
    await guests.look();
    expect(guests.problems()[0]).toContain('give it --dns');
    expect(done.join()).not.toContain('asks');
  });
});

describe('guests', () => {
  it('of a network that goes while they join have nothing either', async () => {
    const { guests, done, state } = setUp();
    state.found = [palm()];
    state.joining = guests.apply.bind(guests, new Map());
    await guests.look();
    expect(guests.list()).toEqual([]);
    expect(done.slice(-4).sort()).toEqual(['cleared', 'nameless c1', 'no vips c1', 'unfit c1']);
  });

  it('are looked for as long as a network has a block here', async () => {
    const { guests, asked, followers, state, done } = setUp();
    expect(followers.size).toBe(1);
    for (const lost of followers) lost('back');
    expect(done).toEqual(['lost back']);
    state.found = [palm()];
    await guests.look();
    const before = asked.length;
    done.length = 0;
    await guests.apply(viewsOf(view('plain', 2, { subnets: [{ subnet: '10.0.2.0/24', gateway: '10.0.2.3' }] })));
    expect([followers.size, asked.length, guests.list()]).toEqual([0, before, []]);
    expect(done).toContain('cleared');
  });

  it('are not all told of when they are very many', async () => {
    const { guests, state } = setUp();
    state.found = Array.from({ length: 2_000 }, (_, i) => palm({ containerId: `c${i}` }));
    await guests.look();
    expect(guests.list().length).toBeLessThan(2_000);
    expect(JSON.stringify(guests.list()).length).toBeLessThan(64 * 1024);
  });
});
