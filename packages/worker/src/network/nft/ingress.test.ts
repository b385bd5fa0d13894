import { ManualClock, settle, silentLogger } from '@swarmctl/shared/kit';
import type { IngressEntry } from '@swarmctl/shared/wire';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Listener } from '../listeners.ts';
import type { MeshState } from '../types.ts';
import type { NodeHost } from './host.ts';
import { NftIngress } from './ingress.ts';
import { removal } from './rules.ts';
import type { Nft, TableId } from './tool.ts';

// The loop around the table, with an nft that only notes what it is told.

class FakeNft implements Nft {
  readonly applied: string[] = [];
  present: TableId[] = [];
  note: string | undefined;
  fail: ((text: string) => boolean) | undefined;
  listing: unknown[] | undefined;

  async apply(text: string): Promise<void> {
    if (this.fail?.(text)) throw new Error('nft failed: No such file or directory');
    this.applied.push(text);
  }
  list = async () => this.listing;
  tables = async () => this.present;
  comment = async () => this.note;
  /** What was applied since the last look, each as `full` or its first line. */
  news(): string[] {
    return this.applied
      .splice(0)
      .map((text) =>
        /^table inet/m.test(text) ? 'full' : (text.split('\n')[0]?.replace(' inet swarmd_n1', '') ?? ''),
      );
  }
}

class FakeHost implements NodeHost {
  readonly calls: string[] = [];
  routeLocalnet = async () => '0';
  prepare = async () => void this.calls.push('prepare');
  restore = async (value: string) => void this.calls.push(`restore ${value}`);
  admit = async () => void this.calls.push('admit');
  reflect = async () => void this.calls.push('reflect');
  dismiss = async () => void this.calls.push('dismiss');
  prepareIPv6 = async () => void this.calls.push('prepareIPv6');
}

const entries = (...ports: [number, string[]][]): Map<string, IngressEntry> =>
  new Map(
    ports.map(([publishedPort, addrs]) => {
      const key = `tcp/${publishedPort}`;
      const backends = addrs.map((nodeAddr) => ({
        ...{ taskId: nodeAddr, nodeId: 'other', protocol: 'tcp' as const, targetPort: 80 },
        ...{ localAddr: '', localPort: 0, nodeAddr, nodePort: 40_000 },
      }));
      const service = { serviceId: 's', serviceName: 'web', protocol: 'tcp' as const, publishedPort, targetPort: 80 };
      return [key, { key, ...service, clientAddress: 'masquerade', backends }];
    }),
  );

const speaksTcp = { match: { op: '==', left: { meta: { key: 'l4proto' } }, right: 'tcp' } };
const ruleTo = (addr: string, handle: number) => ({
  rule: { chain: 's_tcp_80', handle, expr: [speaksTcp, { dnat: { family: 'ip', addr, port: 40_000 } }] },
});

/** nft's, of a table whose port 80 leads to `addr`, but for the rule of that. */
const listingOf = (addr: string): unknown[] => [
  { map: { name: 'ports', elem: [[{ concat: ['tcp', 80] }, { goto: { target: 's_tcp_80' } }]] } },
  ...['published', 'masquerade_tcp'].map((name) => ({ set: { name, elem: [80] } })),
  { set: { name: 'far4', elem: [addr] } },
  { chain: { name: 's_tcp_80' } },
];

