import {
  ClusterError,
  type Logger,
  ManualClock,
  newIdFrom,
  realClock,
  seededRandom,
  silentLogger,
} from '@swarmctl/shared/kit';
import type { StoreChange } from '@swarmctl/shared/model';
import type { FastifyInstance } from 'fastify';
import type { ApiContext } from '../../packages/manager/src/api/context.ts';
import { EventJournal } from '../../packages/manager/src/api/events/journal.ts';
import type { LocalAccess, ManagerAccess } from '../../packages/manager/src/api/ports.ts';
import { RegistryClient } from '../../packages/manager/src/api/registry/index.ts';
import { createApi } from '../../packages/manager/src/api/server.ts';
import { networkConflict, networkWarning } from '../../packages/manager/src/control/allocator/networks.ts';
import { portConflict } from '../../packages/manager/src/control/allocator/ports.ts';
import { nodesForHandMade } from '../../packages/manager/src/scheduler/index.ts';
import type { Store } from '../../packages/manager/src/store/store.ts';

// The API of a manager that leads alone, over a store of the test's own.

export interface TestApiOptions {
  readonly store: Store;
  readonly clock?: ManualClock;
  readonly log?: Logger;
  /** Absent: always. */
  readonly hasManager?: () => boolean;
  /** Other than what an active node does. */
  readonly local?: Partial<LocalAccess>;
  /** Other than what the leader does, or beside it. */
  readonly manager?: Partial<ManagerAccess>;
  /** Absent: a client of real ones. */
  readonly registries?: ApiContext['registries'];
  /** Before each proposal of the API's. */
  readonly meanwhile?: () => void;
}

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE' | 'OPTIONS';

export interface Answer {
  readonly status: number;
  /** The text itself where it is no JSON; undefined: nothing was said. */
  // biome-ignore lint/suspicious/noExplicitAny: whatever the API says
  readonly json: any;
  readonly text: string;
  readonly headers: Readonly<Record<string, unknown>>;
}

export interface TestApi {
  readonly app: FastifyInstance;
  readonly clock: ManualClock;
  /** Throws as a proposal rejects. */
  apply(changes: readonly StoreChange[]): { readonly index: number };
  /** A body that is no text is sent as JSON. */
  call(method: Method, url: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Answer>;
}

export async function testApi({ store, local, meanwhile, ...options }: TestApiOptions): Promise<TestApi> {
  const { clock = new ManualClock(), log = silentLogger, hasManager = () => true } = options;
  const apply = (changes: readonly StoreChange[]) => {
    const outcome = store.apply(store.index + 1, { now: clock.now(), changes });
    if (!outcome.ok) throw new ClusterError(outcome.code, outcome.message);
    return { index: store.index };
  };
  const journal = new EventJournal(store, clock);
  const manager: ManagerAccess = {
    isLeader: () => true,
    leader: () => undefined,
    view: () => store.view(),
    readIndex: async () => undefined,
    propose: async (changes) => {
      meanwhile?.();
      return apply(changes);
    },
    raftStatus: () => ({ leader: true, reachable: true }),
    portConflict,
    networkConflict,
    networkWarning,
    logs: async function* () {},
    events: () => journal,
    openEngine: async () => {
      throw new ClusterError('unavailable', 'the node is away');
    },
    isAwaited: () => false,
    nodesForHandMade,
    dialLeader: async () => {
      throw new Error('nobody leads');
    },
    ...options.manager,
  };
  const app = await createApi({
    local: {
      state: () => 'active',
      manager: () => (hasManager() ? manager : undefined),
      info: () => ({
        nodeId: 'n1',
        addr: '127.0.0.1',
        hostname: 'one',
        error: '',
        managers: [],
        runtime: 'docker',
        runtimeReady: true,
        engineVersion: '1',
        ingress: 'proxy',
        cpus: 2,
        memoryBytes: 1,
        architecture: 'x86_64',
        kernel: '6',
        operatingSystem: 'Linux',
        labels: [],
        dataDir: '/d',
      }),
      engineFacts: async () => undefined,
      init: async () => 'n1',
      join: async () => undefined,
      leave: async () => undefined,
      unlock: async () => undefined,
      ...local,
    },
    clock,
    newId: newIdFrom(seededRandom(1)),
    random: seededRandom(2),
    log,
    registries: options.registries ?? new RegistryClient({ insecure: [], userAgent: 'test' }, { clock: realClock }),
    version: '0.1.0',
  });
  return { app, clock, apply, call: (method, url, body, headers) => call(app, method, url, body, headers) };
}

async function call(
  app: FastifyInstance,
  method: Method,
  url: string,
  body?: unknown,
  given: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const payload = typeof body === 'string' ? body : JSON.stringify(body);
  const sent =
    body === undefined ? { headers: given } : { payload, headers: { 'content-type': 'application/json', ...given } };
  const { statusCode: status, body: text, headers } = await app.inject({ method, url, ...sent });
  return { status, json: parsed(text), text, headers };
}

function parsed(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
