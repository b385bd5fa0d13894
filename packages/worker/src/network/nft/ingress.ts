import { networkInterfaces } from 'node:os';
import { Bell, type Clock, ClusterError, delay, type Logger, messageOf, type Timer } from '@swarmctl/shared/kit';
import type { IngressEntry } from '@swarmctl/shared/wire';
import { answeredAddresses, isLoopback, localAddresses } from '../address.ts';
import { type RunCommand, runCommand } from '../command.ts';
import { conflict, type Listener, listeners } from '../listeners.ts';
import { emptyTable, type NodeTable, type PlanCache, planTable, sameTargets } from '../plan.ts';
import type { Ingress, IngressOptions } from '../types.ts';
import { forgetStaleUdp, type UdpPort } from './conntrack.ts';
import { drift, read } from './drift.ts';
import { LinuxHost, type NodeHost } from './host.ts';
import { changes, removal, replacement, type TableNames, tableName } from './rules.ts';
import { type Nft, NftTool } from './tool.ts';

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

/** Changes that come closer together go in one transaction. */
const gapMs = 20;
const sweepMs = 60_000;
/** How soon a port that another program has is tried again. */
const takenMs = 5_000;
/** Docker's firewall may come and go. */
const admitMs = 10_000;
const worstRetryMs = 5_000;

interface Waiter {
  readonly version: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

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
  readonly #names: TableNames;
  readonly #bell = new Bell();
  readonly #ended = new AbortController();
  readonly #timers = new Map<string, Timer>();
  readonly #rounds = new Map<string, number>();

  readonly #cache: PlanCache = new WeakMap();

