import { ManualClock, settle } from '@swarmctl/shared/kit';
import type { TaskState, TaskStatus } from '@swarmctl/shared/model';
import { beforeEach, expect, test } from 'vitest';
import { StatusReporter } from './status-reporter.ts';

let clock: ManualClock;
let reporter: StatusReporter;
let isThere: boolean;
let opened: (() => void) | undefined;
let sent: string[];

beforeEach(() => {
  clock = new ManualClock();
  [isThere, opened, sent] = [true, undefined, []];
  reporter = new StatusReporter({
    clock,
    seen: (_, { Endpoints }) => (Endpoints ? new Promise((resolve) => (opened = resolve)) : undefined),
    maySend: () => isThere,
    send: ({ sequence, updates }) => {
      const text = updates.map(({ taskId, status }) => `${taskId} ${status.State}`).join(', ');
      sent.push(`${sequence}: ${text}`);
    },
  });
});
const status = (State: TaskState, more: Partial<TaskStatus> = {}): TaskStatus => ({ State, Timestamp: '', ...more });

test('steps on the way are gathered for longer, and go with what somebody waits for', async () => {
  reporter.report('t1', status('preparing'), true);
  reporter.report('t1', status('ready'), true);
  await clock.advance(49);
  expect(sent).toEqual([]);
  await clock.advance(1);
  expect(sent).toEqual(['1: t1 ready']);
  reporter.report('t1', status('starting'), true);
  reporter.report('t2', status('running'), false);
  await clock.advance(2);
  expect(sent.splice(1)).toEqual(['2: t1 starting, t2 running']);
});

test('a status waits until what it tells of can be reached, unless a later one comes', async () => {
  reporter.report('t1', status('running', { Endpoints: [] }), false);
  await clock.advance(100);
  expect(sent).toEqual([]);
  opened?.();
  await settle();
  await clock.advance(2);
  expect(sent).toEqual(['1: t1 running']);
  reporter.report('t2', status('running', { Endpoints: [] }), false);
  reporter.report('t2', status('failed'), false);
  opened?.();
  await settle();
  await clock.advance(100);
  expect(sent.splice(1)).toEqual(['2: t2 failed']);
});

test('what was not acknowledged goes to the next manager', async () => {
  isThere = false;
  reporter.report('t1', status('running'), false);
  reporter.report('t2', status('running'), false);
  await clock.advance(2);
  expect(sent).toEqual([]);
  isThere = true;
  reporter.sendAgain();
  expect(sent).toEqual(['1: t1 running, t2 running']);
  reporter.forget('t2');
  reporter.sendAgain();
  reporter.acknowledge(2);
  reporter.sendAgain();
  expect(sent.splice(1)).toEqual(['2: t1 running']);
});
