import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openDataDir } from './data-dir.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'swarmd-data-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('the data folder', () => {
  test('is made, private, and free again after its release', () => {
    const path = join(folder, 'deep', 'data');
    const dir = openDataDir(path);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    expect(statSync(join(path, 'swarmd.lock')).mode & 0o777).toBe(0o600);
    dir.release();
    openDataDir(path).release();
    expect(existsSync(join(path, 'swarmd.lock'))).toBe(false);
  });

  test('that others could read is made private', () => {
    const path = join(folder, 'open');
    mkdirSync(path, { mode: 0o755 });
    openDataDir(path).release();
    expect(statSync(path).mode & 0o777).toBe(0o700);
  });

  test('is of one daemon at a time', () => {
    const dir = openDataDir(folder);
    expect(() => openDataDir(folder)).toThrow(`in use by another swarmd (pid ${process.pid})`);
    dir.release();
  });

  test('of a daemon that was killed is free', async () => {
    const other = spawn('sleep', ['60']);
    await once(other, 'spawn');
    const stat = readFileSync(`/proc/${other.pid}/stat`, 'utf8');
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    const lock = join(folder, 'swarmd.lock');
    writeFileSync(lock, JSON.stringify({ pid: other.pid, boot, start }));
    expect(() => openDataDir(folder)).toThrow(`pid ${other.pid}`);
    other.kill('SIGKILL');
    await once(other, 'exit');
    openDataDir(folder).release();
  });

  test('of a daemon that ended, but whose parent has not noticed, is free', async () => {
    // The shell becomes a program that never waits for its child.
    const parent = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60']);
    const pid = Number(String((await once(parent.stdout, 'data'))[0]));
    const stat = () => readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Read once: the name of the program changes when the shell's child becomes `sleep`.
    const now = stat();
    const [state, ...fields] = now.slice(now.lastIndexOf(')') + 2).split(' ');
    expect(state).not.toBe('Z');
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    writeFileSync(join(folder, 'swarmd.lock'), JSON.stringify({ pid, boot, start: fields[18] }));
    expect(() => openDataDir(folder)).toThrow(`pid ${pid}`);
    process.kill(pid, 'SIGKILL');
    await expect.poll(stat).toContain(') Z ');
    openDataDir(folder).release();
    parent.kill('SIGKILL');
    await once(parent, 'exit');
  });

  test.each([
    ['of a pid that another program has now', { pid: 1, start: '0' }],
    ['of before a reboot', { pid: process.pid, boot: 'another' }],
    ['that is damaged', undefined],
  ])('a lock %s is nobody’s', (_, owner) => {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const stat = readFileSync('/proc/self/stat', 'utf8');
    const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    writeFileSync(join(folder, 'swarmd.lock'), owner ? JSON.stringify({ boot, start, ...owner }) : '{"pid":');
    openDataDir(folder).release();
  });

  test('that cannot be is named', () => {
    writeFileSync(join(folder, 'file'), '');
    expect(() => openDataDir(join(folder, 'file', 'data'))).toThrow('cannot use the data folder');
  });
});
