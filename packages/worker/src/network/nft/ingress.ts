import { networkInterfaces } from 'node:os';
import { Bell, type Clock, delay, inTime, type Logger, messageOf } from '@swarmctl/shared/kit';
import type { TaskEndpoint } from '@swarmctl/shared/model';
import type { IngressEntry } from '@swarmctl/shared/wire';
import { answeredAddresses, familyOf, type LocalAddresses, localAddresses } from '../address.ts';
import { type RunCommand, runCommand } from '../command.ts';
import { conflict, type Listener, listeners } from '../listeners.ts';
import { emptyTable, type NodeTable, type PlanCache, planTable } from '../plan.ts';
import { ingressClosed, logProblems } from '../problems.ts';
import { NamedTimers } from '../timers.ts';
import type { Ingress, IngressOptions, MeshState } from '../types.ts';
import { Versions } from '../versions.ts';
import { DepartedWatch } from './departed-watch.ts';
import { LinuxHost, type NodeHost } from './host.ts';
import { KernelTable } from './kernel-table.ts';
import { type MeshNames, type TableNames, tableName } from './names.ts';
import { removal, replacement } from './rules.ts';
import { type Nft, NftTool, type TableId } from './tool.ts';
import { changedUdp, type InForce, UdpFlows, udpPorts } from './udp-flows.ts';

// The ingress by the kernel: keeps one nftables table true. One loop writes it, a transaction at a time; a sweep compares it with what it should
// be now and then.

export interface NftModules {
  readonly log: Logger;
  readonly clock: Clock;
  readonly nft?: Nft;
  readonly host?: NodeHost;
  readonly run?: RunCommand;
  readonly listeners?: () => Promise<readonly Listener[]>;
  readonly interfaces?: typeof networkInterfaces;
}

/** Between two transactions. What comes meanwhile goes in one; the longer changes follow one another, the more of them. */
const gapMs = { first: 5, most: 20 };
const sweepMs = 60_000;
/** How soon a port that another program has is tried again. */
const takenMs = 5_000;
/** Docker's firewall may come and go. */
const admitMs = 10_000;
const worstRetryMs = 5_000;
/** The longest that flows of UDP hold up what else has changed. */
const forgetMs = 1_000;
export class NftIngress implements Ingress {
  readonly kind = 'nftables';
  readonly #options: IngressOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #nft: Nft;
  readonly #host: NodeHost;
  readonly #listeners: () => Promise<readonly Listener[]>;
  readonly #interfaces: typeof networkInterfaces;
  #names: TableNames;
  readonly #bell = new Bell();
  readonly #ended = new AbortController();
  readonly #timers: NamedTimers;
  readonly #table: KernelTable;
  readonly #udp: UdpFlows;
  readonly #departed: DepartedWatch;

  /** Of plans by `#plannedMesh`. */
  #cache: PlanCache = new WeakMap();
  #plannedMesh: MeshState | undefined;
  /** Of containers; found anew after each sweep. */
  readonly #nets = new Map<string, string>();

  #wanted: ReadonlyMap<string, IngressEntry> = new Map();
  #mesh: MeshState | undefined;
  #own: readonly TaskEndpoint[] = [];
  readonly #versions = new Versions();
  #taken: ReadonlyMap<string, string> = new Map();
  #planned: ReadonlyMap<string, string> = new Map();
  #failure: string | undefined;
  #admittedAt: number;
  #work: Promise<void> = Promise.resolve();
  #background: Promise<unknown> = Promise.resolve();

  private constructor(options: IngressOptions, modules: NftModules, names: TableNames, parts: Parts) {
    this.#options = options;
    this.#log = modules.log;
    this.#clock = modules.clock;
    this.#nft = parts.nft;
    this.#host = parts.host;
    this.#listeners = modules.listeners ?? listeners;
    this.#interfaces = modules.interfaces ?? networkInterfaces;
    this.#names = names;
    this.#timers = new NamedTimers(modules.clock);
    const { nft, run } = parts;
    const { log, clock } = modules;
    this.#table = new KernelTable({ nft, log, firstRound: (key) => spread(options.nodeId + key) });
    this.#udp = new UdpFlows({ run, log, own: () => this.#local().own });
    const { signal } = this.#ended;
    this.#departed = new DepartedWatch({ run, clock, log, signal, mesh: () => this.#mesh });
    this.#admittedAt = modules.clock.monotonic();
  }

