import { Agent, request as httpRequest } from 'node:http';
import type { Duplex } from 'node:stream';
import {
  type Clock,
  ClusterError,
  delay,
  type ErrorCode,
  ifLate,
  inTime,
  isClusterError,
  type Logger,
  messageOf,
} from '@swarmctl/shared/kit';
import { type Node, parseJson } from '@swarmctl/shared/model';
import { type ApiContext, clusterOf, leading } from '../context.ts';
import { findNode } from '../nodes.ts';
import type { ManagerAccess } from '../ports.ts';
import { textOf } from './over-stream.ts';

// The engines of the nodes, each asked once, also where several nodes share one. What a node that is away would have said is left out, and that is
// said; nobody waits long for it.

export interface Engine {
  /** Through which of its nodes it is asked: the first by id. */
  readonly node: Node;
  readonly nodes: readonly Node[];
  readonly info: EngineInfo;
}

export interface EngineInfo extends EngineCounts {
  readonly ID: string;
  readonly SystemTime?: string;
}

/** What an engine said of itself, and when. */
interface Said {
  readonly info: EngineInfo;
  /** By the monotonic clock, in ms. */
  readonly askedAt: number;
  readonly at: number;
}

export interface Away {
  readonly node: string;
  readonly reason: string;
  /** Its engine answered, with that. */
  readonly status?: number;
}

export interface EngineAnswer {
  readonly status: number;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the engine says
  readonly json: any;
}

export interface Each<T> {
  readonly values: readonly { readonly engine: Engine; readonly value: T }[];
  /** Those that did not do it, and why. */
  readonly failures: readonly Away[];
}

/** The engines at this moment. */
export interface Engines {
  readonly manager: ManagerAccess;
  readonly clusterId: string;
  readonly all: readonly Engine[];
  readonly away: readonly Away[];
}

export interface Asking {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Without an answer for so long it is given up. */
  readonly timeoutMs?: number;
}

/** For what an engine only has to look up. */
const lookMs = 10_000;
/** For what it has to work for, e.g. prunes. */
export const workMs = 10 * 60_000;
const infoMs = 5_000;
const freshMs = 5_000;
/** Which engine a node has hardly ever changes. */
const lateMs = 60_000;
/** Nodes come to a new leader within their grace; who asks has no more patience than this. */
const comingMs = 20_000;
const lookAgainMs = 100;
/** For what is nice to know. */
export const countMs = 1_000;

export const countNames = [
  'Containers',
  'ContainersRunning',
  'ContainersPaused',
  'ContainersStopped',
  'Images',
] as const;
export type EngineCounts = Readonly<Record<(typeof countNames)[number], number>>;

export function sumOfCounts(infos: readonly Partial<EngineCounts>[]): EngineCounts {
  const sums = countNames.map((name) => [name, infos.reduce((sum, info) => sum + (info[name] ?? 0), 0)]);
  return Object.fromEntries(sums) as EngineCounts;
}

export const hasEngine = (node: Node): boolean => node.Description?.Runtimes.includes('docker') === true;

export const hostnameOf = (node: Node): string => node.Description?.Hostname || node.ID;

export class EngineRoom {
  readonly #context: ApiContext;
  readonly #agents = new Map<string, Agent>();
  readonly #infos = new Map<string, Said>();
  readonly #asking = new Map<string, Promise<Said>>();

  constructor(context: ApiContext) {
    this.#context = context;
  }

  get clock(): Clock {
    return this.#context.clock;
  }

  get log(): Logger {
    return this.#context.log;
  }

  /** Those of all nodes, or of these (ids, names). Leader only. Rejects `not-found` for a node that there is not. */
  async engines(only?: ReadonlySet<string>): Promise<Engines> {
    const manager = await leading(this.#context);
    const view = manager.view();
    const asked = only?.size ? new Set([...only].map((reference) => findNode(view, reference).ID)) : undefined;
    const nodes = view.list('nodes').filter((node) => (!asked || asked.has(node.ID)) && hasEngine(node));
    const away: Away[] = [];
    const found = new Map<string, { nodes: Node[]; info: EngineInfo }>();
    await Promise.all(
      [...nodes]
        .sort((a, b) => (a.ID < b.ID ? -1 : 1))
        .map(async (node) => {
          try {
            if (node.Status.State !== 'ready') throw new Error(`the node is ${node.Status.State}`);
            await this.#come(manager, node);
            const info = await this.#info(node);
            const known = found.get(info.ID);
            if (known) known.nodes.push(node);
            else found.set(info.ID, { nodes: [node], info });
          } catch (error) {
            away.push({ node: hostnameOf(node), reason: messageOf(error) });
          }
        }),
    );
    const all = [...found.values()].map(({ nodes: sharing, info }) => {
      const sorted = sharing.sort((a, b) => (a.ID < b.ID ? -1 : 1));
      return { node: sorted[0] as Node, nodes: sorted, info };
    });
    all.sort((a, b) => (a.node.ID < b.node.ID ? -1 : 1));
    return { manager, clusterId: clusterOf(view).ID, all, away };
  }

  /** A new leader would take nodes for away that are on their way to it. */
  async #come(manager: ManagerAccess, { ID }: Node): Promise<void> {
    const { clock } = this.#context;
    const end = clock.monotonic() + comingMs;
    while (manager.isAwaited(ID) && clock.monotonic() < end) await delay(clock, lookAgainMs);
  }

