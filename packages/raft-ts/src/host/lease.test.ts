import { expect, test } from 'vitest';
import { Lease, leaseMs } from './lease.ts';

const timing = { tickMs: 50, heartbeatTicks: 2, electionTicks: 8 };
const length = leaseMs(timing);
const aLease = (restarted = false) => new Lease(timing, () => 0.5, restarted);

test('it is shorter than an election time-out, by a tick and the drift of clocks', () => {
  expect(length).toBeCloseTo(7 * 50 * 0.8);
});

test('it counts from when the round was asked, and ends by itself', () => {
  const lease = aLease();
  expect(lease.holds(1_000)).toBe(false);
  const round = lease.due(1_000)!;
  expect(lease.holds(1_001)).toBe(false);
  expect(lease.confirm(round)).toBe(true);
  expect(lease.holds(1_000 + length - 1)).toBe(true);
  expect(lease.holds(1_000 + length)).toBe(false);
});

test('one round at a time, and none in its first half; one that is not answered is asked anew', () => {
  const lease = aLease();
  const first = lease.due(0)!;
  expect(lease.due(10)).toBeUndefined();
  const second = lease.due(length)!;
  expect(second).toBeDefined();
  expect(lease.confirm(first)).toBe(true);
  expect(lease.holds(length)).toBe(false);
  lease.confirm(second);
  expect(lease.holds(length)).toBe(true);
  expect(lease.due(length + length / 2 - 1)).toBeUndefined();
  expect(lease.due(length + length / 2)).toBeDefined();
});

test('a change of the configuration ends it, and a round of before counts no more', () => {
  const lease = aLease();
  const before = lease.due(0)!;
  lease.end();
  lease.confirm(before);
  expect(lease.holds(1)).toBe(false);
  lease.confirm(lease.due(2)!);
  expect(lease.holds(3)).toBe(true);
});

test('after a transfer began there is none in this term', () => {
  const lease = aLease();
  lease.confirm(lease.due(0)!);
  lease.break();
  expect(lease.holds(1)).toBe(false);
  expect(lease.due(1_000)).toBeUndefined();
  lease.renew();
  expect(lease.due(1_000)).toBeDefined();
});

test('a restarted member votes only after the longest promise that it may have given', () => {
  expect(aLease().hasForgotten).toBe(false);
  const lease = aLease(true);
  for (let tick = 0; tick <= timing.electionTicks; tick++) {
    expect(lease.hasForgotten).toBe(true);
    lease.tick();
  }
  expect(lease.hasForgotten).toBe(false);
});

test('contexts of other requests are not its own', () => {
  expect(aLease().confirm(new Uint8Array(10))).toBe(false);
});