  /** A table that an earlier daemon of this node left goes on until the first `apply`. */
  static async open(options: IngressOptions, modules: NftModules): Promise<NftIngress> {
    const table = tableName(options.nodeId);
    const run = modules.run ?? runCommand;
    const parts: Parts = {
      run,
      nft: modules.nft ?? new NftTool(run),
      host: modules.host ?? new LinuxHost(table, run, modules.log),
    };
    const present = (await parts.nft.tables()).filter(({ name }) => name.startsWith('swarmd_'));
    const routeLocalnet = (await earlierSetting(parts.nft, present)) ?? (await parts.host.routeLocalnet());
    const names = { table, addresses: answeredAddresses(options), routeLocalnet };
    if (!present.some(({ name }) => name === table)) await parts.nft.apply(replacement(names, emptyTable, () => 0));
    await parts.host.prepare();
    await parts.host.admit();
    const ingress = new NftIngress(options, modules, names, parts);
    ingress.#work = ingress.#loop();
    ingress.#sweepLater();
    return ingress;
  }

  apply(
    entries: ReadonlyMap<string, IngressEntry>,
    mesh?: MeshState,
    own: readonly TaskEndpoint[] = [],
  ): Promise<void> {
    if (this.#ended.signal.aborted) return Promise.reject(ingressClosed());
    this.#wanted = entries;
    this.#mesh = mesh;
    this.#own = own;
    const done = this.#versions.next();
    this.#bell.ring();
    return done;
  }

  problems(): ReadonlyMap<string, string> {
    if (this.#failure === undefined) return this.#planned;
    const failure = this.#failure;
    return new Map([...this.#wanted.keys()].map((key) => [key, failure]));
  }

  async close(options: { readonly keep?: boolean } = {}): Promise<void> {
    if (this.#ended.signal.aborted) return this.#work;
    this.#ended.abort(ingressClosed());
    this.#bell.ring();
    this.#timers.close();
    const departed = this.#departed.close();
    this.#work = this.#work
      .then(() => Promise.all([this.#background, departed]))
      .then(() => (options.keep ? undefined : this.#remove()));
    await this.#work;
  }

  /** Compares the table with what it should be, and repairs it. Runs by itself each minute; never throws. */
  async sweep(): Promise<void> {
    this.#nets.clear();
    try {
      await this.#host.admit();
      const { table } = this.#table;
      await this.#reflect(table);
      await this.#udp.forget(udpPorts(table, [...this.#wanted.values()]), () => this.#inForce());
      if (!(await this.#table.check(this.#names.table))) this.#bell.ring();
    } catch (error) {
      this.#log.warn({ error: messageOf(error) }, 'the ingress table could not be checked');
    }
    this.#sweepLater();
  }

  async #loop(): Promise<void> {
    for (let [failures, gap, ended] = [0, gapMs.first, Number.NEGATIVE_INFINITY]; ; ) {
      await this.#bell.wait();
      if (this.#ended.signal.aborted) break;
      const isSoon = this.#clock.monotonic() - ended <= gapMs.most * 2;
      gap = isSoon ? Math.min(gap * 2, gapMs.most) : gapMs.first;
      try {
        await this.#converge();
        failures = 0;
        this.#failure = undefined;
      } catch (error) {
        this.#table.forget();
        this.#failure = `the ingress table cannot be written: ${messageOf(error)}`;
        this.#log.error({ error: messageOf(error) }, 'the ingress table cannot be written; it is tried again');
        this.#bell.ring();
      }
      ended = this.#clock.monotonic();
      const ms = this.#failure === undefined ? gap : Math.min(gapMs.most * 2 ** ++failures, worstRetryMs);
      await delay(this.#clock, ms, this.#ended.signal).catch(() => {});
    }
    this.#versions.rejectAll(ingressClosed());
  }

  async #converge(): Promise<void> {
    const version = this.#versions.latest;
    if (version === 0) return;
    const [wanted, mesh] = [this.#wanted, this.#mesh];
    await this.#lookForOthers(wanted);
    if (mesh !== this.#plannedMesh) this.#learn(mesh);
    const { nodeId } = this.#options;
    const { addresses } = this.#names;
    const [local, nets, taken] = [() => this.#local(), this.#nets, this.#taken];
    const [own, cache] = [this.#own, this.#cache];
    const plan = planTable(wanted, { nodeId, addresses, local, nets, taken, mesh, own, cache });
    if ([...plan.table.ports.values()].some(({ targets }) => targets[6].length > 0)) await this.#host.prepareIPv6();
    const before = this.#table.table;
    await this.#table.write(this.#names, plan.table);
    const udp = changedUdp(before, plan.table);
    this.#departed.changed(before, plan.table);
    logProblems(this.#log, this.#planned, plan.problems);
    this.#planned = plan.problems;
    const forgotten = this.#udp.forget(udp, () => this.#inForce());
    // Before it is said to be in force: a backend is stopped then, and what is still led there is refused.
    const limit = { what: 'forgetting flows of UDP', ms: forgetMs, signal: this.#ended.signal };
    if (udp.size > 0) await inTime(this.#clock, limit, () => forgotten).catch(() => undefined);
    this.#versions.settle(version);
    this.#inBackground(async () => {
      await forgotten;
      await this.#admitNowAndThen();
      await this.#reflect(plan.table);
    });
  }

  #learn(mesh: MeshState | undefined): void {
    const { mesh: _before, ...names } = this.#names;
    this.#names = { ...names, mesh: mesh && namesOf(mesh) };
    this.#cache = new WeakMap();
    this.#plannedMesh = mesh;
  }

  #local(): LocalAddresses {
    return localAddresses(this.#interfaces());
  }

  #inForce(): InForce | undefined {
    const table = this.#table.inForce;
    return table && { table, names: this.#names, taken: this.#taken };
  }

  /** Ports that are new here, or were another's, and have a listener: that program keeps them. */
  async #lookForOthers(wanted: ReadonlyMap<string, IngressEntry>): Promise<void> {
    const unsure = [...wanted.values()].filter(({ key }) => !this.#table.holds(key));
    if (unsure.length === 0) {
      this.#taken = new Map();
      return;
    }
    const among = await this.#listeners();
    const taken = new Map<string, string>();
    for (const { key, protocol, publishedPort: port, address } of unsure) {
      const other = conflict({ protocol, port, address }, this.#names.addresses, among);
      if (!other) continue;
      const at = familyOf(other.addr) === 6 ? `[${other.addr}]` : other.addr;
      taken.set(key, `another program listens on ${at}:${port}/${protocol}; it keeps the port here`);
    }
    this.#taken = taken;
    if (taken.size > 0) this.#timers.after('taken', takenMs, () => this.#bell.ring());
  }

  async #reflect({ nearNets }: NodeTable): Promise<void> {
    const nets = [...nearNets[4], ...nearNets[6]];
    if (nets.length === 0) return;
    const { subnets } = this.#local();
    await this.#host.reflect(subnets.filter(({ cidr }) => nets.includes(cidr)).map(({ device }) => device));
  }

  async #admitNowAndThen(): Promise<void> {
    const now = this.#clock.monotonic();
    if (now - this.#admittedAt < admitMs) return;
    this.#admittedAt = now;
    await this.#host.admit();
  }

  async #remove(): Promise<void> {
    await this.#nft.apply(removal(this.#names.table));
    await this.#host.dismiss();
    const others = (await this.#nft.tables()).filter(({ name }) => name.startsWith('swarmd_'));
    if (others.length === 0) await this.#host.restore(this.#names.routeLocalnet);
  }

  #sweepLater(): void {
    this.#timers.after('sweep', sweepMs, () => this.#inBackground(() => this.sweep()));
  }

  /** One after the other, and awaited by `close`. */
  #inBackground(work: () => Promise<void>): void {
    this.#background = this.#background
      .then(work)
      .catch((error) => this.#log.warn({ error: messageOf(error) }, 'ingress upkeep failed'));
  }
}

interface Parts {
  readonly nft: Nft;
  readonly host: NodeHost;
  readonly run: RunCommand;
}

/** What `route_localnet` was before the first daemon here changed it. */
async function earlierSetting(nft: Nft, tables: readonly TableId[]): Promise<string | undefined> {
  for (const table of tables) {
    const [, value] = /^route_localnet was (\S+)$/.exec((await nft.comment(table).catch(() => undefined)) ?? '') ?? [];
    if (value !== undefined) return value;
  }
  return undefined;
}

/** Of a VXLAN device on Ethernet. */
const usualMtu = 1_450;

const namesOf = ({ device, addresses, mark, mtu = usualMtu, vxlan, routedByMain = [] }: MeshState): MeshNames => ({
  device,
  ...addresses,
  mark,
  mtu,
  vxlan,
  routedByMain,
});

/** Nodes start their rounds at different backends. */
const spread = (text: string): number =>
  [...text].reduce((hash, char) => (hash * 31 + char.charCodeAt(0)) >>> 0, 7) % 997;
