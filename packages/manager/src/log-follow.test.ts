import { get, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { encode, ManualClock, settle } from '@swarmctl/shared/kit';
import type { StoreChange } from '@swarmctl/shared/model';
import { engineFrames, type LogLine, logsChunkBytes, logsWindow, type ManagerMessage } from '@swarmctl/shared/wire';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type TestApi, testApi } from '../../../test/kit/api.ts';
import { aService, aStore, aTask, builtAt } from '../../../test/kit/builders.ts';
import { LogHub } from './dispatcher/log-hub.ts';
import type { Session } from './dispatcher/session.ts';
import type { Store } from './store/store.ts';
import type { View } from './store/types.ts';

// Logs that are followed while the leader changes: the APIs of three managers over connections of the kernel's, real hubs, and one node whose agent is
// not real.

const web = aService({ name: 'web' });
const names = ['m1', 'm2', 'm3'] as const;
type Name = (typeof names)[number];

/** What tasks said, and who is to be told of more. It sends no more at once than is taken. */
class Agent {
  readonly #lines: LogLine[] = [];
  #session:
    | { readonly hub: LogHub; readonly session: Session; readonly parts: Map<string, readonly string[]> }
    | undefined;

  #credit = logsWindow;
  #onCredit = () => {};

  /** Opens a session with this hub. */
  connect(hub: LogHub): Session {
    const parts = new Map<string, readonly string[]>();
    const send = (message: ManagerMessage) => {
      if (message.type === 'logs-ack') {
        this.#credit += message.count;
        this.#onCredit();
      }
      if (message.type === 'logs-unsubscribe') parts.delete(message.subscription);
      if (message.type !== 'logs-subscribe') return;
      const { subscription, taskIds, options } = message;
      const [seconds = '0', fraction = ''] = (options.since ?? '0').split('.');
      const since = `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${fraction.padEnd(9, '0')}Z`;
      const asked = this.#lines.filter(({ taskId, time }) => taskIds.includes(taskId) && time >= since);
      parts.set(subscription, taskIds);
      hub.lines(session, subscription, options.tail === undefined ? asked : asked.slice(-options.tail));
    };
    const session = { nodeId: 'n1', send } as unknown as Session;
    this.#session = { hub, session, parts };
    return session;
  }

  get session(): Session | undefined {
    return this.#session?.session;
  }

  /** Of what it was asked for there is no more. */
  end(): void {
    const { hub, session, parts } = this.#session ?? {};
    if (hub && session) for (const part of parts?.keys() ?? []) hub.end(session, part, undefined);
    parts?.clear();
  }