  async #info(node: Node): Promise<EngineInfo> {
    return (await this.#known(node, freshMs)).info;
  }

  async #known(node: Node, ageMs: number): Promise<Said> {
    const known = this.#infos.get(node.ID);
    if (known && this.#context.clock.monotonic() - known.at < ageMs) return known;
    // Who comes meanwhile waits for the same answer.
    let asking = this.#asking.get(node.ID);
    if (!asking) {
      asking = this.#askInfo(node).finally(() => this.#asking.delete(node.ID));
      this.#asking.set(node.ID, asking);
    }
    return asking;
  }

  async #askInfo(node: Node): Promise<Said> {
    const askedAt = this.#context.clock.monotonic();
    const { status, text, json } = await this.ask(node, 'GET', '/info', { timeoutMs: infoMs });
    if (status !== 200) throw new Error(json?.message ?? text);
    const said = { info: json as EngineInfo, askedAt, at: this.#context.clock.monotonic() };
    this.#infos.set(node.ID, said);
    return said;
  }

  /** Nodes whose engine can be asked, by id. */
  nodes(): readonly Node[] {
    const nodes = this.#context.local.manager()?.view().list('nodes') ?? [];
    return nodes
      .filter((node) => node.Status.State === 'ready' && hasEngine(node))
      .sort((a, b) => (a.ID < b.ID ? -1 : 1));
  }

  /** What a node's engine said of itself within the last minute. */
  async lately(node: Node): Promise<EngineInfo> {
    return (await this.#known(node, lateMs)).info;
  }

  /** Both have said of late that their engine is the same. */
  shareEngine(one: string, other: string): boolean {
    const id = this.#infos.get(one)?.info.ID;
    return one === other || (id !== undefined && id === this.#infos.get(other)?.info.ID);
  }

  /** What a node's engine's clock shows at least, and at most, in ms since the epoch; what lies between is the time that it took to ask. */
  async now(node: Node): Promise<{ readonly least: number; readonly most: number }> {
    const { clock } = this.#context;
    const { info, askedAt, at } = await this.#known(node, lateMs);
    const then = Date.parse(info.SystemTime ?? '');
    if (Number.isNaN(then)) return { least: clock.now(), most: clock.now() };
    const now = clock.monotonic();
    // Less than a millisecond is cut off.
    return { least: then + now - at, most: then + now - askedAt + 1 };
  }

  /** What all engines have; one that does not say so at once is not counted. Leader only. */
  async counts(): Promise<EngineCounts> {
    const infos = new Map<string, EngineInfo>();
    const asked = this.nodes().map(async (node) => {
      const info = await this.#info(node);
      infos.set(info.ID, info);
    });
    const limit = { what: 'what some engines have', ms: countMs };
    await inTime(this.#context.clock, limit, () => Promise.allSettled(asked)).catch(ifLate(undefined));
    return sumOfCounts([...infos.values()]);
  }

  /** One answer as a whole. Rejects `unavailable` when there is none. */
  async ask(node: Node, method: string, path: string, asking: Asking = {}): Promise<EngineAnswer> {
    try {
      return await this.#ask(node, method, path, asking);
    } catch (error) {
      if (isClusterError(error)) throw error;
      throw new ClusterError('unavailable', `${hostnameOf(node)}: ${messageOf(error)}`, {}, error);
    }
  }

  #ask(node: Node, method: string, path: string, { body, headers, timeoutMs = lookMs }: Asking): Promise<EngineAnswer> {
    const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    return new Promise((resolve, reject) => {
      const outgoing = httpRequest({
        // A connection that was kept may just be closing: only what may be asked again goes over one.
        agent: method === 'GET' ? this.#agentOf(node.ID) : this.#newAgent(node.ID, false),
        method,
        path,
        headers: {
          ...headers,
          ...(bytes && { 'content-type': 'application/json' }),
          'content-length': String(bytes?.length ?? 0),
        },
      });
      const timer = this.#context.clock.after(timeoutMs, () => outgoing.destroy(new Error('no answer in time')));
      const fail = (error: Error) => {
        timer.cancel();
        if (outgoing.reusedSocket && (error as NodeJS.ErrnoException).code === 'ECONNRESET') {
          this.#ask(node, method, path, { timeoutMs }).then(resolve, reject);
        } else reject(error);
      };
      outgoing.once('error', fail);
      outgoing.once('response', (answer) => {
        textOf(answer)
          .then((text) => resolve({ status: answer.statusCode ?? 502, text, json: jsonOf(text) }), reject)
          .finally(() => timer.cancel());
      });
      outgoing.end(bytes);
    });
  }

  #agentOf(nodeId: string): Agent {
    let agent = this.#agents.get(nodeId);
    if (!agent) {
      agent = this.#newAgent(nodeId, true);
      this.#agents.set(nodeId, agent);
    }
    return agent;
  }

  #newAgent(nodeId: string, keepAlive: boolean): Agent {
    return new NodeAgent(() => this.dial(nodeId), keepAlive);
  }

