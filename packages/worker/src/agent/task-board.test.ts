import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ManualClock, settle, silentLogger } from '@swarmctl/shared/kit';
import type { Task } from '@swarmctl/shared/model';
import type { LogOptions } from '@swarmctl/shared/wire';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { aService, aTask } from '../../../../test/kit/builders.ts';
import { FakeRuntime } from '../../../../test/kit/fake-runtime.ts';
import { LogHistory } from '../logs/log-history.ts';
import { TaskBoard } from './task-board.ts';

// Where the log of a task comes from in each part of its life.

const once: LogOptions = { follow: false, stdout: true, stderr: true };
const task = (words: Partial<Task> = {}): Task => ({
  ...aTask({ id: 't1', service: aService({ name: 'web' }), node: 'n1', state: 'assigned' }),
  ...words,
});

let folder: string;
let clock: ManualClock;
let runtime: FakeRuntime;
let history: LogHistory;
let board: TaskBoard;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'swarm-board-'));
  clock = new ManualClock();
  runtime = new FakeRuntime();
  history = new LogHistory({ folder: join(folder, 'logs'), totalBytes: 1e6 }, { clock, log: silentLogger });
  board = new TaskBoard(
    { parallelPrepares: 1, parallelStarts: 1 },
    {
      runtimes: new Map([['docker', runtime]]),
      ...{ clock, history, log: silentLogger },
      ...{ mayStart: () => true, mayStop: () => true },
      ...{ report: () => {}, gone: () => {}, changed: () => {}, troubled: () => {} },
    },
  );
  runtime.watch(({ taskId }) => board.look(taskId), new AbortController().signal);
});
afterEach(() => {
  board.end();
  rmSync(folder, { recursive: true, force: true });
});

function read(options: LogOptions = once) {
  const abort = new AbortController();
  const lines: string[] = [];
  const done = (async () => {
    for await (const { line } of board.logs('t1', options, abort.signal)) lines.push(Buffer.from(line).toString());
    return lines;
  })();
  return { lines, done, abort };
}

const until = (check: () => boolean | Promise<boolean>) =>
  expect
    .poll(
      async () => {
        await clock.advance(300);
        return check();
      },
      { interval: 1 },
    )
    .toBe(true);

test('one that has not started is waited for by who follows', async () => {
  board.begin({ task: task({ DesiredState: 'ready' }), status: task().Status }, true);
  await until(() => runtime.containers.has('t1'));
  runtime.lines.set('t1', ['hello']);
  const { lines, done, abort } = read({ ...once, follow: true });
  await clock.advance(1_000);
  expect(lines).toEqual([]);
  board.assign([task({ DesiredState: 'running' })]);
  await until(() => lines.length === 1);
  abort.abort();
  expect(await done).toEqual(['hello']);
});

test('of a container that others remove after its end, and of a task that is forgotten, what was kept', async () => {
  runtime.lines.set('t1', ['hello']);
  board.begin({ task: task({ DesiredState: 'running' }), status: task().Status }, true);
  await until(() => runtime.running().length === 1);
  runtime.exit('t1', 1);
  await until(() => history.has('t1'));
  runtime.lines.delete('t1');
  runtime.lose('t1');
  await settle();
  expect(await read().done).toEqual(['hello']);
  expect(await read({ ...once, follow: true }).done).toEqual(['hello']);
  board.forget(['t1']);
  await until(() => board.statuses.length === 0);
  expect(await read().done).toEqual(['hello']);
});

test('a container is removed once the end of its log is kept', async () => {
  runtime.lines.set('t1', ['hello']);
  board.begin({ task: task({ DesiredState: 'running' }), status: task().Status }, true);
  await until(() => runtime.running().length === 1);
  const remove = runtime.remove.bind(runtime);
  let keptBefore: boolean | undefined;
  runtime.remove = (taskId) => {
    keptBefore = existsSync(join(folder, 'logs', 't1.log'));
    return remove(taskId);
  };
  board.forget(['t1']);
  await until(() => !runtime.containers.has('t1'));
  expect(keptBefore).toBe(true);
});

test('a log that did not come in time is asked for once more before the container is removed', async () => {
  runtime.lines.set('t1', ['hello']);
  board.begin({ task: task({ DesiredState: 'running' }), status: task().Status }, true);
  await until(() => runtime.running().length === 1);
  const logs = runtime.logs.bind(runtime);
  let isStuck = true;
  runtime.logs = async function* (...wish) {
    if (isStuck) await new Promise<never>(() => {});
    yield* logs(...wish);
  };
  runtime.exit('t1', 0);
  await until(() => board.statuses[0]?.status.State === 'complete');
  await clock.advance(5_000);
  isStuck = false;
  board.forget(['t1']);
  await until(() => !runtime.containers.has('t1'));
  expect(existsSync(join(folder, 'logs', 't1.log'))).toBe(true);
});

test('a container that was there and of which nothing was kept is an error', async () => {
  board.begin({ task: task({ DesiredState: 'running' }), status: task().Status }, true);
  await until(() => runtime.running().length === 1 && board.statuses[0]?.status.State === 'running');
  runtime.lose('t1');
  await until(() => board.statuses[0]?.status.State === 'failed');
  await expect(read().done).rejects.toThrow('its container is gone, and its log with it');
});

test('one that was rejected has no lines, and is not waited for', async () => {
  const Status = { Timestamp: 'T', State: 'rejected' } as const;
  board.begin({ task: task({ Status }), status: Status });
  expect(await read({ ...once, follow: true }).done).toEqual([]);
});
