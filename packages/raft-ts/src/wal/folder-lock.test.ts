import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lockFolder } from './folder-lock.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'raft-ts-lock-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

describe('the lock of a folder', () => {
  it('is given once, and again after its release', async () => {
    const lock = await lockFolder(dir);
    await expect(lockFolder(dir)).rejects.toMatchObject({ code: 'locked', data: { pid: process.pid } });
    await lock.release();
    await (await lockFolder(dir)).release();
    expect(await readdir(dir)).toEqual([]);
  });

  it.each([
    ['of a process that is gone', { pid: 2 ** 22 + 1, bootId: 'x', startTime: '1' }],
    ['of another boot', { pid: process.pid, bootId: 'another', startTime: '1' }],
    ['whose pid another process has now', { pid: process.pid, bootId: 'same', startTime: '1' }],
  ])('is taken over from one %s', async (_, owner) => {
    await writeFile(join(dir, 'LOCK'), JSON.stringify(owner));
    await (await lockFolder(dir)).release();
  });

  it('is taken over when it cannot be read', async () => {
    await writeFile(join(dir, 'LOCK'), '');
    await (await lockFolder(dir)).release();
  });

  it('is given to one of many that try at once', async () => {
    await writeFile(join(dir, 'LOCK'), 'stale');
    const tries = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(dir)));
    expect(tries.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  it('leaves nothing where nothing can be written', async () => {
    const module = fileURLToPath(new URL('folder-lock.ts', import.meta.url));
    const program = `const { lockFolder } = await import(process.argv[1]);
      await lockFolder(process.argv[2]).catch((error) => console.log(error.code, error.path));`;
    // No file may grow: as on a full disk, files are made, and writes to them fail.
    const { stdout } = await promisify(execFile)('/bin/sh', [
      ...['-c', 'ulimit -f 0; exec "$0" "$@"', process.execPath, '--import', 'tsx'],
      ...['--input-type=module', '-e', program, module, dir],
    ]);
    expect(stdout).toMatch(/^EFBIG .*\/LOCK\./);
    expect(await readdir(dir)).toEqual([]);
  }, 30_000);
});
