import { ManualClock, settle } from '@swarmctl/shared/kit';
import type { StoreChange } from '@swarmctl/shared/model';
import {
  type LogCursor,
  type LogOptions,
  type LogSubject,
  logsWindow,
  type ManagerMessage,
} from '@swarmctl/shared/wire';
import { describe, expect, test } from 'vitest';
import { aService, aStore, aTask, builtAt, type TaskWords } from '../../../../test/kit/builders.ts';
import { LogHub } from './log-hub.ts';
import type { Session } from './session.ts';

const web = aService({ name: 'web' });
const task = (id: string, words: TaskWords = {}) => aTask({ id, service: web, ...words });
const all = { stdout: true, stderr: true };

/** Lines are as late as their first letter. */
const timeOf = (text: string) => `2026-01-01T00:00:00.0000000${text.charCodeAt(0)}Z`;

/** A hub over a store; sessions only write down what they are to send. */
function world(tasks: Parameters<typeof aStore>[0] = {}) {
  const store = aStore({ services: [web], ...tasks });
  const sessions = new Map<string, { session: Session; sent: ManagerMessage[] }>();
  const clock = new ManualClock();
  /** Nodes that may be on their way to this leader. */
  const awaited = new Set<string>();
  let ids = 0;
  const hub = new LogHub({
    view: () => store.view(),
    sessionOf: (nodeId) => sessions.get(nodeId)?.session,
    sessions: () => [...sessions.values()].map(({ session }) => session),
    isAwaited: (nodeId) => awaited.has(nodeId),
    newId: () => `part${++ids}`,
    clock,
  });
  store.watch((events, view) => hub.changed(events, view));
  const connect = (nodeId: string) => {
    const sent: ManagerMessage[] = [];
    const session = { nodeId, send: (message: ManagerMessage) => sent.push(message) } as unknown as Session;
    sessions.set(nodeId, { session, sent });
    return { session, sent };
  };
  let index = 1;
  const apply = (...changes: StoreChange[]) => expect(store.apply(++index, { now: builtAt, changes }).ok).toBe(true);
  const read = (subject: LogSubject, options: LogOptions, cursor?: LogCursor) => {
    const abort = new AbortController();
    const entries: string[] = [];
    const taken: string[] = [];
    const done = (async () => {
      for await (const entry of hub.subscribe({ subject, options, cursor }, abort.signal)) {
        if ('taken' in entry) {
          taken.push(...entry.taken.map((id) => `${id}${entry.isNew ? ' new' : ''}`));
          continue;
        }
        if ('forgotten' in entry) {
          taken.push(`${entry.forgotten} forgotten`);
          continue;
        }
        entries.push('notice' in entry ? entry.notice : `${entry.taskId} ${Buffer.from(entry.line)}`);
      }
      return 'ended';
    })();
    return { entries, taken, done, abort };
  };
  const say = (session: Session, part: string, taskId: string, text: string) =>
    hub.lines(session, part, [{ taskId, stream: 'stdout', time: timeOf(text), line: Buffer.from(text) }]);
  return { hub, clock, store, awaited, connect, apply, read, say };
}

const asked = (sent: readonly ManagerMessage[]) =>
  sent.flatMap((message) =>
    message.type === 'logs-subscribe' ? [{ tasks: message.taskIds, tail: message.options.tail }] : [],
  );

test('who follows a service gets its later tasks once their nodes have them, from the first line, until it is removed', async () => {
  const { hub, connect, apply, read, say } = world({ tasks: [task('t1', { node: 'n1' })] });
  const one = connect('n1');
  const two = connect('n2');
  const { entries, taken, done } = read({ serviceId: web.ID }, { ...all, follow: true, tail: 1 });
  await settle();
  say(one.session, 'part1', 't1', 'a');
  hub.end(one.session, 'part1', undefined);
  apply({ op: 'create', table: 'tasks', object: task('t2', { node: 'n2', state: 'assigned' }) });
  expect(asked(two.sent)).toEqual([]);
  apply({ op: 'update', table: 'tasks', id: 't2', set: { Status: { Timestamp: 'T', State: 'preparing' } } });
  apply({ op: 'create', table: 'tasks', object: aTask({ id: 'other', node: 'n2' }) });
  expect(asked(one.sent)).toEqual([{ tasks: ['t1'], tail: 1 }]);
  expect(asked(two.sent)).toEqual([{ tasks: ['t2'], tail: undefined }]);
  say(two.session, 'part2', 't2', 'b');
  hub.end(two.session, 'part2', undefined);
  await settle();
  expect(entries).toEqual(['t1 a', 't2 b']);
  apply({ op: 'remove', table: 'tasks', id: 't1' });
  apply({ op: 'remove', table: 'services', id: web.ID });
  expect(await done).toBe('ended');
  expect(taken).toEqual(['t1', 't2 new', 't1 forgotten']);
});

