import type { TaskStatus } from '@swarmctl/shared/model';
import { expect, test } from 'vitest';
import { Outbox } from './outbox.ts';

const status = (Err: string): TaskStatus => ({ Timestamp: 'T', State: 'running', Err });

test('the latest of each task is sent once, and kept until it is acknowledged', () => {
  const outbox = new Outbox();
  outbox.put('a', status('1'));
  outbox.put('a', status('2'));
  outbox.put('b', status('1'));
  const first = outbox.take();
  expect(first?.updates.map(({ taskId, status: { Err } }) => taskId + Err)).toEqual(['a2', 'b1']);
  expect(outbox.take()).toBeUndefined();
  outbox.put('a', status('3'));
  outbox.acknowledge(first?.sequence ?? 0);
  expect(outbox.size).toBe(1);
  outbox.acknowledge(outbox.take()?.sequence ?? 0);
  expect(outbox.size).toBe(0);
});

test('a new session is sent again what the last did not acknowledge', () => {
  const outbox = new Outbox();
  outbox.put('a', status('1'));
  const lost = outbox.take();
  outbox.rewind();
  expect(outbox.take()?.updates).toHaveLength(1);
  outbox.acknowledge(lost?.sequence ?? 0);
  expect(outbox.size).toBe(1);
  outbox.forget('a');
  expect([outbox.size, outbox.take()]).toEqual([0, undefined]);
});
