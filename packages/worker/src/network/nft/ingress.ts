import { networkInterfaces } from 'node:os';
import { Bell, type Clock, delay, type Logger, messageOf, type Timer } from '@swarmctl/shared/kit';
import type { TaskEndpoint } from '@swarmctl/shared/model';
import type { IngressEntry } from '@swarmctl/shared/wire';
import { answeredAddresses, familyOf, isLoopback, type LocalAddresses, localAddresses } from '../address.ts';
import { type RunCommand, runCommand } from '../command.ts';
import { conflict, type Listener, listeners } from '../listeners.ts';
import {
  emptyTable,
  endsOf,
  type NodeTable,
  type PlanCache,
  type PortRule,
  planTable,
  sameEnds,
  sameWays,
  type Target,
} from '../plan.ts';
import { ingressClosed, logProblems } from '../problems.ts';
import type { Ingress, IngressOptions, MeshState } from '../types.ts';
import { Versions } from '../versions.ts';
import { forgetStaleUdp } from './conntrack.ts';
import { asksIfDead, DepartedTargets } from './departed.ts';
import { drift, read } from './drift.ts';
import { LinuxHost, type NodeHost } from './host.ts';
import { type MeshNames, type TableNames, tableName } from './names.ts';
import { changes, deletions, type RuleId, removal, replacement } from './rules.ts';
import { type Nft, NftTool, type TableId } from './tool.ts';

// The ingress by the kernel: keeps one nftables table true. One loop writes it, a transaction at a time and only what has changed; a sweep
// compares it with what it should be now and then.

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
/** Rules that may be left over between two sweeps: nft looks through all that there are. */
const mostLeftOver = 64;
/** How soon connections to backends that left are looked at first; then half as often each time. */
const departedMs = 2_000;

export class NftIngress implements Ingress {
  readonly kind = 'nftables';
  readonly #options: IngressOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #nft: Nft;
  readonly #host: NodeHost;
  readonly #run: RunCommand;
  readonly #listeners: () => Promise<readonly Listener[]>;
  readonly #interfaces: typeof networkInterfaces;
  #names: TableNames;
  readonly #bell = new Bell();
  readonly #ended = new AbortController();
  readonly #timers = new Map<string, Timer>();
  readonly #rounds = new Map<string, number>();
  readonly #departed = new DepartedTargets();

  /** Of plans by `#plannedMesh`. */
  #cache: PlanCache = new WeakMap();
  #plannedMesh: MeshState | undefined;
  /** Of containers; found anew after each sweep. */
  readonly #nets = new Map<string, string>();

  #wanted: ReadonlyMap<string, IngressEntry> = new Map();
  #mesh: MeshState | undefined;
  #own: readonly TaskEndpoint[] = [];
  readonly #versions = new Versions();
  /** What the kernel has; undefined: unknown, so that all of it is written. */
  #table: NodeTable | undefined;
  /** Ports that are ours, also while the table has to be written anew. */
  #held: ReadonlySet<string> = new Set();
  /** What the table's fixed part knows of the mesh. */
  #writtenMesh: MeshNames | undefined;
  /** The listing of what never changes, as of the first sweep after a replacement. */
  #frame: string | undefined;
  /** Rules in it that others stand above. */
  #leftOver = 0;
  #clearing: Promise<void> = Promise.resolve();
  #writing = false;
  /** The latest sweep's finding. */
  #drift: string | undefined;
  #isComparable = true;
  #taken: ReadonlyMap<string, string> = new Map();
  #planned: ReadonlyMap<string, string> = new Map();
  #failure: string | undefined;
  #admittedAt: number;
  #work: Promise<void> = Promise.resolve();
  #background: Promise<unknown> = Promise.resolve();
  #looking: Promise<void> = Promise.resolve();
  /** Why flows of UDP could not be forgotten the last time. */
  #unforgotten: string | undefined;