  #wanted: ReadonlyMap<string, IngressEntry> = new Map();
  #version = 0;
  #applied = 0;
  /** What the kernel has; undefined: unknown, so that all of it is written. */
  #table: NodeTable | undefined;
  /** Ports that are ours, also while the table has to be written anew. */
  #held: ReadonlySet<string> = new Set();
  /** The listing of what never changes, as of the first sweep after a replacement. */
  #frame: string | undefined;
  #writing = false;
  /** The latest sweep's finding. */
  #drift: string | undefined;
  #isComparable = true;
  #taken: ReadonlyMap<string, string> = new Map();
  #planned: ReadonlyMap<string, string> = new Map();
  #failure: string | undefined;
  #waiters: Waiter[] = [];
  #admittedAt: number;
  #work: Promise<void> = Promise.resolve();
  #background: Promise<unknown> = Promise.resolve();
  #hasConntrack = true;

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
    const present = await parts.nft.tables();
    const routeLocalnet = (await earlierSetting(parts.nft, present)) ?? (await parts.host.routeLocalnet());
    const names = { table, addresses: answeredAddresses(options), routeLocalnet };
    if (!present.includes(table)) await parts.nft.apply(replacement(names, emptyTable, () => 0));
    await parts.host.prepare();
    await parts.host.admit();
    const ingress = new NftIngress(options, modules, names, parts);
    ingress.#work = ingress.#loop();
    ingress.#later('sweep', sweepMs, () => ingress.sweep());
    return ingress;
  }

  apply(entries: ReadonlyMap<string, IngressEntry>): Promise<void> {
    if (this.#ended.signal.aborted) return Promise.reject(closedError());
    this.#wanted = entries;
    const version = ++this.#version;
    return new Promise((resolve, reject) => {
      this.#waiters.push({ version, resolve, reject });
      this.#bell.ring();
    });
  }

  problems(): ReadonlyMap<string, string> {
    if (this.#failure === undefined) return this.#planned;
    const failure = this.#failure;
    return new Map([...this.#wanted.keys()].map((key) => [key, failure]));
  }

  async close(options: { readonly keep?: boolean } = {}): Promise<void> {
    if (this.#ended.signal.aborted) return this.#work;
    this.#ended.abort(closedError());
    this.#bell.ring();
    for (const timer of this.#timers.values()) timer.cancel();
    this.#work = this.#work.then(() => this.#background).then(() => (options.keep ? undefined : this.#remove()));
    await this.#work;
  }

  /** Compares the table with what it should be, and repairs it. Runs by itself each minute; never throws. */
  async sweep(): Promise<void> {
    try {
      await this.#host.admit();
      await this.#reflect(this.#table?.nearNets ?? []);
      await this.#forgetUdp([...this.#wanted.keys()]);
      await this.#compare();
    } catch (error) {
      this.#log.warn({ error: messageOf(error) }, 'the ingress table could not be checked');
    }
    this.#later('sweep', sweepMs, () => this.sweep());
  }

  async #loop(): Promise<void> {
    for (let failures = 0; ; ) {
      await this.#bell.wait();
      if (this.#ended.signal.aborted) break;
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
      const ms = this.#failure === undefined ? gapMs : Math.min(gapMs * 2 ** ++failures, worstRetryMs);
      await delay(this.#clock, ms, this.#ended.signal).catch(() => {});
    }
    for (const { reject } of this.#waiters.splice(0)) reject(closedError());
  }

  async #converge(): Promise<void> {
    const version = this.#version;
    if (version === 0) return;
    const wanted = this.#wanted;
    await this.#lookForOthers(wanted);
    const { nodeId } = this.#options;
    const local = localAddresses(this.#interfaces());
    const plan = planTable(wanted, { nodeId, local, taken: this.#taken, cache: this.#cache });
    const udp = this.#changedUdp(plan.table);
    await this.#write(plan.table);
    this.#reportProblems(plan.problems);
    this.#applied = Math.max(this.#applied, version);
    for (const waiter of this.#waiters) if (waiter.version <= version) waiter.resolve();
    this.#waiters = this.#waiters.filter((waiter) => waiter.version > version);
    this.#inBackground(async () => {
      await this.#forgetUdp(udp);
      await this.#admitNowAndThen();
      await this.#reflect(plan.table.nearNets);
    });
  }

  async #write(table: NodeTable): Promise<void> {
    const rounds = (key: string) => this.#round(key);
    const known = this.#table;
    const text = known && changes(this.#names.table, known, table, rounds);
    if (text === '') return;
    this.#writing = true;
    try {
      const isChanged = text !== undefined && (await this.#tryChanges(text));
      if (!isChanged) {
        await this.#nft.apply(replacement(this.#names, table, rounds));
        this.#frame = undefined;
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
    for (const { key, targets } of to.ports.values()) {
      const old = from?.ports.get(key);
      if (old && (old.targets === targets || sameTargets(old.targets, targets))) continue;
      this.#rounds.set(key, this.#round(key) + 1);
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
    for (const { key, protocol, publishedPort: port } of unsure) {
      const other = conflict({ protocol, port }, this.#names.addresses, among);
      if (other) taken.set(key, `another program listens on ${other.addr}:${port}/${protocol}; it keeps the port here`);
    }
    this.#taken = taken;
    if (taken.size > 0) this.#later('taken', takenMs, () => this.#bell.ring());
  }

  #reportProblems(problems: ReadonlyMap<string, string>): void {
    for (const [key, problem] of problems)
      if (this.#planned.get(key) !== problem)
        this.#log.warn({ port: key, problem }, 'published port has a problem here');
    for (const key of this.#planned.keys())
      if (!problems.has(key)) this.#log.info({ port: key }, 'published port is all right again');
    this.#planned = problems;
  }

  #changedUdp(to: NodeTable): string[] {
    const from = this.#table ?? emptyTable;
    const keys = new Set([...from.ports.keys(), ...to.ports.keys()]);
    return [...keys].filter((key) => {
      const [old, rule] = [from.ports.get(key), to.ports.get(key)];
      if ((old ?? rule)?.protocol !== 'udp') return false;
      return !old || !rule || !sameTargets(old.targets, rule.targets);
    });
  }

  async #forgetUdp(keys: readonly string[]): Promise<void> {
    const ports = keys.map((key) => this.#udpPort(key)).filter((port) => port !== undefined);
    if (ports.length === 0 || !this.#hasConntrack) return;
    const { own } = localAddresses(this.#interfaces());
    const { addresses } = this.#names;
    const isOurs = (addr: string) =>
      addresses.length > 0 ? addresses.includes(addr) : own.has(addr) || isLoopback(addr);
    this.#hasConntrack = await forgetStaleUdp(this.#run, ports, isOurs);
    if (!this.#hasConntrack)
      this.#log.warn('conntrack is not installed: UDP clients may go on talking to backends that are gone');
  }

  #udpPort(key: string): UdpPort | undefined {
    const [protocol, port] = key.split('/');
    if (protocol !== 'udp' || this.#taken.has(key)) return undefined;
    return { port: Number(port), targets: this.#table?.ports.get(key)?.targets ?? [] };
  }

  async #reflect(nets: readonly string[]): Promise<void> {
    if (nets.length === 0) return;
    const { subnets } = localAddresses(this.#interfaces());
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
      const found = drift(objects, table, this.#frame);
      if (found === undefined && objects) this.#frame = read(objects).frame;
      if (found !== undefined && !this.#ended.signal.aborted) this.#repair(found, objects !== undefined);
      else this.#drift = undefined;
      return;
    }
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
    const others = (await this.#nft.tables()).filter((name) => name.startsWith('swarmd_'));
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
async function earlierSetting(nft: Nft, tables: readonly string[]): Promise<string | undefined> {
  for (const table of tables.filter((name) => name.startsWith('swarmd_'))) {
    const [, value] = /^route_localnet was (\S+)$/.exec((await nft.comment(table).catch(() => undefined)) ?? '') ?? [];
    if (value !== undefined) return value;
  }
  return undefined;
}

/** Nodes start their rounds at different backends. */
const spread = (text: string): number =>
  [...text].reduce((hash, char) => (hash * 31 + char.charCodeAt(0)) >>> 0, 7) % 997;

const closedError = () => new ClusterError('unavailable', 'the ingress is closed');
