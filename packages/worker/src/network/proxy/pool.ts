import cluster, { type Worker } from 'node:cluster';
import { fileURLToPath } from 'node:url';
import { type Clock, ClusterError, type Logger, type Timer } from '@swarmctl/shared/kit';
import type { IngressEntry } from '@swarmctl/shared/wire';
import type { Listener } from '../listeners.ts';
import type { Ingress } from '../types.ts';
import { ProxyIngress, type ProxyIngressOptions, type ProxyModules } from './ingress.ts';
import type { PortCounters } from './port.ts';

// The proxy with processes of its own for traffic: faster on several cores, and the daemon's own work does not wait for what clients send.
// They share the listening sockets, and whoever is free takes a connection. Each goes round the backends by itself, so shares are alike but for
// a connection or so a process. What has to be counted exactly, or is no TCP, stays with the proxy in this process. None is started until there
// is something for it to do.

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
  #shared: ReadonlyMap<string, IngressEntry> = new Map();
  #version = 0;
  #waiters: { readonly version: number; readonly settle: (error?: unknown) => void }[] = [];
  #isStarted = false;
  #isClosed = false;

  constructor(options: ProxyPoolOptions, modules: ProxyModules) {
    this.#options = options;
    this.#log = modules.log;
    this.#clock = modules.clock;
    this.#own = new ProxyIngress(options, modules);
  }

  async apply(entries: ReadonlyMap<string, IngressEntry>): Promise<void> {
    if (this.#isClosed) throw closedError();
    const [own, shared] = [new Map<string, IngressEntry>(), new Map<string, IngressEntry>()];
    for (const [key, entry] of entries)
      (this.#options.processes > 0 && isShareable(entry) ? shared : own).set(key, entry);
    this.#shared = shared;
    if (!this.#isStarted && [...shared.values()].some(({ backends }) => backends.length > 0)) {
      this.#isStarted = true;
      cluster.schedulingPolicy = cluster.SCHED_NONE;
      for (let i = 0; i < this.#options.processes; i++) this.#start();
    }
    const version = ++this.#version;
    const done = new Promise<void>((resolve, reject) => {
      this.#waiters.push({ version, settle: (error) => (error ? reject(error) : resolve()) });
    });
    for (const member of this.#members) this.#send(member);
    this.#settle();
    await Promise.all([this.#own.apply(own), done]);
  }

  problems(): ReadonlyMap<string, string> {
    const members = [...this.#members];
    const isDown = this.#isStarted && members.length === 0;
    return new Map([
      ...this.#own.problems(),
      ...(isDown ? [...this.#shared.keys()].map((key) => [key, 'the processes of the proxy have ended'] as const) : []),
      ...members.flatMap(({ report }) => report.problems),
    ]);
  }

  /** Where it listens. */
  listening(): Listener[] {
    const failed = new Set([...this.#members].flatMap(({ report }) => report.failed));
    const shared = [...this.#shared.values()].filter(({ key, backends }) => backends.length > 0 && !failed.has(key));
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
    for (const { settle } of this.#waiters.splice(0)) settle(closedError());
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
        if (this.#version > 0) this.#send(member);
      } else if (message.type === 'applied') {
        member.applied = message.version;
        this.#settle();
      } else {
        if ([...this.#members][0] === member) this.#logProblems(member.report.problems, message.problems);
        member.report = message;
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
      this.#settle();
      const restart = this.#clock.after(restartMs, () => {
        this.#restarts.delete(restart);
        this.#start();
      });
      this.#restarts.add(restart);
    });
  }

  #logProblems(before: WorkerReport['problems'], now: WorkerReport['problems']): void {
    const known = new Map(before);
    for (const [port, problem] of now)
      if (known.get(port) !== problem) this.#log.warn({ port, problem }, 'published port has a problem here');
  }

  #send(member: Member): void {
    if (!member.isReady) return;
    const { told, worker } = member;
    const shared = this.#shared;
    member.told = shared;
    const entries = [...shared.values()].filter((entry) => told.get(entry.key) !== entry);
    const removed = [...told.keys()].filter((key) => !shared.has(key));
    worker.send({ type: 'apply', version: this.#version, entries, removed } satisfies ToWorker, () => {});
  }

  #settle(): void {
    const applied = Math.min(...[...this.#members].map((member) => member.applied));
    for (const waiter of this.#waiters) if (waiter.version <= applied) waiter.settle();
    this.#waiters = this.#waiters.filter((waiter) => waiter.version > applied);
  }
}

/** Nothing of it depends on what other processes have. */
const isShareable = ({ protocol, proxy = {} }: IngressEntry): boolean => {
  const { balance, mostConnections, mostPerClient, health } = proxy;
  return protocol === 'tcp' && !balance && !mostConnections && !mostPerClient && !health;
};

function sum(a: Readonly<PortCounters> | undefined, b: PortCounters): PortCounters {
  const total = { ...b };
  if (a) for (const name of Object.keys(total) as (keyof PortCounters)[]) total[name] += a[name];
  return total;
}

const closedError = () => new ClusterError('unavailable', 'the ingress is closed');