  private constructor(options: IngressOptions, modules: NftModules, names: TableNames, parts: Parts) {
    this.#options = options;
    this.#log = modules.log;
    this.#clock = modules.clock;
    this.#nft = parts.nft;
    this.#host = parts.host;
    this.#run = parts.run;
    this.#listeners = modules.listeners ?? listeners;
    this.#interfaces = modules.interfaces ?? networkInterfaces;
    this.#names = names;
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
    ingress.#later('sweep', sweepMs, () => ingress.sweep());
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
    for (const timer of this.#timers.values()) timer.cancel();
    this.#work = this.#work
      .then(() => Promise.all([this.#background, this.#looking]))
      .then(() => (options.keep ? undefined : this.#remove()));
    await this.#work;
  }

  /** Compares the table with what it should be, and repairs it. Runs by itself each minute; never throws. */
  async sweep(): Promise<void> {
    this.#nets.clear();
    try {
      await this.#host.admit();
      await this.#reflect(this.#table ?? emptyTable);
      await this.#forgetUdp(udpPorts(this.#table ?? emptyTable, [...this.#wanted.values()]));
      await this.#compare();
    } catch (error) {
      this.#log.warn({ error: messageOf(error) }, 'the ingress table could not be checked');
    }
    this.#later('sweep', sweepMs, () => this.sweep());
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
        this.#table = undefined;
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
    const before = this.#table ?? emptyTable;
    await this.#write(plan.table);
    const udp = changedUdp(before, plan.table);
    this.#departed.changed(before, plan.table);
    if (this.#departed.size > 0 && !this.#timers.has('departed')) this.#lookAtDeparted(departedMs);
    // Whose node has just gone need not wait, neither for their time nor for others who are asked after.
    if (this.#departed.size > 0 && hasNewlyGone(before, plan.table)) void this.#look();
    logProblems(this.#log, this.#planned, plan.problems);
    this.#planned = plan.problems;
    this.#versions.settle(version);
    this.#inBackground(async () => {
      await this.#forgetUdp(udp);
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

  async #write(table: NodeTable): Promise<void> {
    await this.#clearing;
    const rounds = (key: string) => this.#round(key);
    const names = this.#names;
    const known = sameMesh(names.mesh, this.#writtenMesh) ? this.#table : undefined;
    const change = known && changes(names.table, known, table, rounds, mostLeftOver - this.#leftOver);
    if (change?.text === '') {
      this.#table = table;
      return;
    }
    this.#writing = true;
    try {
      const isChanged = change !== undefined && (await this.#tryChanges(change.text));
      if (isChanged) this.#leftOver += change.leftOver;
      else {
        await this.#nft.apply(replacement(names, table, rounds));
        this.#leftOver = 0;
        this.#frame = undefined;
        this.#writtenMesh = names.mesh;
      }
      this.#advance(isChanged ? known : undefined, table);
      this.#table = table;
      this.#held = new Set(table.ports.keys());
    } finally {
      this.#writing = false;
    }
  }

  async #tryChanges(text: string): Promise<boolean> {
    try {
      await this.#nft.apply(text);
      return true;
    } catch (error) {
      this.#log.warn({ error: messageOf(error) }, 'the ingress table was changed by others; it is written anew');
      return false;
    }
  }

  /** So that the next replacement of a rule rounds with another backend. */
  #advance(from: NodeTable | undefined, to: NodeTable): void {
    for (const key of this.#rounds.keys()) if (!to.ports.has(key)) this.#rounds.delete(key);
    for (const rule of to.ports.values()) {
      const old = from?.ports.get(rule.key);
      if (!old || !sameWays(old, rule)) this.#rounds.set(rule.key, this.#round(rule.key) + 1);
    }
  }

  #round(key: string): number {
    return this.#rounds.get(key) ?? spread(this.#options.nodeId + key);
  }

  /** Ports that are new here, or were another's, and have a listener: that program keeps them. */
  async #lookForOthers(wanted: ReadonlyMap<string, IngressEntry>): Promise<void> {
    const unsure = [...wanted.values()].filter(({ key }) => !this.#held.has(key));
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
    if (taken.size > 0) this.#later('taken', takenMs, () => this.#bell.ring());
  }

  /** Beside the upkeep, since it waits for those who may never answer. */
  #lookAtDeparted(ms: number): void {
    this.#timers.get('departed')?.cancel();
    if (this.#ended.signal.aborted) return;
    const look = async () => {
      await this.#look();
      this.#timers.delete('departed');
      if (this.#departed.size > 0) this.#lookAtDeparted(Math.min(ms * 2, sweepMs));
    };
    this.#timers.set(
      'departed',
      this.#clock.after(ms, () => void look(), { unref: true }),
    );
  }

  #look(): Promise<void> {
    const isDead = asksIfDead(this.#run, () => this.#mesh, this.#ended.signal);
    const look = this.#departed
      .look(this.#run, isDead)
      .catch((error) => this.#log.debug({ error: messageOf(error) }, 'no conntrack'));
    this.#looking = Promise.all([this.#looking, look]).then(() => undefined);
    return look;
  }

  /** What cannot be forgotten now is tried again by the sweep. */
  async #forgetUdp(ports: ReadonlySet<number>): Promise<void> {
    if (ports.size === 0) return;
    try {
      // What was listed may be of a table that is just being written; then it is looked at once more.
      for (let attempt = 0, isUnsure = true; attempt < 3 && isUnsure; attempt++) {
        isUnsure = false;
        const { own } = this.#local();
        await forgetStaleUdp(this.#run, ports, (asked) => {
          if (!this.#writing && this.#table) return this.#wantedUdp(asked, this.#table, own);
          isUnsure = true;
          return undefined;
        });
      }
      this.#unforgotten = undefined;
    } catch (error) {
      const why = messageOf(error);
      if (why !== this.#unforgotten)
        this.#log.warn({ error: why }, 'UDP clients may go on talking to backends that are gone; it is tried again');
      this.#unforgotten = why;
    }
  }

  #wantedUdp({ addr, port }: Target, table: NodeTable, own: ReadonlySet<string>): readonly Target[] | undefined {
    const { addresses, mesh } = this.#names;
    const family = familyOf(addr) ?? 4;
    if (mesh && (addr === mesh.v4 || addr === mesh.v6)) return doorTargets(table.doors[family].get(`udp . ${port}`));
    const isOurs = addresses.length > 0 ? addresses.includes(addr) : own.has(addr) || isLoopback(addr);
    const bound = table.ports.get(`udp/${port}@${addr}`);
    if (!bound && (!isOurs || this.#taken.has(`udp/${port}`))) return undefined;
    const rule = bound ?? table.ports.get(`udp/${port}`) ?? noTargets;
    const ends = endsOf(rule, family);
    // One family alone has targets: who asks by the other is somebody else's.
    return ends.length === 0 && endsOf(rule, family === 4 ? 6 : 4).length > 0 ? undefined : ends;
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

  /** The listing takes long, so changes go on meanwhile, and a listing that one came across is worth nothing. */
  async #compare(): Promise<void> {
    for (let attempt = 0; attempt < 3 && this.#isComparable; attempt++) {
      const table = this.#table;
      if (!table || this.#writing) return;
      const objects = await this.#nft.list(this.#names.table);
      if (this.#writing || this.#table !== table) continue;
      const reading = objects && read(objects);
      const found = drift(reading, table, this.#frame);
      if (found === undefined && reading) this.#frame = reading.frame;
      if (found !== undefined && !this.#ended.signal.aborted) this.#repair(found, objects !== undefined);
      else this.#drift = undefined;
      if (found === undefined && reading) await this.#clear(reading.leftOver);
      return;
    }
  }

  /** Nothing is written meanwhile: in a table that was made anew the handles are those of other rules. */
  async #clear(rules: readonly RuleId[]): Promise<void> {
    this.#leftOver = rules.length;
    if (rules.length === 0) return;
    const cleared = this.#nft.apply(deletions(this.#names.table, rules));
    this.#clearing = cleared.catch(() => {});
    await cleared;
    this.#leftOver = 0;
  }

  #repair(found: string, isPresent: boolean): void {
    if (isPresent && this.#drift === found && this.#frame === undefined) {
      // Found at once in what was just written: this nft says it in another way than we know.
      this.#isComparable = false;
      this.#log.warn({ found }, 'listings of the ingress table cannot be understood; it is not compared any more');
      return;
    }
    this.#drift = found;
    this.#log.warn({ found }, 'the ingress table was changed by others; it is written anew');
    this.#table = undefined;
    this.#bell.ring();
  }

  async #remove(): Promise<void> {
    await this.#nft.apply(removal(this.#names.table));
    await this.#host.dismiss();
    const others = (await this.#nft.tables()).filter(({ name }) => name.startsWith('swarmd_'));
    if (others.length === 0) await this.#host.restore(this.#names.routeLocalnet);
  }

  #later(name: string, ms: number, work: () => void | Promise<void>): void {
    this.#timers.get(name)?.cancel();
    if (this.#ended.signal.aborted) return;
    this.#timers.set(
      name,
      this.#clock.after(ms, () => this.#inBackground(async () => work()), { unref: true }),
    );
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

const hasNewlyGone = ({ mesh: was }: NodeTable, { mesh }: NodeTable): boolean =>
  [...(mesh?.gone ?? [])].some((nodeId) => !was?.gone?.has(nodeId));

const noTargets: Pick<PortRule, 'targets'> = { targets: { 4: [], 6: [] } };

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

const sameMesh = (a: MeshNames | undefined, b: MeshNames | undefined): boolean =>
  JSON.stringify(a) === JSON.stringify(b);

function doorTargets(door: string | undefined): Target[] {
  const [addr = '', port] = door?.split(' . ') ?? [];
  return door === undefined ? [] : [{ addr, port: Number(port) }];
}

const doorPort = (key: string): number => Number(key.split(' . ')[1]);

/** Ports of UDP flows that may have become wrong between two tables: published ones and doors. */
function changedUdp(from: NodeTable, to: NodeTable): Set<number> {
  const ports = new Set<number>();
  for (const key of new Set([...from.ports.keys(), ...to.ports.keys()])) {
    const [old, rule] = [from.ports.get(key), to.ports.get(key)];
    const any = old ?? rule;
    if (any?.protocol !== 'udp' || (old && rule && sameEnds(old, rule))) continue;
    ports.add(any.port);
  }
  for (const family of [4, 6] as const) {
    const [had, has] = [from.doors[family], to.doors[family]];
    for (const [key, value] of had) if (key.startsWith('udp') && has.get(key) !== value) ports.add(doorPort(key));
  }
  return ports;
}

/** All ports that UDP may be sent to us at. */
function udpPorts({ doors }: NodeTable, wanted: readonly IngressEntry[]): Set<number> {
  const keys = [...doors[4].keys(), ...doors[6].keys()].filter((key) => key.startsWith('udp'));
  const published = wanted.filter(({ protocol }) => protocol === 'udp').map(({ publishedPort }) => publishedPort);
  return new Set([...published, ...keys.map(doorPort)]);
}

/** Nodes start their rounds at different backends. */
const spread = (text: string): number =>
  [...text].reduce((hash, char) => (hash * 31 + char.charCodeAt(0)) >>> 0, 7) % 997;
