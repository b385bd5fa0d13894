import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type TestApi, testApi } from '../../../../../test/kit/api.ts';
import { type EventLine, followEvents } from '../../../../../test/kit/event-stream.ts';
import { aNetwork, aNode, aService, aTask, builtAt } from '../../../../../test/kit/index.ts';
import { Store } from '../../store/store.ts';
import { EventJournal } from './journal.ts';

let store: Store;
let api: TestApi;

beforeEach(async () => {
  store = new Store();
  api = await testApi({ store });
  await api.app.listen({ port: 0, host: '127.0.0.1' });
});
afterEach(() => api.app.close());

const follow = (query: string) => followEvents(api.app.server, query);

const shown = (lines: readonly EventLine[]) =>
  lines.map(({ Type, Action, Actor }) => {
    const { name, ...attributes } = Actor.Attributes;
    const changes = Object.entries(attributes).map(([key, value]) => ` ${key}=${value}`);
    return `${Type} ${Action} ${name}${changes.join('')}`;
  });
const filters = (value: object) => `filters=${encodeURIComponent(JSON.stringify(value))}`;
const past = `since=${builtAt / 1000 - 1}&until=${builtAt / 1000}`;
const web = () => aService({ id: 'service1', name: 'web' });
const make = () => api.apply([{ op: 'create', table: 'services', object: web() }]);

describe('what is told', () => {
  test('the life of a service, of nodes and of networks', async () => {
    make();
    const spec = { ...web().Spec, Mode: { Replicated: { Replicas: 3 } } };
    api.apply([{ op: 'update', table: 'services', id: 'service1', set: { Spec: spec } }]);
    const State = 'updating' as const;
    api.apply([{ op: 'update', table: 'services', id: 'service1', set: { UpdateStatus: { State, Message: 'x' } } }]);
    api.apply([{ op: 'create', table: 'networks', object: aNetwork({ id: 'network1', name: 'back' }) }]);
    api.apply([{ op: 'create', table: 'nodes', object: aNode({ id: 'node1', hostname: 'one' }) }]);
    const Spec = { Role: 'manager', Availability: 'drain', Labels: {} } as const;
    api.apply([{ op: 'update', table: 'nodes', id: 'node1', set: { Spec, Status: { State: 'down', Addr: '' } } }]);
    api.apply([{ op: 'remove', table: 'services', id: 'service1' }]);
    const events = await (await follow(`?${past}`)).rest();
    expect(shown(events)).toEqual([
      'service create web',
      'service update web replicas.old=1 replicas.new=3',
      'service update web updatestate.new=updating',
      'network create back',
      'node create one',
      'node update one availability.old=active availability.new=drain role.old=worker role.new=manager state.old=ready state.new=down',
      'service remove web',
    ]);
    expect(events[0]).toMatchObject({ scope: 'swarm', time: builtAt / 1000, 'swarmctl.revision': '1.0' });
  });

  test('nothing of what an agent says of its machine, and of the progress of an update', async () => {
    const node = aNode({ id: 'node1' });
    api.apply([{ op: 'create', table: 'nodes', object: node }]);
    if (!node.Description) throw new Error('it has none');
    api.apply([
      { op: 'update', table: 'nodes', id: 'node1', set: { Description: { ...node.Description, RuntimeReady: false } } },
    ]);
    make();
    const Update = { ID: 'u', SpecVersion: 'v', StartedAt: web().CreatedAt, Total: 1, Failed: {} };
    api.apply([{ op: 'update', table: 'services', id: 'service1', set: { Update } }]);
    expect(shown(await (await follow(`?${past}`)).rest())).toEqual(['node create node1', 'service create web']);
  });

  test('tasks to those who name them', async () => {
    make();
    const task = aTask({ id: 'task1', service: web(), slot: 2, node: 'node1', state: 'assigned' });
    api.apply([{ op: 'create', table: 'tasks', object: task }]);
    const Status = { ...task.Status, State: 'running' as const };
    api.apply([{ op: 'update', table: 'tasks', id: 'task1', set: { Status } }]);
    expect(shown(await (await follow(`?${past}`)).rest())).toEqual(['service create web']);
    expect(shown(await (await follow(`?${past}&${filters({ type: ['task'] })}`)).rest())).toEqual([
      'task create web.2.task1',
      'task update web.2.task1 state.old=assigned state.new=running',
    ]);
  });
});