  /** A stream of HTTP to a node's engine door. Leader only. */
  async dial(nodeId: string): Promise<Duplex> {
    const manager = this.#context.local.manager();
    if (!manager) throw new ClusterError('unavailable', 'this manager is stopping');
    return manager.openEngine(nodeId);
  }

  /** Asks all of them at once. An answer that is no success is a failure, except of the statuses in `also`. */
  async each(
    engines: readonly Engine[],
    method: string,
    path: string,
    asking: Asking & { readonly also?: readonly number[] } = {},
  ): Promise<Each<EngineAnswer>> {
    return this.eachBy(engines, ({ node }) => this.ask(node, method, path, asking), asking.also);
  }

  /** The same of whatever each is asked. */
  async eachBy(
    engines: readonly Engine[],
    ask: (engine: Engine) => Promise<EngineAnswer>,
    also?: readonly number[],
  ): Promise<Each<EngineAnswer>> {
    const values: { engine: Engine; value: EngineAnswer }[] = [];
    const failures: Away[] = [];
    const answers = engines.map(async (engine) => {
      try {
        const value = await ask(engine);
        if (value.status < 400 || also?.includes(value.status)) values.push({ engine, value });
        else {
          const reason = value.json?.message ?? value.text;
          failures.push({ node: hostnameOf(engine.node), reason, status: value.status });
        }
      } catch (error) {
        failures.push({ node: hostnameOf(engine.node), reason: messageOf(error) });
      }
    });
    await Promise.all(answers);
    values.sort((a, b) => (a.engine.node.ID < b.engine.node.ID ? -1 : 1));
    return { values, failures };
  }
}

/** Its connections come from the node. */
class NodeAgent extends Agent {
  readonly #open: () => Promise<Duplex>;

  constructor(open: () => Promise<Duplex>, keepAlive: boolean) {
    super({ keepAlive, maxFreeSockets: 4, timeout: 30_000 });
    this.#open = open;
  }

  override createConnection(_options: object, callback?: (error: Error | null, stream: Duplex) => void): undefined {
    this.#open().then(
      (stream) => callback?.(null, stream),
      (error) => callback?.(error, undefined as unknown as Duplex),
    );
  }
}

function jsonOf(text: string): unknown {
  try {
    return parseJson(Buffer.from(text));
  } catch {
    return undefined;
  }
}

/** `Warning` of an answer that lacks what nodes would have said; undefined when it lacks nothing. */
export const warningOf = (missing: readonly Away[]): string | undefined =>
  missing.length === 0
    ? undefined
    : `199 swarmd "${missing
        .map(({ node, reason }) => `${node}: ${reason}`)
        .join('; ')
        .replace(/["\\]|[^\x20-\x7e]/g, "'")}"`;

const refusalCode: Readonly<Record<number, ErrorCode>> = { 404: 'not-found', 409: 'conflict', 500: 'unknown' };

/**
 * The nodes that what is asked of all lacks. Throws when there is nothing but those: `unavailable`, or what the engines have against what is asked, as
 * they say it. Where no node has an engine nothing is lacking.
 */
export function missingOf(away: readonly Away[], { values, failures }: Each<unknown>): readonly Away[] {
  const missing = [...away, ...failures].sort((a, b) => (a.node < b.node ? -1 : 1));
  if (values.length > 0 || missing.length === 0) return missing;
  // Of its own an engine says no more than 500: with that, too, it refuses values that it does not understand.
  const refusal = failures.find(({ status }) => status !== undefined && status <= 500);
  if (refusal) throw new ClusterError(refusalCode[refusal.status ?? 500] ?? 'invalid-argument', refusal.reason);
  const why = missing.map(({ node, reason }) => `${node}: ${reason}`).join('; ');
  throw new ClusterError('unavailable', `no engine answers: ${why}`);
}

/** What several nodes said against it, as one error. */
export function asError(failures: readonly Away[], code: 'unknown' | 'conflict' = 'unknown'): ClusterError {
  return new ClusterError(code, failures.map(({ node, reason }) => `${node}: ${reason}`).join('; '));
}
