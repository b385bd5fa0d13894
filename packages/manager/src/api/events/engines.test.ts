import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, get, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterError, ManualClock } from '@swarmctl/shared/kit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type TestApi, testApi } from '../../../../../test/kit/api.ts';
import { type EventLine, followEvents } from '../../../../../test/kit/event-stream.ts';
import { aCluster, aNetwork, aNode, aService, aStore } from '../../../../../test/kit/index.ts';
import type { ManagerAccess } from '../ports.ts';

// What engines tell, over sockets of the kernel's: engines that are not real, the API of the leader, and of one that follows it.

const cluster = aCluster();
const second = 1_000_000_000n;

let folder: string;
let clock: ManualClock;
const toClose: (() => unknown)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'swarm-events-'));
  clock = new ManualClock();
});
afterEach(async () => {
  for (const close of toClose.splice(0).reverse()) await close();
  rmSync(folder, { recursive: true });
});

const now = () => BigInt(clock.now()) * 1_000_000n;
const nanoIn = (text: string | null) => (text === null ? undefined : BigInt(text.replace('.', '')));

interface Saying {
  readonly Type?: string;
  readonly nano?: bigint;
  /** What else stands in the line. */
  readonly said?: object;
  readonly [attribute: string]: unknown;
}

class FakeEngine {
  readonly id: string;
  readonly path: string;
  readonly queries: URLSearchParams[] = [];
  readonly streams = new Set<ServerResponse>();
  readonly #server: Server;
  readonly #kept: { nano: bigint; line: string }[] = [];
  #heard: (() => void)[] = [];
  isAway = false;
  /** Past events that were asked for, and taken. */
  answered = 0;
  /** How far its clock is ahead, in ms. */
  aheadMs = 0;

  constructor(id: string) {
    this.id = id;
    this.path = join(folder, `${id}.sock`);
    this.#server = createServer((request, response) => {
      const url = new URL(request.url ?? '/', 'http://x');
      if (url.pathname.endsWith('/info')) {
        const SystemTime = new Date(clock.now() + this.aheadMs).toISOString();
        response.end(JSON.stringify({ ID: id, SystemTime }));
      } else this.#events(url.searchParams, response);
    });
    toClose.push(() => {
      this.#server.close();
      this.#server.closeAllConnections();
    });
  }

  #events(query: URLSearchParams, response: ServerResponse): void {
    this.queries.push(query);
    const [since = 0n, until] = [nanoIn(query.get('since')), nanoIn(query.get('until'))];
    response.writeHead(200).flushHeaders();
    for (const { nano, line } of this.#kept) {
      if (nano >= since && (until === undefined || nano <= until)) response.write(line);
    }
    if (until !== undefined) {
      response.socket?.once('close', () => {
        this.answered++;
        this.#wake();
      });
      return void response.end();
    }
    this.streams.add(response);
    const gone = () => {
      this.streams.delete(response);
      this.#wake();
    };
    response.once('close', gone);
    this.#wake();
  }

  #wake(): void {
    for (const heard of this.#heard.splice(0)) heard();
  }

  /** Resolves when so many follow it. */
  followed(count: number): Promise<void> {
    return this.until(() => this.streams.size === count);
  }

  async until(test: () => boolean): Promise<void> {
    while (!test()) await new Promise<void>((resolve) => this.#heard.push(resolve));
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(this.path, resolve));
  }

  open(): Promise<Socket> {
    if (this.isAway) throw new ClusterError('unavailable', 'the node is away');
    return new Promise((resolve, reject) => {
      const socket = connect(this.path, () => resolve(socket));
      socket.once('error', reject);
    });
  }

  say(Action: string, name: string, more: Saying = {}): void {
    const { Type = 'container', nano = now(), said = {}, ...attributes } = more;
    const Actor = { ID: `id-${name}`, Attributes: { name, ...attributes } };
    const all = { status: Action, Type, Action, Actor, scope: 'local', ...said };
    const line = `${JSON.stringify(all).slice(0, -1)},"time":${nano / second},"timeNano":${nano}}\n`;
    this.#kept.push({ nano, line });
    for (const stream of this.streams) stream.write(line);
  }

  cut(): void {
    for (const stream of this.streams) stream.destroy();
  }
}