describe('what is asked for', () => {
  beforeEach(() => {
    make();
    api.apply([{ op: 'create', table: 'services', object: aService({ id: 'other1', name: 'db' }) }]);
    api.apply([{ op: 'create', table: 'networks', object: aNetwork({ id: 'network1', name: 'web-net' }) }]);
    api.apply([{ op: 'remove', table: 'services', id: 'service1' }]);
  });

  test.each<[object, string[]]>([
    [{ type: ['network'] }, ['network create web-net']],
    [
      { type: { service: true, network: true }, event: { create: true } },
      ['service create web', 'service create db', 'network create web-net'],
    ],
    [{ service: ['web'] }, ['service create web', 'service remove web']],
    [{ service: ['service'] }, ['service create web', 'service remove web']],
    [{ network: ['web'] }, ['network create web-net']],
    [{ scope: ['local'] }, []],
    [{ scope: ['swarm'], event: ['remove'] }, ['service remove web']],
    [{ label: ['name=db'] }, ['service create db']],
    [{ label: ['com.example'] }, []],
  ])('%j', async (asked, expected) => {
    expect(shown(await (await follow(`?${past}&${filters(asked)}`)).rest())).toEqual(expected);
  });

  test.each([
    [filters({ bogus: ['x'] }), 400, /invalid filter 'bogus'/],
    ['since=3&until=2', 400, /`since` time \(3\) cannot be after `until` time \(2\)/],
    [
      'since=yesterday',
      400,
      /since must be a Unix time, RFC 3339, a duration .* or revision:INDEX.NUMBER, not 'yesterday'/,
    ],
    ['until=soon', 400, /until must be a Unix time, RFC 3339 or a duration/],
  ])('%s is refused', async (query, status, message) => {
    const answer = await api.call('GET', `/events?${query}`);
    expect(answer).toMatchObject({ status, json: { message: expect.stringMatching(message) } });
  });

  test('a past that is empty ends at once', async () => {
    const answer = await follow('?since=1&until=2');
    expect({ status: answer.answer.statusCode, lines: await answer.rest() }).toEqual({ status: 200, lines: [] });
  });
});

describe('followers', () => {
  test('hear what comes, and go on where they were', async () => {
    const first = await follow('');
    expect(first.answer.headers['content-type']).toBe('application/json');
    make();
    const [event] = await first.next(1);
    expect(shown(event ? [event] : [])).toEqual(['service create web']);
    first.stop();
    api.apply([{ op: 'remove', table: 'services', id: 'service1' }]);
    api.apply([{ op: 'create', table: 'services', object: aService({ id: 'later1', name: 'later' }) }]);
    const again = await follow(`?since=revision:${event?.['swarmctl.revision']}`);
    expect(shown(await again.next(2))).toEqual(['service remove web', 'service create later']);
    again.stop();
  });

  test('that come too late for their revision are told so', async () => {
    const { status, json } = await api.call('GET', '/events?since=revision:0.0');
    expect({ status, ...json }).toEqual({ status: 410, message: expect.stringMatching(/list what you follow/) });
  });
});

test('a follower hears all until its end, however far ahead that is, and then it is over', async () => {
  const days = (count: number) => count * 24 * 3_600_000;
  const begun = api.clock.now();
  const following = await follow(`?${filters({ type: ['service'] })}&until=${(begun + days(60)) / 1000}`);
  for (const at of [1, 29, 59]) {
    await api.clock.advance(begun + days(at) - api.clock.now());
    api.apply([{ op: 'create', table: 'services', object: aService({ id: `s${at}`, name: `web${at}` }) }]);
    expect(shown(await following.next(1))).toEqual([`service create web${at}`]);
  }
  await api.clock.advance(days(1));
  expect(await following.rest()).toEqual([]);
  expect(api.clock.untilNext()).toBeUndefined();
});

describe('the journal', () => {
  const service = (i: number) => aService({ id: `service${i}`, name: `web${i}` });
  const create = (i: number) =>
    store.apply(store.index + 1, { now: builtAt, changes: [{ op: 'create', table: 'services', object: service(i) }] });

  test('keeps the latest, and tells who is overtaken', () => {
    const journal = new EventJournal(store, api.clock, 16);
    const start = journal.log.end;
    for (let i = 0; i < 20; i++) create(i);
    expect(journal.log.read(start)).toBe('overtaken');
    expect(journal.behind({ index: 1, number: 0 })).toBeUndefined();
    const position = journal.behind({ index: store.index - 1, number: 0 }) ?? 0;
    expect(journal.log.read(position)).toMatchObject([{ Actor: { Attributes: { name: 'web19' } } }]);
  });

  test('ends with its manager', () => {
    const journal = new EventJournal(store, api.clock);
    let heard = false;
    journal.log.watch(() => {
      heard = true;
    });
    journal.close();
    expect(heard).toBe(true);
    expect(journal.log.read(journal.log.end)).toBe('closed');
  });

  test('forgets what a snapshot of the leader replaces', async () => {
    const journal = new EventJournal(store, api.clock);
    create(1);
    const position = journal.behind({ index: store.index - 1, number: 0 }) ?? journal.log.end - 1;
    const other = new Store();
    other.apply(9, { now: builtAt, changes: [{ op: 'create', table: 'services', object: service(2) }] });
    await store.restore(other.snapshot()());
    expect(journal.log.read(position)).toBe('overtaken');
    expect(journal.behind({ index: 1, number: 0 })).toBeUndefined();
  });
});