test('without follow, later tasks are not asked for', async () => {
  const { hub, connect, apply, read } = world({ tasks: [task('t1', { node: 'n1' })] });
  const { session, sent } = connect('n1');
  const { done } = read({ serviceId: web.ID }, { ...all, follow: false });
  await settle();
  apply({ op: 'create', table: 'tasks', object: task('t2', { node: 'n1' }) });
  hub.end(session, 'part1', undefined);
  expect(await done).toBe('ended');
  expect(asked(sent)).toEqual([{ tasks: ['t1'], tail: undefined }]);
});

test('a node that is away gives one notice, and so does one that goes', async () => {
  const tasks = [
    task('t1', { node: 'away' }),
    task('t2', { node: 'away', slot: 2 }),
    task('t3', { node: 'n1', slot: 3 }),
  ];
  const { hub, connect, read } = world({ tasks });
  const { session } = connect('n1');
  const { entries, done } = read({ serviceId: web.ID }, { ...all, follow: false });
  await settle();
  hub.drop(session);
  expect(await done).toBe('ended');
  const warning = 'warning: incomplete log stream. some logs could not be retrieved for the following reasons: ';
  expect(entries).toEqual([`${warning}node away is not available`, `${warning}the connection to node n1 was lost`]);
});

describe('a node that a new leader awaits', () => {
  const tasks = [task('t1', { node: 'late' }), task('t2', { node: 'n1', slot: 2 })];

  test.each([true, false])('is asked when it comes, and no warning is given (follow: %s)', async (follow) => {
    const { hub, clock, awaited, connect, read, say } = world({ tasks });
    awaited.add('late');
    const { session: first } = connect('n1');
    const { entries, done, abort } = read({ serviceId: web.ID }, { ...all, follow, tail: 0 });
    await settle();
    hub.end(first, 'part1', undefined);
    await clock.advance(1_000);
    const { session, sent } = connect('late');
    hub.opened(session);
    awaited.delete('late');
    expect(sent).toMatchObject([{ type: 'logs-subscribe', taskIds: ['t1'], options: follow ? {} : { tail: 0 } }]);
    say(session, 'part2', 't1', 'a');
    hub.end(session, 'part2', undefined);
    await clock.advance(1_000);
    expect(entries).toEqual(['t1 a']);
    if (follow) abort.abort();
    expect(await done).toBe('ended');
  });

  test('is away when it does not', async () => {
    const { hub, clock, awaited, connect, read, say } = world({ tasks });
    awaited.add('late');
    const once = read({ taskId: 't1' }, { ...all, follow: false });
    const followed = read({ taskId: 't1' }, { ...all, follow: true });
    await settle();
    await clock.advance(1_000);
    expect([...once.entries, ...followed.entries]).toEqual([]);
    awaited.delete('late');
    await clock.advance(1_000);
    const warning = expect.stringContaining('node late is not available');
    expect(await once.done).toBe('ended');
    expect([once.entries, followed.entries]).toEqual([[warning], [warning]]);
    const { session } = connect('late');
    hub.opened(session);
    say(session, 'part1', 't1', 'a');
    await settle();
    expect(followed.entries).toEqual([warning, 't1 a']);
    followed.abort.abort();
  });

  test('is away when the leader leads no more', async () => {
    const { hub, clock, awaited, read } = world({ tasks });
    awaited.add('late');
    const { entries, done } = read({ taskId: 't1' }, { ...all, follow: false });
    await settle();
    hub.close();
    await clock.advance(1_000);
    expect(await done).toBe('ended');
    expect(entries).toEqual([expect.stringContaining('node late is not available')]);
  });
});

test('a task that is followed before any node has it, until it is removed', async () => {
  const { connect, apply, read } = world({ tasks: [task('t1')] });
  const { sent } = connect('n1');
  const { done } = read({ taskId: 't1' }, { ...all, follow: true });
  await settle();
  expect(sent).toEqual([]);
  apply({ op: 'remove', table: 'tasks', id: 't1' });
  expect(await done).toBe('ended');
});

test('a reader that leaves ends what its nodes send', async () => {
  const { connect, read } = world({ tasks: [task('t1', { node: 'n1' })] });
  const { sent } = connect('n1');
  const { done, abort } = read({ serviceId: web.ID }, { ...all, follow: true });
  await settle();
  abort.abort();
  expect(await done).toBe('ended');
  expect(sent.at(-1)).toEqual({ type: 'logs-unsubscribe', subscription: 'part1' });
});

