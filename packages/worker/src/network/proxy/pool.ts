import cluster, { type Worker } from 'node:cluster';
import { fileURLToPath } from 'node:url';
import type { Clock, Logger, Timer } from '@swarmctl/shared/kit';
import type { IngressEntry } from '@swarmctl/shared/wire';
import type { Listener } from '../listeners.ts';
import { ingressClosed, logProblems } from '../problems.ts';
import type { Ingress } from '../types.ts';
import { Versions } from '../versions.ts';
import { ProxyIngress, type ProxyIngressOptions, type ProxyModules } from './ingress.ts';
import { isShareable } from './options.ts';
import type { PortCounters } from './port.ts';

// The proxy with processes of its own for traffic: faster on several cores, and the daemon's own work does not wait for what clients send.
// They share the listening sockets, and whoever is free takes a connection. Each goes round the backends by itself, so shares are alike but for
// a connection or so a process; a port that has to be counted exactly is one process's alone. What is no TCP stays with the proxy in this process.
// None is started until there is something for it to do.

export interface ProxyPoolOptions extends ProxyIngressOptions {
  /** 0: all is done in this one. */
  readonly processes: number;
  /** Node's options of the processes; absent: those of this one. */
  readonly execArgv?: readonly string[];
}

export type ToWorker =
  | { readonly type: 'options'; readonly options: ProxyIngressOptions }
  | {
      readonly type: 'apply';
      readonly version: number;
      /** New ones and others than before. */
      readonly entries: readonly IngressEntry[];
      /** Keys. */
      readonly removed: readonly string[];
    };

export type FromWorker =
  | { readonly type: 'ready' }
  | { readonly type: 'applied'; readonly version: number }
  | ({ readonly type: 'report' } & WorkerReport);

export interface WorkerReport {
  readonly problems: readonly (readonly [string, string])[];
  /** Ports that it does not listen on. */
  readonly failed: readonly string[];
  readonly connections: readonly (readonly [string, number])[];
  /** Of ports that somebody has come to. */
  readonly counters: readonly (readonly [string, PortCounters])[];
}