async function world(engines: Readonly<Record<string, FakeEngine>>, manager: Partial<ManagerAccess> = {}) {
  await Promise.all([...new Set(Object.values(engines))].map((engine) => engine.listen()));
  const store = aStore({ cluster, nodes: Object.keys(engines).map((id) => aNode({ id, hostname: `host-${id}` })) });
  const openEngine = async (id: string) => {
    const engine = engines[id];
    if (!engine) throw new Error(`no node ${id}`);
    return engine.open();
  };
  const api = await testApi({ store, clock, manager: { openEngine, ...manager } });
  toClose.push(() => api.app.close());
  return { api, store, follow: await followerOf(api) };
}

const portOf = (api: TestApi) => (api.app.server.address() as AddressInfo).port;

async function followerOf(api: TestApi) {
  await api.app.listen({ port: 0, host: '127.0.0.1' });
  return (query?: string) => followEvents(api.app.server, query);
}

const shown = (lines: readonly EventLine[]) =>
  lines.map(({ Type, Action, Actor }) => {
    const node = Actor.Attributes['swarmctl.node'];
    return `${Type} ${Action} ${Actor.Attributes['name']}${node === undefined ? '' : ` @${node}`}`;
  });
const filters = (value: object) => `filters=${encodeURIComponent(JSON.stringify(value))}`;
const seconds = (ms: number) => ((clock.now() + ms) / 1000).toFixed(3);