test('chunks are asked for as they are taken, and more than was asked for is an error', async () => {
  const { connect, read, say } = world({ tasks: [task('t1', { node: 'n1' })] });
  const { session, sent } = connect('n1');
  const { done, abort } = read({ serviceId: web.ID }, { ...all, follow: true });
  await settle();
  say(session, 'part1', 't1', 'a');
  await settle();
  expect(sent.at(-1)).toEqual({ type: 'logs-ack', subscription: 'part1', count: 1 });
  const flood = () => {
    for (let count = 0; count <= 2 * logsWindow + 1; count++) say(session, 'part1', 't1', 'b');
  };
  expect(flood).toThrow('more log lines were sent than were asked for');
  expect(() => say(session, 'part1', 't2', 'forged')).toThrow('log lines of another task were sent');
  abort.abort();
  await done;
});

test('a manager that leads no more says so to its followers, who ask the next leader, and warns all others', async () => {
  const { hub, connect, read, say } = world({ tasks: [task('t1', { node: 'n1' })] });
  const { session } = connect('n1');
  const followed = read({ serviceId: web.ID }, { ...all, follow: true });
  const once = read({ serviceId: web.ID }, { ...all, follow: false });
  await settle();
  say(session, 'part1', 't1', 'a');
  hub.close();
  hub.drop(session);
  await expect(followed.done).rejects.toThrow('it leads no more');
  expect(followed.entries).toEqual(['t1 a']);
  expect(await once.done).toBe('ended');
  expect(once.entries).toEqual([expect.stringContaining('the connection to node n1 was lost')]);
});

test('the next leader goes on from where the last one was', async () => {
  const { hub, clock, connect, apply, read, say } = world({
    tasks: [
      task('t1', { node: 'n1' }),
      task('t2', { node: 'n1', slot: 2 }),
      task('t3', { node: 'n1', slot: 3 }),
      task('t4', { node: 'n1', slot: 4 }),
      task('t5', { node: 'n2', slot: 5 }),
      task('t6', { node: 'n3', slot: 6 }),
      task('t7', { node: 'n4', slot: 7 }),
    ],
  });
  const { session, sent } = connect('n1');
  const known = (taskId: string, isNew: boolean, ...places: string[]) => ({
    ...{ taskId, isNew },
    places: places.map((text) => ({ stream: 'stdout' as const, time: timeOf(text), count: 1 })),
  });
  const cursor = {
    begun: clock.now(),
    tasks: [
      known('t1', false, 'b'),
      known('t2', true),
      known('t3', false),
      known('t5', false, 'a'),
      known('t6', false),
      known('gone', false, 'a'),
    ],
  };
  const options = { ...all, follow: true, tail: 5 };
  const { entries, taken, done, abort } = read({ serviceId: web.ID }, options, cursor);
  await settle();
  const { tail: _, ...whole } = options;
  expect(sent.map((message) => message.type === 'logs-subscribe' && [message.taskIds, message.options])).toEqual([
    [['t1'], { ...whole, since: '1767225599.000000098' }],
    [['t2'], whole],
    [['t3'], options],
    [['t4'], whole],
  ]);
  expect(taken).toEqual(['t4 new', 't7 new']);
  for (const text of ['a', 'b', 'c']) say(session, 'part1', 't1', text);
  say(session, 'part2', 't2', 'a');
  const late = connect('n2');
  hub.opened(late.session);
  for (const text of ['a', 'b']) say(late.session, 'part5', 't5', text);
  await settle();
  expect(entries).toEqual(['t1 c', 't2 a', 't5 b']);
  // Nodes come one after the other; of those that do not come that is said once.
  await clock.advance(10_000);
  expect(entries.slice(3)).toEqual([
    expect.stringContaining('node n3 is not available'),
    expect.stringContaining('node n4 is not available'),
  ]);
  apply({ op: 'remove', table: 'services', id: web.ID });
  abort.abort();
  await done;
  expect(clock.untilNext()).toBeUndefined();
});