describe('NftIngress', () => {
  let nft: FakeNft;
  let host: FakeHost;
  let clock: ManualClock;
  let others: Listener[];

  beforeEach(() => {
    nft = new FakeNft();
    host = new FakeHost();
    clock = new ManualClock();
    others = [];
  });

  const open = () =>
    NftIngress.open(
      { nodeId: 'n1', ingressAddrs: [], advertiseAddr: '10.0.0.1' },
      { log: silentLogger, clock, nft, host, listeners: async () => others, interfaces: () => ({}) },
    );

  it('has the connections to a node forgotten as soon as it is gone, whoever else is still asked after', async () => {
    const calls: string[] = [];
    const line =
      'tcp 6 9 ESTABLISHED src=10.0.0.9 dst=10.0.0.1 sport=1 dport=80 src=198.18.0.2 dst=10.0.0.9 sport=40000 dport=1';
    const run = async (program: string, args: readonly string[]) => {
      calls.push([program, ...args].join(' '));
      return { code: 0, stdout: args[0] === '-L' && args.includes('ipv4') ? line : '', stderr: '' };
    };
    const modules = { log: silentLogger, clock, nft, host, run, listeners: async () => [], interfaces: () => ({}) };
    const ingress = await NftIngress.open({ nodeId: 'n1', ingressAddrs: [], advertiseAddr: '10.0.0.1' }, modules);
    const mesh = (gone: string[]): MeshState => ({
      ...{ device: 'swm', self: 1, addresses: { v4: '198.18.0.1', v6: 'fd73::1' }, mark: 0x5377_0000 },
      ...{ marks: new Map(), senders: [], own: [{ node: '10.0.0.2', mesh: '198.18.0.2' }], gone: new Set(gone) },
      wayTo: (nodeId) =>
        gone.includes(nodeId) ? { kind: 'masquerade', v4: '10.0.0.2' } : { kind: 'mesh', v4: '198.18.0.2' },
    });
    const at = (...nodeIds: string[]) => {
      const [entry] = entries([80, nodeIds]).values();
      const backends = entry?.backends.map((one) => ({
        ...one,
        nodeId: one.taskId,
        localAddr: '172.17.0.2',
        localPort: 80,
      }));
      return new Map([['tcp/80', { ...entry, backends } as IngressEntry]]);
    };
    await ingress.apply(at('n2'), mesh([]));
    await gap();
    await ingress.apply(at('n1'), mesh(['n2']));
    await settle();
    expect(calls).toContain(
      'conntrack -D -f ipv4 -p tcp --orig-dst 10.0.0.1 --orig-port-dst 80 --reply-src 198.18.0.2 --reply-port-src 40000',
    );
    await ingress.close({ keep: true });
  });

  it('is in force when flows of UDP to who has left are forgotten, or cannot be in a second', async () => {
    const waiting: (() => void)[] = [];
    const run = async () => {
      await new Promise<void>((resolve) => waiting.push(resolve));
      return { code: 0, stdout: '', stderr: '' };
    };
    const modules = { log: silentLogger, clock, nft, host, run, listeners: async () => [], interfaces: () => ({}) };
    const ingress = await NftIngress.open({ nodeId: 'n1', ingressAddrs: [], advertiseAddr: '10.0.0.1' }, modules);
    const [entry] = entries([53, ['n2']]).values();
    const udp = { ...entry, key: 'udp/53', protocol: 'udp' } as IngressEntry;
    let isApplied = false;
    const applied = ingress.apply(new Map([['udp/53', udp]])).then(() => {
      isApplied = true;
    });
    await settle();
    expect([nft.news().length, waiting.length > 0, isApplied]).toEqual([2, true, false]);
    await clock.advance(999);
    expect(isApplied).toBe(false);
    await clock.advance(1);
    await applied;
    for (let go = waiting.shift(); go; go = waiting.shift()) {
      go();
      await settle();
    }
    await ingress.close({ keep: true });
  });

  it('has flows of UDP forgotten again once conntrack can be run, and complains once', async () => {
    const warnings: string[] = [];
    const warn = ({ error }: { error?: string }) => void (error !== undefined && warnings.push(error));
    const log = { ...silentLogger, warn } as typeof silentLogger;
    const listings: string[] = [];
    let isBroken = true;
    const run = async (_program: string, args: readonly string[]) => {
      if (isBroken) throw new Error('conntrack did not end within 30 s');
      listings.push(args.join(' '));
      return { code: 0, stdout: '', stderr: '' };
    };
    const modules = { log, clock, nft, host, run, listeners: async () => [], interfaces: () => ({}) };
    const ingress = await NftIngress.open({ nodeId: 'n1', ingressAddrs: [], advertiseAddr: '10.0.0.1' }, modules);
    const [entry] = entries([53, ['n2']]).values();
    await ingress.apply(new Map([['udp/53', { ...entry, key: 'udp/53', protocol: 'udp' } as IngressEntry]]));
    await settle();
    await ingress.sweep();
    expect(warnings).toEqual(['conntrack did not end within 30 s']);
    isBroken = false;
    await ingress.sweep();
    expect(listings).toContain('-L -f ipv4 -p udp --orig-port-dst 53');
    await ingress.close({ keep: true });
  });

  /** The loop sleeps between transactions. */
  async function gap(): Promise<void> {
    await settle();
    await clock.advance(20);
  }

  async function opened(): Promise<NftIngress> {
    const ingress = await open();
    await ingress.apply(entries([80, ['10.0.0.2']]));
    await gap();
    nft.news();
    return ingress;
  }

  it('makes an empty table first, then writes all of it, then what changes', async () => {
    const ingress = await open();
    expect(nft.news()).toEqual(['full']);
    await ingress.apply(entries([80, ['10.0.0.2']]));
    expect(nft.news()).toEqual(['full']);
    await gap();
    await ingress.apply(entries([80, ['10.0.0.2', '10.0.0.3']]));
    expect(nft.news()).toEqual([expect.stringMatching(/^insert rule s_tcp_80 /)]);
    await gap();
    await ingress.apply(entries([80, ['10.0.0.2', '10.0.0.3']]));
    expect(nft.news()).toEqual([]);
    await ingress.close();
  });

  it('waits longer, the longer changes follow one another', async () => {
    const ingress = await opened();
    await clock.advance(1_000);
    for (const [i, gapMs] of [5, 20, 20].entries()) {
      await ingress.apply(entries([80, [`10.0.1.${i}`]]));
      nft.news();
      void ingress.apply(entries([80, [`10.0.2.${i}`]]));
      await settle();
      await clock.advance(gapMs - 1);
      expect(nft.news()).toEqual([]);
      await clock.advance(1);
      expect(nft.news()).toHaveLength(1);
      await clock.advance(20);
    }
    await ingress.close();
  });

  it('leaves the table of an earlier daemon as it is until it knows better', async () => {
    nft.present = [{ family: 'ip', name: 'swarmd_n1' }];
    nft.note = 'route_localnet was 1';
    const ingress = await open();
    expect(nft.news()).toEqual([]);
    await ingress.apply(entries());
    expect(nft.applied[0]).toContain('comment "route_localnet was 1"');
    await ingress.close();
  });

  it('does the first change at once and joins those that come meanwhile', async () => {
    const ingress = await opened();
    const ports = async (...wanted: number[]) => {
      const list = wanted.map((port) => ingress.apply(entries([port, ['10.0.0.2']])).then(() => port));
      return Promise.all(list);
    };
    // The loop looks only once all four are wanted.
    expect(await ports(81, 82, 83, 84)).toEqual([81, 82, 83, 84]);
    expect(nft.news()).toEqual(['add chain s_tcp_84']);
    const later = ports(85, 86);
    await settle();
    expect(nft.news()).toEqual([]);
    await clock.advance(20);
    expect(nft.news()).toEqual(['add chain s_tcp_86']);
    expect(await later).toEqual([85, 86]);
    await ingress.close();
  });

  it('writes everything when a change meets a table that others changed', async () => {
    const ingress = await opened();
    nft.fail = (text) => text.startsWith('insert');
    await ingress.apply(entries([80, ['10.0.0.3']]));
    expect(nft.news()).toEqual(['full']);
    expect(ingress.problems().size).toBe(0);
    await ingress.close();
  });

  it('says why it cannot write, keeps its promise open, and tries again', async () => {
    const ingress = await opened();
    nft.fail = () => true;
    let isDone = false;
    const applied = ingress.apply(entries([80, ['10.0.0.3']])).then(() => {
      isDone = true;
    });
    await clock.advance(1_000);
    expect(isDone).toBe(false);
    expect([...ingress.problems()]).toEqual([
      ['tcp/80', 'the ingress table cannot be written: nft failed: No such file or directory'],
    ]);
    nft.fail = undefined;
    await clock.advance(5_000);
    await applied;
    expect(nft.news()).toEqual(['full']);
    expect(ingress.problems().size).toBe(0);
    await ingress.close();
  });

  it('leaves a port to another program until that lets go', async () => {
    const ingress = await opened();
    others = [{ protocol: 'tcp', addr: '0.0.0.0', port: 81 }];
    const wanted = entries([80, ['10.0.0.2']], [81, ['10.0.0.2']]);
    await ingress.apply(wanted);
    expect(nft.news()).toEqual([]);
    expect(ingress.problems().get('tcp/81')).toMatch(/another program listens on 0.0.0.0:81\/tcp/);
    others = [];
    await gap();
    await clock.advance(5_000);
    expect(nft.news()).toEqual(['add chain s_tcp_81']);
    expect(ingress.problems().size).toBe(0);
    // A program that comes later finds nothing coming in, but takes no service down.
    others = [{ protocol: 'tcp', addr: '0.0.0.0', port: 80 }];
    await clock.advance(60_000);
    expect(ingress.problems().size).toBe(0);
    await ingress.close();
  });

  it('repairs what a sweep finds, each minute', async () => {
    const ingress = await opened();
    nft.listing = undefined;
    await clock.advance(60_000);
    await gap();
    expect(nft.news()).toEqual(['full']);
    expect(host.calls.filter((call) => call === 'admit').length).toBeGreaterThanOrEqual(2);
    await ingress.close();
  });

  it('leaves only so many rules over, and a sweep removes them', async () => {
    const ingress = await opened();
    const handles = Array.from({ length: 64 }, (_, i) => 100 + i);
    const change = async (i: number) => {
      await ingress.apply(entries([80, [`10.0.1.${i}`]]));
      await gap();
      return nft.news()[0]?.split(' ')[0];
    };
    for (const i of handles.keys()) expect(await change(i)).toBe('insert');
    expect(await change(64)).toBe('flush');
    nft.listing = [...listingOf('10.0.1.64'), ...[99, ...handles].map((handle) => ruleTo('10.0.1.64', handle))];
    await ingress.sweep();
    expect(nft.applied.splice(0).join('')).toBe(
      handles.map((handle) => `delete rule inet swarmd_n1 s_tcp_80 handle ${handle}\n`).join(''),
    );
    expect(await change(65)).toBe('insert');
    await ingress.close();
  });

  it('does not write for ever because of a listing that it cannot read', async () => {
    const ingress = await opened();
    nft.listing = [{ table: {} }];
    for (let i = 0; i < 4; i++) {
      await clock.advance(60_000);
      await gap();
    }
    expect(nft.news()).toEqual(['full']);
    await ingress.close();
  });

  it.each([
    ['the last one', [], ['admit', 'dismiss', 'restore 0']],
    ['one of several', [{ family: 'inet' as const, name: 'swarmd_n2' }], ['admit', 'dismiss']],
  ])('removes every trace when it is %s', async (_, present, calls) => {
    const ingress = await opened();
    nft.present = present;
    host.calls.length = 0;
    host.calls.push('admit');
    await ingress.close();
    await ingress.close();
    expect(nft.applied).toEqual([removal('swarmd_n1')]);
    expect(host.calls).toEqual(calls);
    await expect(ingress.apply(entries())).rejects.toThrow('the ingress is closed');
    expect(clock.untilNext()).toBeUndefined();
  });

  it('keeps the table for the next daemon when told so', async () => {
    const ingress = await opened();
    await ingress.close({ keep: true });
    expect(nft.applied).toEqual([]);
  });

  it('rejects what was never applied when it closes', async () => {
    const ingress = await opened();
    nft.fail = (text) => text.includes('dnat');
    const applied = ingress.apply(entries([80, ['10.0.0.3']]));
    const rejected = expect(applied).rejects.toThrow('the ingress is closed');
    await settle();
    nft.fail = () => false;
    await Promise.all([ingress.close(), rejected]);
  });
});