describe('followers of all nodes', () => {
  test('hear of the cluster and of its engines, as these say it, with the node', async () => {
    const [a, b] = [new FakeEngine('A'), new FakeEngine('B')];
    const { api, follow } = await world({ n1: a, n2: b });
    const all = await follow();
    a.say('start', 'one', { image: 'bb:1', nano: now() + 123_456_789n });
    const [raw] = await all.next(1);
    expect(raw).toMatchObject({
      ...{ status: 'start', Type: 'container', scope: 'local' },
      Actor: { Attributes: { image: 'bb:1', 'swarmctl.node': 'host-n1', 'swarmctl.node.id': 'n1' } },
    });
    api.apply([{ op: 'create', table: 'services', object: aService({ id: 's1', name: 'web' }) }]);
    expect(shown(await all.next(1))).toEqual(['service create web']);
    b.say('exec_start: sh -c "timeNano":1}', 'two', { nano: now() + 7n });
    expect(await all.line()).toMatch(new RegExp(`"timeNano":${now() + 7n}}$`));
  });

  test('are told by a node of its engine alone, and nothing that would break them off', async () => {
    const a = new FakeEngine('A');
    const { follow } = await world({ n1: a });
    const all = await follow(`?${filters({ label: ['name'] })}`);
    const container = await follow(`?${filters({ container: ['web'] })}`);
    a.say('create', 'web', { Type: 'service' });
    a.say('start', 'web', { name: 7 });
    a.say('start', 'web', { nano: now() + 1n, said: { scope: 'swarm', 'swarmctl.revision': '9.9' } });
    const [told] = await all.next(1);
    expect(told).toMatchObject({ Type: 'container', scope: 'local', Actor: { Attributes: { name: 'web' } } });
    expect(told).not.toHaveProperty(['swarmctl.revision']);
    expect(shown(await container.next(1))).toEqual(['container start web @host-n1']);
  });

  test('are asked for nothing that no engine tells, and none is when nobody follows', async () => {
    const a = new FakeEngine('A');
    const { follow } = await world({ n1: a });
    const services = await follow(`?${filters({ type: ['service'] })}`);
    expect(a.queries).toEqual([]);
    const [first, other] = [await follow(), await follow(`?${filters({ container: ['one'] })}`)];
    await a.followed(1);
    expect(a.queries).toHaveLength(1);
    for (const one of [first, other, services]) one.stop();
    await a.followed(0);
  });

  test.each<[object, string[]]>([
    [{ type: ['container'] }, ['container start web.1 @host-n1', 'container exec_start: ls db @host-n2']],
    [{ type: { volume: true, image: true } }, ['volume mount data @host-n1', 'image pull bb:1 @host-n2']],
    [{ event: ['exec_start'] }, ['container exec_start: ls db @host-n2']],
    [{ container: ['web'] }, ['container start web.1 @host-n1']],
    [{ container: ['id-d'] }, ['container exec_start: ls db @host-n2']],
    [{ image: ['bb'] }, ['container start web.1 @host-n1', 'image pull bb:1 @host-n2']],
    [{ image: ['bb:1'], type: ['image'] }, ['image pull bb:1 @host-n2']],
    [{ volume: ['data'] }, ['volume mount data @host-n1']],
    [{ network: ['back'] }, ['network connect back @host-n2', 'network create back']],
    [{ network: ['back'], scope: ['local'] }, ['network connect back @host-n2']],
    [{ scope: ['swarm'] }, ['network create back']],
    [{ node: ['host-n1'] }, ['container start web.1 @host-n1', 'volume mount data @host-n1']],
    [{ node: ['n2'], type: ['image'] }, ['image pull bb:1 @host-n2']],
    [{ service: ['web'] }, ['container start web.1 @host-n1']],
    [{ label: ['zone=east'] }, ['container start web.1 @host-n1']],
    [{ label: ['zone=west'] }, []],
    [{ daemon: ['x'] }, []],
    [{ container: ['web'], node: ['n2'] }, []],
  ])('filtered by %j', async (asked, expected) => {
    const [a, b] = [new FakeEngine('A'), new FakeEngine('B')];
    const { follow, api } = await world({ n1: a, n2: b });
    const task = { 'com.docker.swarm.service.name': 'web', image: 'bb:1@sha256:0', zone: 'east' };
    a.say('start', 'web.1', { ...task, nano: now() - 5n * second });
    a.say('mount', 'data', { Type: 'volume', nano: now() - 4n * second });
    b.say('exec_start: ls', 'db', { nano: now() - 3n * second });
    b.say('pull', 'bb:1', { Type: 'image', nano: now() - 2n * second });
    b.say('connect', 'back', { Type: 'network', nano: now() - second });
    api.apply([{ op: 'create', table: 'networks', object: aNetwork({ id: 'net1', name: 'back' }) }]);
    const events = await (await follow(`?since=1&until=${seconds(0)}&${filters(asked)}`)).rest();
    expect(shown(events)).toEqual(expected);
  });
});

describe('what has been', () => {
  test('comes in the order of time, whoever saw it, and then what is', async () => {
    const [a, b] = [new FakeEngine('A'), new FakeEngine('B')];
    const { follow } = await world({ n1: a, n2: b });
    a.say('one', 'x', { nano: now() - 4n * second });
    b.say('two', 'x', { nano: now() - 3n * second });
    a.say('three', 'x', { nano: now() - 2n * second });
    expect(shown(await (await follow(`?since=${seconds(-3_500)}&until=${seconds(-2_500)}`)).rest())).toEqual([
      'container two x @host-n2',
    ]);
    const following = await follow(`?since=${seconds(-10_000)}`);
    b.say('four', 'x');
    const actions = (await following.next(4)).map(({ Action }) => Action);
    expect(actions).toEqual(['one', 'two', 'three', 'four']);
    await clock.advance(2_000);
    // Who comes later is told by the engine and by what is followed here: once.
    expect((await (await follow(`?since=1&until=${seconds(-1)}`)).rest()).map(({ Action }) => Action)).toEqual(actions);
  });

  test('is asked of each engine by its own clock', async () => {
    const a = new FakeEngine('A');
    const { follow } = await world({ n1: a });
    a.aheadMs = -3_000;
    await (await follow(`?since=1&until=${seconds(0)}`)).rest();
    // Its clock tells whole milliseconds, and what has just happened is not to be missed.
    expect(nanoIn(a.queries[0]?.get('until') ?? null)).toBe(now() - 3n * second + 1_000_000n);
  });

  test('ends with its until, also one that is still to come', async () => {
    const a = new FakeEngine('A');
    const { follow } = await world({ n1: a });
    const following = await follow(`?until=${seconds(5_000)}`);
    a.say('one', 'x');
    expect(await following.next(1)).toHaveLength(1);
    await clock.advance(5_000);
    expect(await following.rest()).toEqual([]);
    await a.followed(0);
  });

  test('is not waited for of a node that does not answer', async () => {
    const [a, b] = [new FakeEngine('A'), new FakeEngine('B')];
    const { follow } = await world({ n1: a, n2: b });
    let asked = () => {};
    const isAsked = new Promise<void>((resolve) => (asked = resolve));
    b.open = () => {
      asked();
      return new Promise(() => {});
    };
    a.say('one', 'x', { nano: now() - second });
    const opening = follow(`?since=1&until=${seconds(0)}`);
    await Promise.all([isAsked, a.until(() => a.answered === 1)]);
    // Time enough to read what is there.
    for (let i = 0; i < 20; i++) await clock.advance(100);
    expect(await (await opening).rest()).toHaveLength(1);
  });
});