test('a task that came later and said nothing yet is asked for from its first line when its node is back', async () => {
  const { hub, connect, apply, read } = world({ tasks: [task('t1', { node: 'n1' })] });
  const { session } = connect('n1');
  const { taken, abort, done } = read({ serviceId: web.ID }, { ...all, follow: true, tail: 1 });
  await settle();
  apply({ op: 'create', table: 'tasks', object: task('t2', { node: 'n1', slot: 2 }) });
  hub.drop(session);
  const again = connect('n1');
  hub.opened(again.session);
  await settle();
  expect(asked(again.sent)).toEqual([
    { tasks: ['t1'], tail: 1 },
    { tasks: ['t2'], tail: undefined },
  ]);
  expect(taken).toEqual(['t1', 't2 new']);
  abort.abort();
  await done;
});

test('who follows goes on where it broke off when a node is back: no line is lost, none comes twice', async () => {
  const { hub, connect, read, say } = world({
    tasks: [task('t1', { node: 'n1' }), task('t2', { node: 'n1', slot: 2 }), task('t3', { node: 'n2', slot: 3 })],
  });
  const { session } = connect('n1');
  const { entries, done, abort } = read({ serviceId: web.ID }, { ...all, follow: true, tail: 5 });
  await settle();
  say(session, 'part1', 't1', 'a');
  say(session, 'part1', 't1', 'b');
  hub.drop(session);
  const again = connect('n1');
  hub.opened(again.session);
  expect(again.sent.map((message) => message.type === 'logs-subscribe' && [message.taskIds, message.options])).toEqual([
    [['t1'], { ...all, follow: true, since: '1767225599.000000098' }],
    [['t2'], { ...all, follow: true, tail: 5 }],
  ]);
  for (const text of ['a', 'b', 'c']) say(again.session, 'part2', 't1', text);
  say(again.session, 'part3', 't2', 'a');
  const late = connect('n2');
  hub.opened(late.session);
  say(late.session, 'part4', 't3', 'a');
  await settle();
  expect(entries.filter((entry) => !entry.startsWith('warning'))).toEqual(['t1 a', 't1 b', 't1 c', 't2 a', 't3 a']);
  expect(entries.filter((entry) => entry.startsWith('warning'))).toHaveLength(2);
  abort.abort();
  await done;
});

test('a node that is away is waited for by followers alone, as long as its task is known', async () => {
  const { hub, connect, apply, read } = world({ tasks: [task('t1', { node: 'n1' })] });
  const once = read({ taskId: 't1' }, { ...all, follow: false });
  const followed = read({ taskId: 't1' }, { ...all, follow: true });
  expect(await once.done).toBe('ended');
  await settle();
  apply({ op: 'remove', table: 'tasks', id: 't1' });
  expect(await followed.done).toBe('ended');
  const { session, sent } = connect('n1');
  hub.opened(session);
  expect(sent).toEqual([]);
});

test('who follows until some time ends then, whoever is away', async () => {
  const { clock, read } = world({ tasks: [task('t1', { node: 'n1' })] });
  const until = `${(clock.now() + 10_000) / 1000}`;
  const { done } = read({ serviceId: web.ID }, { ...all, follow: true, until });
  await clock.advance(12_000);
  expect(await done).toBe('ended');
});

test('so does who goes on at another leader', async () => {
  const { clock, read } = world({ tasks: [task('t1', { node: 'n1' })] });
  const cursor = { begun: clock.now() - 60_000, tasks: [] };
  const { done } = read(
    { serviceId: web.ID },
    { ...all, follow: true, until: `${(clock.now() + 10_000) / 1000}` },
    cursor,
  );
  await clock.advance(12_000);
  expect(await done).toBe('ended');
});

test('a node that opens its next session before the last has ended is asked there', async () => {
  const { hub, connect, read, say } = world({ tasks: [task('t1', { node: 'n1' })] });
  const { session } = connect('n1');
  const { entries, done, abort } = read({ taskId: 't1' }, { ...all, follow: true });
  await settle();
  const next = connect('n1');
  hub.opened(next.session);
  hub.drop(session);
  say(next.session, 'part2', 't1', 'a');
  await settle();
  expect(entries.at(-1)).toBe('t1 a');
  abort.abort();
  await done;
});

test('a task that the managers have forgotten is asked for everywhere', async () => {
  const { hub, connect, read, say } = world();
  const [one, two] = [connect('n1'), connect('n2')];
  const { entries, done } = read({ forgottenTaskId: 't1' }, { ...all, follow: false });
  await settle();
  expect([asked(one.sent), asked(two.sent)]).toEqual(Array(2).fill([{ tasks: ['t1'], tail: undefined }]));
  hub.end(one.session, 'part1', undefined);
  say(two.session, 'part2', 't1', 'a');
  hub.end(two.session, 'part2', undefined);
  expect(await done).toBe('ended');
  expect(entries).toEqual(['t1 a']);
});
