import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ManualClock, silentLogger } from '@swarmctl/shared/kit';
import type { LogLine, LogOptions } from '@swarmctl/shared/wire';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LogHistory, type LogHistoryOptions } from './log-history.ts';

const hour = 3_600_000;
const all: LogOptions = { follow: false, stdout: true, stderr: true };
const line = (number: number, text: string, more: Partial<LogLine> = {}): LogLine => ({
  taskId: 't',
  stream: 'stdout',
  time: `2026-01-01T00:00:00.00000000${number}Z`,
  line: Buffer.from(text),
  ...more,
});

let folder: string;
let clock: ManualClock;
beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'swarm-history-')), 'logs');
  clock = new ManualClock(Date.now());
});
afterEach(() => rmSync(join(folder, '..'), { recursive: true, force: true }));

const open = (options: Partial<LogHistoryOptions> = {}) =>
  new LogHistory({ folder, totalBytes: 1e6, ...options }, { clock, log: silentLogger });

/** A runtime whose every task has these lines. */
const saying = (...lines: readonly LogLine[]) => ({
  async *logs(): AsyncGenerator<LogLine> {
    yield* lines;
  },
});
const ten = saying(...Array.from({ length: 10 }, (_, i) => line(i, `line ${i}`)));

async function read(history: LogHistory, taskId: string, options: Partial<LogOptions> = {}) {
  const lines: string[] = [];
  for await (const { line, stream, attrs } of history.read(
    taskId,
    { ...all, ...options },
    new AbortController().signal,
  )) {
    lines.push(`${stream === 'stderr' ? '!' : ''}${attrs ? `[${attrs}]` : ''}${Buffer.from(line)}`);
  }
  return lines;
}

test('lines are kept as they were, over the end of the daemon, for its user alone', async () => {
  const lines = [line(1, 'one  two '), line(2, ''), line(3, 'err', { stream: 'stderr', attrs: 'a=b,c=d' })];
  await open().keep('t', saying(...lines));
  const history = open();
  expect(await history.has('t')).toBe(true);
  expect(await history.has('other')).toBe(false);
  expect(await read(history, 't')).toEqual(['one  two ', '', '![a=b,c=d]err']);
  expect(await read(history, 't', { tail: 1 })).toEqual(['![a=b,c=d]err']);
  expect(await read(history, 't', { tail: 0 })).toEqual([]);
  expect(await read(history, 't', { stderr: false })).toEqual(['one  two ', '']);
  const second = `${Date.parse('2026-01-01T00:00:00Z') / 1000}.000000002`;
  expect(await read(history, 't', { since: second })).toEqual(['', '![a=b,c=d]err']);
  expect(await read(history, 't', { until: second })).toEqual(['one  two ', '']);
  expect(statSync(join(folder, 't.log')).mode & 0o777).toBe(0o600);
  expect(statSync(folder).mode & 0o777).toBe(0o700);
});

test('a log is copied once', async () => {
  const history = open();
  await Promise.all([history.keep('t', ten), history.keep('t', saying(line(1, 'another')))]);
  await history.keep('t', saying(line(1, 'another')));
  expect(await read(history, 't', { tail: 1 })).toEqual(['line 9']);
});

test('of a long log the last lines are kept', async () => {
  const history = open({ taskBytes: 120 });
  await history.keep('t', ten);
  expect(await read(history, 't')).toEqual(['line 7', 'line 8', 'line 9']);
});

test.each([
  ['a short log is read once', 100, 10, [500]],
  ['long lines are not read beyond what is kept', 2_000, 500, [500]],
  ['many short lines are', 2_000, 10, [500, 20_000]],
])('%s', async (_, count, length, tails) => {
  const asked: (number | undefined)[] = [];
  await open({ taskBytes: 100_000 }).keep('t', {
    async *logs(_id: string, { tail = count }: LogOptions) {
      asked.push(tail);
      for (let at = Math.max(0, count - tail); at < count; at++) yield line(at % 10, `${at} `.padEnd(length, 'x'));
    },
  });
  expect(asked).toEqual(tails);
  const lines = await read(open(), 't');
  expect(lines.at(-1)).toContain(`${count - 1} `);
  if (length === 10) expect(lines).toHaveLength(count);
});

test('room is made by what the cluster has forgotten, then by the oldest', async () => {
  const history = open({ totalBytes: 3 * 4_096 });
  for (const taskId of ['t1', 't2', 't3']) {
    await history.keep(taskId, ten);
    await clock.advance(1);
  }
  await history.forget('t2');
  await history.keep('t4', ten);
  expect(readdirSync(folder).sort()).toEqual(['t1.log', 't3.log', 't4.log']);
  await history.keep('t5', ten);
  expect(readdirSync(folder).sort()).toEqual(['t3.log', 't4.log', 't5.log']);
  expect(await history.has('t1')).toBe(false);
});

test('a day after the cluster has forgotten a task its log goes, also when the daemon was restarted meanwhile', async () => {
  const first = open();
  await first.keep('known', ten);
  await first.keep('forgotten', ten);
  await clock.advance(30 * hour);
  await first.forget('forgotten');
  await clock.advance(23 * hour);
  const second = open();
  const sweep = () => second.sweep((taskId) => taskId === 'known');
  await sweep();
  expect(readdirSync(folder).sort()).toEqual(['forgotten.log', 'known.log']);
  await clock.advance(2 * hour);
  await sweep();
  expect(readdirSync(folder)).toEqual(['known.log']);
  await second.clear();
  expect(existsSync(folder)).toBe(false);
});

test('what a killed daemon had begun goes, and is copied anew', async () => {
  await open().keep('t', ten);
  writeFileSync(join(folder, '.u.new'), 'half');
  const history = open();
  expect(await history.has('u')).toBe(false);
  expect(readdirSync(folder)).toEqual(['t.log']);
});

test('a runtime that does not answer holds nothing up for long, and is asked again', async () => {
  const history = open();
  const silent = { logs: () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) }) };
  const kept = history.keep('t', silent as never);
  await clock.advance(5_000);
  await kept;
  expect(await history.has('t')).toBe(false);
  await history.keep('t', ten);
  expect(await history.has('t')).toBe(true);
});

test('a log that cannot be read, or a disk that cannot be written, costs a line of the log alone', async () => {
  const warnings: unknown[] = [];
  const log = { ...silentLogger, warn: (fields: unknown) => void warnings.push(fields) };
  const history = new LogHistory({ folder, totalBytes: 1e6 }, { clock, log: log as never });
  await history.keep('t', {
    // biome-ignore lint/correctness/useYield: it fails before its first line
    async *logs(): AsyncGenerator<LogLine> {
      throw new Error('configured logging driver does not support reading');
    },
  });
  rmSync(folder, { recursive: true });
  writeFileSync(folder, '');
  await history.keep('u', ten);
  expect(warnings).toEqual([
    { task: 't', error: 'configured logging driver does not support reading' },
    { task: 'u', error: expect.stringContaining('ENOTDIR') },
  ]);
});

test('nothing is kept when no room is given', async () => {
  await open({ totalBytes: 0 }).keep('t', ten);
  expect(existsSync(folder)).toBe(false);
});