test('who hangs up before the answer has begun is let go of', async () => {
  const [a, b] = [new FakeEngine('A'), new FakeEngine('B')];
  const { api } = await world({ n1: a, n2: b });
  b.open = () => new Promise(() => {});
  const request = get({ host: '127.0.0.1', port: portOf(api), path: '/events?since=1', agent: false });
  const hungUp = new Promise((resolve) => request.once('error', resolve));
  await a.followed(1);
  request.destroy();
  await hungUp;
  for (let i = 0; i < 50; i++) await clock.advance(100);
  await a.followed(0);
});

describe('nodes', () => {
  const down = (api: TestApi, id: string, State: 'down' | 'ready') =>
    api.apply([{ op: 'update', table: 'nodes', id, set: { Status: { State, Addr: '' } } }]);
  const containers = `?${filters({ type: ['container'] })}`;

  test('that come and go while one follows are taken up, with what was missed, and let go of', async () => {
    const [a, b] = [new FakeEngine('A'), new FakeEngine('B')];
    const { api, follow } = await world({ n1: a, n2: b });
    b.isAway = true;
    const following = await follow(containers);
    a.say('one', 'x');
    expect(shown(await following.next(1))).toEqual(['container one x @host-n1']);
    b.isAway = false;
    await clock.advance(1_000);
    await b.followed(1);
    b.say('two', 'x');
    expect(shown(await following.next(1))).toEqual(['container two x @host-n2']);
    down(api, 'n2', 'down');
    await clock.advance(1_000);
    await b.followed(0);
    b.say('three', 'x');
    a.say('four', 'x');
    expect(shown(await following.next(1))).toEqual(['container four x @host-n1']);
    down(api, 'n2', 'ready');
    await clock.advance(1_000);
    await b.followed(1);
    b.say('five', 'x');
    expect(shown(await following.next(2))).toEqual(['container three x @host-n2', 'container five x @host-n2']);
  });

  test('whose stream breaks are asked again, and say nothing twice', async () => {
    const a = new FakeEngine('A');
    const { follow } = await world({ n1: a });
    const following = await follow(containers);
    a.say('one', 'x');
    await following.next(1);
    a.cut();
    await a.followed(0);
    a.say('two', 'x');
    while (a.streams.size === 0) await clock.advance(1_000);
    a.say('three', 'x');
    expect((await following.next(2)).map(({ Action }) => Action)).toEqual(['two', 'three']);
  });

  test('have no say about nodes on other engines', async () => {
    const [a, b] = [new FakeEngine('A'), new FakeEngine('B')];
    const { follow } = await world({ n1: a, n2: b });
    const following = await follow(containers);
    a.say('start', 'one', { 'com.docker.swarm.node.id': 'n2', 'swarmctl.node': 'host-n2', 'swarmctl.node.id': 'n2' });
    const [told] = await following.next(1);
    expect(told?.Actor.Attributes).toMatchObject({ 'swarmctl.node': 'host-n1', 'swarmctl.node.id': 'n1' });
  });

  test('on one engine are heard once, and nothing of another cluster on it', async () => {
    const shared = new FakeEngine('A');
    const { follow } = await world({ n1: shared, n2: shared });
    const following = await follow(containers);
    shared.say('start', 'stranger', { 'swarmctl.cluster.id': 'another' });
    shared.say('start', 'task', { 'com.docker.swarm.node.id': 'n2', 'swarmctl.cluster.id': cluster.ID });
    shared.say('start', 'last');
    expect(shown(await following.next(2))).toEqual([
      'container start task @host-n2',
      expect.stringMatching('container start last'),
    ]);
    expect(shared.streams.size).toBe(1);
  });
});