const program = fileURLToPath(new URL(`./worker${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url));
/** Short-lived objects of a connection are gone before a larger space for them is full. */
const nodeOptions = ['--max-semi-space-size=32'];

const restartMs = 1_000;

interface Member {
  readonly worker: Worker;
  isReady: boolean;
  /** What it was told of last, by key. */
  told: ReadonlyMap<string, IngressEntry>;
  applied: number;
  report: WorkerReport;
}

export class ProxyPool implements Ingress {
  readonly kind = 'proxy';
  readonly #options: ProxyPoolOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #own: ProxyIngress;
  readonly #members = new Set<Member>();
  readonly #restarts = new Set<Timer>();
  /** What its processes do. */
  #shared: ReadonlyMap<string, IngressEntry> = new Map();
  /** What they had before, until all have heard of what is new. */
  #leaving: readonly IngressEntry[] = [];
  /** Whose a port is that is not shared. */
  readonly #alone = new Map<string, Member>();
  #problems: ReadonlyMap<string, string> = new Map();
  readonly #versions = new Versions();
  #isStarted = false;
  #isClosed = false;

  constructor(options: ProxyPoolOptions, modules: ProxyModules) {
    this.#options = options;
    this.#log = modules.log;
    this.#clock = modules.clock;
    this.#own = new ProxyIngress(options, modules);
  }

  async apply(entries: ReadonlyMap<string, IngressEntry>): Promise<void> {
    if (this.#isClosed) throw ingressClosed();
    const [own, shared] = [new Map<string, IngressEntry>(), new Map<string, IngressEntry>()];
    for (const [key, entry] of entries)
      (this.#options.processes > 0 && entry.protocol === 'tcp' ? shared : own).set(key, entry);
    this.#leaving = [...this.#leaving, ...[...this.#shared.values()].filter(({ key }) => !shared.has(key))];
    this.#shared = shared;
    if (!this.#isStarted && [...shared.values()].some(({ backends }) => backends.length > 0)) {
      this.#isStarted = true;
      cluster.schedulingPolicy = cluster.SCHED_NONE;
      for (let i = 0; i < this.#options.processes; i++) this.#start();
    }
    const done = this.#versions.next();
    this.#sendAll();
    await Promise.all([this.#own.apply(own), done]);
  }

  problems(): ReadonlyMap<string, string> {
    return new Map([...this.#own.problems(), ...this.#problems]);
  }

  /** Where it listens. */
  listening(): Listener[] {
    const failed = new Set([...this.#members].flatMap(({ report }) => report.failed));
    const shared = [...this.#shared.values(), ...this.#leaving].filter(
      ({ key, backends }) => backends.length > 0 && !failed.has(key),
    );
    return [...this.#own.listening(), ...shared.flatMap((entry) => this.#own.places(entry))];
  }

  /** Of the processes. */
  get pids(): readonly number[] {
    return [...this.#members].flatMap(({ worker }) => worker.process.pid ?? []);
  }

  /** Open connections by task, as of a moment ago. */
  connections(): ReadonlyMap<string, number> {
    const total = new Map(this.#own.connections());
    for (const { report } of this.#members)
      for (const [taskId, count] of report.connections) total.set(taskId, (total.get(taskId) ?? 0) + count);
    return total;
  }

  /** As of a moment ago. */
  counters(): ReadonlyMap<string, Readonly<PortCounters>> {
    const total = new Map(this.#own.counters());
    for (const { report } of this.#members)
      for (const [key, counters] of report.counters) total.set(key, sum(total.get(key), counters));
    return total;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const restart of this.#restarts) restart.cancel();
    this.#versions.rejectAll(ingressClosed());
    const ended = [...this.#members].map(
      ({ worker }) => new Promise<void>((resolve) => worker.process.once('exit', () => resolve())),
    );
    for (const { worker } of this.#members) worker.process.kill('SIGKILL');
    await Promise.all([this.#own.close(), ...ended]);
  }

  #start(): void {
    const { execArgv = process.execArgv, processes, ...rest } = this.#options;
    const options: ProxyIngressOptions = { ...rest, share: processes };
    cluster.setupPrimary({ exec: program, args: [], execArgv: [...execArgv, ...nodeOptions], serialization: 'json' });
    const worker = cluster.fork();
    const member: Member = {
      ...{ worker, isReady: false, told: new Map(), applied: 0 },
      report: { problems: [], failed: [], connections: [], counters: [] },
    };
    this.#members.add(member);
    worker.on('error', () => {});
    worker.on('message', (message: FromWorker) => {
      if (message.type === 'ready') {
        worker.send({ type: 'options', options } satisfies ToWorker, () => {});
        member.isReady = true;
        this.#assign();
        this.#send(member);
      } else if (message.type === 'applied') {
        member.applied = message.version;
        this.#settle();
      } else {
        member.report = message;
        this.#judge();
      }
    });
    worker.process.once('exit', (code, signal) => {
      this.#members.delete(member);
      if (this.#isClosed) return;
      // Its connections are lost. The others have the sockets, and wait for nobody.
      this.#log.error(
        { pid: worker.process.pid, code, signal },
        'a process of the proxy has ended; another is started',
      );
      this.#sendAll();
      this.#judge();
      const restart = this.#clock.after(restartMs, () => {
        this.#restarts.delete(restart);
        this.#start();
      });
      this.#restarts.add(restart);
    });
  }

  /** What the processes complain of. */
  #judge(): void {
    const members = [...this.#members];
    const before = this.#problems;
    this.#problems =
      members.length > 0
        ? new Map(members.flatMap(({ report }) => report.problems).filter(([key]) => this.#shared.has(key)))
        : new Map([...this.#shared.keys()].map((key) => [key, 'the processes of the proxy have ended']));
    logProblems(this.#log, before, this.#problems);
  }

  #sendAll(): void {
    this.#assign();
    for (const member of this.#members) this.#send(member);
    this.#settle();
  }

  /** Ports that are not shared go to those who have the fewest, and stay with them. */
  #assign(): void {
    for (const [key, member] of this.#alone) {
      const entry = this.#shared.get(key);
      if (!entry || isShareable(entry) || !this.#members.has(member)) this.#alone.delete(key);
    }
    const counts = new Map([...this.#members].map((member) => [member, 0]));
    for (const member of this.#alone.values()) counts.set(member, (counts.get(member) ?? 0) + 1);
    for (const [key, entry] of this.#shared) {
      if (isShareable(entry) || this.#alone.has(key)) continue;
      const [least] = [...counts].sort(([, a], [, b]) => a - b);
      if (!least) return;
      this.#alone.set(key, least[0]);
      counts.set(least[0], least[1] + 1);
    }
  }

  #send(member: Member): void {
    if (!member.isReady || this.#versions.latest === 0) return;
    const { told, worker } = member;
    const isFor = ([key]: readonly [string, IngressEntry]) => (this.#alone.get(key) ?? member) === member;
    const wanted = new Map([...this.#shared].filter(isFor));
    member.told = wanted;
    const entries = [...wanted.values()].filter((entry) => told.get(entry.key) !== entry);
    const removed = [...told.keys()].filter((key) => !wanted.has(key));
    worker.send({ type: 'apply', version: this.#versions.latest, entries, removed } satisfies ToWorker, () => {});
  }

  #settle(): void {
    const applied = Math.min(...[...this.#members].map((member) => member.applied));
    if (applied >= this.#versions.latest) this.#leaving = [];
    this.#versions.settle(applied);
  }
}

function sum(a: Readonly<PortCounters> | undefined, b: PortCounters): PortCounters {
  const total = { ...b };
  if (a) for (const name of Object.keys(total) as (keyof PortCounters)[]) total[name] += a[name];
  return total;
}
