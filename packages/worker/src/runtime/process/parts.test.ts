import { describe, expect, it } from 'vitest';
import { parseLine } from '../../logs/line-file.ts';
import { limitFiles } from './cgroups.ts';
import { parseStat } from './proc.ts';
import { healthOf } from './process-config.ts';
import { resolveUser } from './users.ts';

const accounts = {
  passwd: 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n',
  group: 'root:x:0:\nstaff:x:50:app\n',
};

describe('users', () => {
  it.each<[string | undefined, number, boolean, object]>([
    ['app', 0, false, { name: 'app', uid: 1000, gid: 1001, home: '/home/app' }],
    ['1000', 0, false, { name: 'app', uid: 1000, gid: 1001, home: '/home/app' }],
    ['app:staff', 0, false, { name: 'app', uid: 1000, gid: 50, home: '/home/app' }],
    ['4242', 0, false, { name: '4242', uid: 4242, gid: 4242, home: '/' }],
    ['4242:7', 0, false, { name: '4242', uid: 4242, gid: 7, home: '/' }],
    ['root', 0, true, { name: 'root', uid: 0, gid: 0, home: '/root' }],
    [undefined, 0, true, { name: 'root', home: '/root' }],
    [undefined, 1000, false, { name: 'app', home: '/home/app' }],
    ['app', 1000, false, { name: 'app', home: '/home/app' }],
  ])('%s for a daemon of %i (root allowed: %s)', (wanted, own, allowRoot, user) => {
    expect(resolveUser(wanted, accounts, own, allowRoot)).toEqual(user);
  });
  it.each<[string | undefined, number, string]>([
    [undefined, 0, 'User is empty'],
    ['root', 0, 'User is root'],
    ['0', 0, 'User is root'],
    ['ghost', 0, "no user 'ghost'"],
    ['app:ghosts', 0, "no group 'ghosts'"],
    ['root', 1000, 'User is root'],
    ['4242', 1000, 'only as app'],
  ])('%s for a daemon of %i is refused', (wanted, own, problem) => {
    expect(() => resolveUser(wanted, accounts, own, false)).toThrow(problem);
  });
});

it('limits in either version', () => {
  const spec = { Resources: { Limits: { NanoCPUs: 5e8, MemoryBytes: 64e6, Pids: 9 }, SwapBytes: 0 } };
  expect(limitFiles(2, spec)).toEqual({
    cpu: [['cpu.max', '50000 100000']],
    memory: [
      ['memory.max', '64000000'],
      ['memory.swap.max', '0'],
    ],
    pids: [['pids.max', '9']],
  });
  expect(limitFiles(1, spec)).toEqual({
    cpu: [['cpu.cfs_quota_us', '50000']],
    memory: [['memory.limit_in_bytes', '64000000']],
    pids: [['pids.max', '9']],
  });
  expect(limitFiles(2, {})).toEqual({ cpu: [], memory: [], pids: [] });
});

it('a process’s stat, whatever its name', () => {
  const rest = 'S 1 7 8 9 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 100 200';
  expect(parseStat(`42 (a) b) (c) ${rest}`)).toEqual({ state: 'S', session: '8', start: '987654' });
});

it('a line of output', () => {
  const line = parseLine(Buffer.from('2026-01-01T00:00:00.000000000Z e two  words '), 't');
  expect(line).toMatchObject({ taskId: 't', stream: 'stderr', time: '2026-01-01T00:00:00.000000000Z' });
  expect(String(line?.line)).toBe('two  words ');
});

it('a healthcheck’s defaults', () => {
  expect(healthOf({ Test: ['CMD-SHELL', 'a b'] })).toEqual({
    command: ['/bin/sh', '-c', 'a b'],
    intervalMs: 30_000,
    startIntervalMs: 30_000,
    timeoutMs: 30_000,
    startPeriodMs: 0,
    retries: 3,
  });
  expect(healthOf({ Test: ['NONE'] })).toBeUndefined();
  expect(healthOf({ Interval: 5 })).toBeUndefined();
  expect(() => healthOf({ Test: ['CMD'] })).toThrow('no command after CMD');
});