  get isAsked(): boolean {
    return (this.#session?.parts.size ?? 0) > 0;
  }

  away(): void {
    this.#session = undefined;
  }

  /** So many large pieces; resolves when nobody has taken any for a while, with how many have gone. */
  pour(taskId: string, count: number): Promise<number> {
    const text = 'x'.repeat(logsChunkBytes);
    let sent = 0;
    return new Promise((resolve) => {
      let stalled: NodeJS.Timeout | undefined;
      this.#onCredit = () => {
        for (; this.#credit > 0 && sent < count; sent++, this.#credit--) this.say(taskId, text);
        clearTimeout(stalled);
        stalled = setTimeout(() => resolve(sent), 300);
      };
      this.#onCredit();
    });
  }

  say(taskId: string, text: string): void {
    const time = `2026-01-01T00:00:00.${String(this.#lines.length).padStart(9, '0')}Z`;
    const line = { taskId, stream: 'stdout', time, line: Buffer.from(text) } as const;
    this.#lines.push(line);
    for (const [part, taskIds] of this.#session?.parts ?? []) {
      if (taskIds.includes(taskId)) this.#session?.hub.lines(this.#session.session, part, [line]);
    }
  }
}

let clock: ManualClock;
let store: Store;
let agent: Agent;
let leader: Name | undefined;
let hubs: Map<Name, LogHub>;
let apis: Map<Name, TestApi>;
let dialled: Socket[];
let unwatch: () => void;
let readIndex: () => Promise<void>;
/** What `m3` knows, while that is not all. */
let behind: View | undefined;
beforeEach(async () => {
  clock = new ManualClock();
  store = aStore({ services: [web], tasks: [aTask({ id: 't1', service: web, node: 'n1' })] });
  agent = new Agent();
  behind = undefined;
  readIndex = async () => {
    behind = undefined;
  };
  [hubs, apis, dialled] = [new Map(), new Map(), []];
  for (const name of names) {
    const api = await testApi({
      store,
      clock,
      manager: {
        isLeader: () => leader === name,
        readIndex: () => readIndex(),
        view: () => (name === 'm3' && behind ? behind : store.view()),
        leader: () => (leader ? { nodeId: leader, addr: '' } : undefined),
        dialLeader: async () => {
          if (leader === name) return 'here';
          if (!leader) throw new Error('nobody leads');
          const socket = connect(portOf(leader), '127.0.0.1');
          dialled.push(socket);
          return socket;
        },
        logs: (wish, signal) => hubOf(name).subscribe(wish, signal),
      },
    });
    await api.app.listen({ port: 0, host: '127.0.0.1' });
    apis.set(name, api);
  }
  lead('m1');
});
afterEach(async () => {
  for (const { app } of apis.values()) await app.close();
});

function apiOf(name: Name): TestApi {
  const api = apis.get(name);
  if (!api) throw new Error(`there is no ${name}`);
  return api;
}

const portOf = (name: Name) => (apiOf(name).app.server.address() as AddressInfo).port;

function connectionsOf(name: Name, count: number): Promise<void> {
  const counted = () => new Promise((resolve) => apiOf(name).app.server.getConnections((_, number) => resolve(number)));
  return expect.poll(counted, { timeout: 10_000 }).toBe(count);
}

function hubOf(name: Name): LogHub {
  const hub = hubs.get(name);
  if (!hub) throw new Error(`${name} does not lead`);
  return hub;
}

/** It leads from now on; the node has found it. */
function lead(name: Name): void {
  leader = name;
  let ids = 0;
  const hub: LogHub = new LogHub({
    isAwaited: () => false,
    view: () => store.view(),
    sessionOf: () => agent.session,
    sessions: () => (agent.session ? [agent.session] : []),
    newId: () => `${name}-${++ids}`,
    clock,
  });
  unwatch = store.watch((events, view) => hub.changed(events, view));
  hubs.set(name, hub);
  hub.opened(agent.connect(hub));
}

/** Nobody leads; the last leader knows it, or hangs. */
function depose({ hangs = false } = {}): void {
  const hub = leader && hubs.get(leader);
  leader = undefined;
  const { session } = agent;
  agent.away();
  unwatch();
  if (!hub || hangs) return;
  hub.close();
  if (session) hub.drop(session);
}

/** Time goes on before each look. */
const passing =
  <T>(look: () => T) =>
  async () => {
    await clock.advance(50);
    return look();
  };

/** Reads from when `held` resolves. */
async function follow(name: Name, query = 'follow=1', held?: Promise<void>, of = '/services/web') {
  const port = portOf(name);
  const path = `${of}/logs?stdout=1&stderr=1&${query}`;
  const answer = await new Promise<IncomingMessage>((resolve, reject) =>
    get({ host: '127.0.0.1', port, path, agent: false }, resolve).once('error', reject),
  );
  const lines: string[] = [];
  const ended = (async () => {
    await held;
    for await (const { bytes } of engineFrames(answer)) lines.push(String(bytes).trim());
  })();
  // Broken off by the client.
  ended.catch(() => {});
  const until = async (...expected: string[]) => {
    await expect
      .poll(
        passing(() => lines),
        { timeout: 20_000, interval: 1 },
      )
      .toEqual(expected);
  };
  return { until, lines, ended, stop: () => answer.destroy() };
}

const apply = (...changes: StoreChange[]) =>
  expect(store.apply(store.index + 1, { now: builtAt, changes }).ok).toBe(true);

test.each<[string, Name, { hangs: boolean }]>([
  ['by a manager that goes on following', 'm3', { hangs: false }],
  ['by the next leader', 'm2', { hangs: false }],
  ['by the last leader', 'm1', { hangs: false }],
  ['by a manager whose connection to the last leader hangs', 'm3', { hangs: true }],
])('served %s: no line is lost, none comes twice', async (_, server, how) => {
  agent.say('t1', 'a');
  const client = await follow(server);
  await client.until('a');
  agent.say('t1', 'b');
  await client.until('a', 'b');
  depose(how);
  agent.say('t1', 'c');
  await clock.advance(3_000);
  apply({ op: 'create', table: 'tasks', object: aTask({ id: 't2', service: web, slot: 2, node: 'n1' }) });
  agent.say('t2', '1');
  lead('m2');
  await client.until('a', 'b', 'c', '1');
  agent.say('t1', 'd');
  agent.say('t2', '2');
  await client.until('a', 'b', 'c', '1', 'd', '2');
  depose();
  lead('m1');
  agent.say('t1', 'e');
  await client.until('a', 'b', 'c', '1', 'd', '2', 'e');
  depose();
  for (const id of ['t1', 't2']) apply({ op: 'remove', table: 'tasks', id });
  apply({ op: 'remove', table: 'services', id: web.ID });
  lead('m3');
  let isEnded = false;
  void client.ended.then(() => {
    isEnded = true;
  });
  await expect
    .poll(
      passing(() => isEnded),
      { timeout: 20_000, interval: 1 },
    )
    .toBe(true);
  expect(clock.untilNext()).toBeUndefined();
});

test('the tail is of what there was when it was asked for', async () => {
  for (const text of ['a', 'b', 'c']) agent.say('t1', text);
  const client = await follow('m3', 'follow=1&tail=1');
  await client.until('c');
  depose();
  for (const text of ['d', 'e', 'f']) agent.say('t1', text);
  lead('m2');
  await client.until('c', 'd', 'e', 'f');
  client.stop();
});

test('what is not followed, and what the managers have forgotten, is the leader’s alone', async () => {
  agent.say('t1', 'a');
  agent.say('forgotten0123456789012345', 'b');
  for (const [of, text] of [
    ['/services/web', 'a'],
    ['/tasks/t1', 'a'],
    ['/tasks/forgotten0123456789012345', 'b'],
  ] as const) {
    const client = await follow('m3', of.includes('forgotten') ? 'follow=1' : '', undefined, of);
    await expect.poll(() => agent.isAsked).toBe(true);
    agent.end();
    await client.ended;
    expect(client.lines).toEqual([text]);
  }
  expect(dialled).toHaveLength(3);
});

test('a manager that is behind catches up before it passes a line on, whose reader asks it for the task', async () => {
  const client = await follow('m3', 'follow=1&details=1');
  const about = (taskId: string, text: string) =>
    `com.docker.swarm.node.id=n1,com.docker.swarm.service.id=${web.ID},com.docker.swarm.task.id=${taskId} ${text}`;
  agent.say('t1', 'a');
  await client.until(about('t1', 'a'));
  behind = aStore({ services: [web] }).view();
  apply({ op: 'create', table: 'tasks', object: aTask({ id: 't2', service: web, slot: 2, node: 'n1' }) });
  agent.say('t2', 'b');
  await client.until(about('t1', 'a'), about('t2', 'b'));
  client.stop();
});

test('who hangs up frees everything, on both managers, and between two leaders', async () => {
  for (const whenLed of [true, false]) {
    const clients = await Promise.all(Array.from({ length: 200 }, () => follow('m3')));
    agent.say('t1', 'a');
    for (const { until } of clients) await until(...Array(whenLed ? 1 : 2).fill('a'));
    if (!whenLed) depose();
    for (const { stop } of clients) stop();
    for (const name of names) await connectionsOf(name, 0);
    while (clock.untilNext() !== undefined) await clock.advance(1_000);
    expect(dialled.every(({ destroyed }) => destroyed)).toBe(true);
  }
});

test.each<[string, Name]>([
  ['the leader', 'm1'],
  ['another manager', 'm3'],
])('a slow reader at %s slows the node, and gets it all', async (_, name) => {
  let read = () => {};
  const held = new Promise<void>((resolve) => {
    read = resolve;
  });
  const client = await follow(name, 'follow=1', held);
  await expect.poll(passing(() => agent.isAsked)).toBe(true);
  const count = 1_000;
  expect(await agent.pour('t1', count)).toBeLessThan(count / 2);
  read();
  await expect.poll(() => client.lines.length, { timeout: 20_000 }).toBe(count);
  client.stop();
});

test('who hangs up before the answer has begun is let go of', async () => {
  let begin: (() => void) | undefined;
  readIndex = () =>
    new Promise<void>((resolve) => {
      begin = resolve;
    });
  const asked = get({ host: '127.0.0.1', port: portOf('m3'), path: '/services/web/logs?follow=1&stdout=1' });
  asked.on('error', () => {});
  await expect.poll(() => begin).toBeDefined();
  asked.destroy();
  await connectionsOf('m3', 0);
  begin?.();
  await settle();
  expect(agent.isAsked).toBe(false);
  expect(dialled).toEqual([]);
  expect(clock.untilNext()).toBeUndefined();
});

test('what managers ask each other is refused to whoever asks otherwise', async () => {
  const { call, app } = apiOf('m1');
  const begunAt = (begun: number) =>
    encode({ subject: { serviceId: 'web' }, options: {}, cursor: { begun, tasks: [] } });
  const wrong = [encode({ subject: null, options: {} }), begunAt(1.5), begunAt(Number.NaN)];
  for (const body of [undefined, '{}', 'x']) expect(await call('POST', '/logs', body)).toMatchObject({ status: 400 });
  for (const body of wrong) {
    const sent = {
      method: 'POST',
      url: '/logs',
      payload: Buffer.from(body),
      headers: { 'content-type': 'application/octet-stream' },
    } as const;
    expect(await app.inject(sent)).toMatchObject({ statusCode: 400 });
  }
});