test('who does not read is overtaken, and told so by the end', async () => {
  const a = new FakeEngine('A');
  const { follow } = await world({ n1: a });
  const slow = await follow();
  const quick = await follow();
  slow.answer.pause();
  for (let i = 0; i < 40; i++) {
    for (let j = 0; j < 500; j++)
      a.say('start', `c${i}`, { nano: now() + BigInt(i * 500 + j), much: 'x'.repeat(1_000) });
    await quick.next(500);
  }
  slow.answer.resume();
  expect((await slow.rest()).length).toBeLessThan(15_000);
}, 20_000);

describe('a manager that does not lead', () => {
  /** One that follows `leader`, which is known by the name that `leads` gives; 'n1' is itself. */
  async function beside(
    leader: Awaited<ReturnType<typeof world>>,
    engine: FakeEngine,
    leads: () => string | undefined,
  ) {
    const api = await testApi({
      ...{ store: leader.store, clock },
      manager: {
        isLeader: () => leads() === 'n1',
        leader: () => {
          const nodeId = leads();
          return nodeId === undefined ? undefined : { nodeId, addr: 'x:1' };
        },
        dialLeader: async () =>
          new Promise<Socket>((resolve) => {
            const socket = connect(portOf(leader.api), '127.0.0.1', () => resolve(socket));
          }),
        openEngine: async () => engine.open(),
      },
    });
    toClose.push(() => api.app.close());
    return followerOf(api);
  }

  test('tells what the leader tells, also of the next leader', async () => {
    const a = new FakeEngine('A');
    const leader = await world({ n1: a });
    let leads = 'm1';
    const follow = await beside(leader, a, () => leads);
    a.say('one', 'x', { nano: now() - second });
    const following = await follow(`?since=1&${filters({ type: ['container'] })}`);
    a.say('two', 'x');
    expect(shown(await following.next(2))).toEqual(['container one x @host-n1', 'container two x @host-n1']);
    leads = 'm2';
    await clock.advance(1_000);
    await clock.advance(1_000);
    a.say('three', 'x');
    expect(shown(await following.next(1))).toEqual(['container three x @host-n1']);
    leads = 'n1';
    await clock.advance(1_000);
    a.say('four', 'x');
    expect(shown(await following.next(1))).toEqual(['container four x @host-n1']);
  });

  test.each(['m2', 'n1', 'm1'])('goes on without a gap when nobody has led for a while, and then %s', async (next) => {
    const a = new FakeEngine('A');
    const leader = await world({ n1: a });
    let leads: string | undefined = 'm1';
    const follow = await beside(leader, a, () => leads);
    const following = await follow(`?${filters({ type: ['container'] })}`);
    await clock.advance(30_000);
    a.say('one', 'x');
    await following.next(1);
    leads = undefined;
    await clock.advance(1_000);
    await a.followed(0);
    a.say('two', 'x');
    await clock.advance(60_000);
    leads = next;
    await clock.advance(1_000);
    await a.followed(1);
    a.say('three', 'x');
    expect((await following.next(2)).map(({ Action }) => Action)).toEqual(['two', 'three']);
  });
});
