import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RaftPanic } from '../core/assert.ts';
import { MemoryFileSystem } from '../wal/memory-file-system.ts';
import { toRaftError } from './errors.ts';
import { hasLog, openRaftNode, type RaftHostEnv } from './open.ts';
import { ListMachine, testSealer } from './test-cluster.ts';
import type { Start } from './types.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'raft-ts-errors-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const bootstrap: Start = { kind: 'bootstrap', address: 'host-1' };

const open = (start: Start, env: Partial<RaftHostEnv> = {}, at = dir) =>
  openRaftNode(
    { id: 1, dir: at, random: () => 0.5, onFatal: (error) => expect.unreachable(error.message) },
    { stateMachine: new ListMachine(), dial: async () => expect.unreachable(), sealer: testSealer },
    start,
    { segmentBytes: 4096, ...env },
  );

const systemError = (code: string, path: string) =>
  Object.assign(new Error(`${code}: it will not be, open '${path}'`), { code, path, syscall: 'open', errno: -1 });

const anIoError = (file: string, errno: string) => ({ name: 'RaftError', code: 'io', data: { file, errno } });

describe("the system's refusals are `io`, and name the file", () => {
  it.each([
    ['a segment', () => join(dir, 'wal/0000000000000001.wal')],
    ['the peers', () => join(dir, 'peers')],
    ['the extent', () => join(dir, 'wal.extent')],
  ])('a folder in place of %s', async (_, pathOf) => {
    await (await open(bootstrap)).stop();
    const path = pathOf();
    await rm(path, { force: true });
    await mkdir(path);
    await expect(open({ kind: 'restart' })).rejects.toMatchObject(anIoError(path, 'EISDIR'));
  });

  it('a file in place of the log', async () => {
    const path = join(dir, 'wal');
    await writeFile(path, '');
    await expect(hasLog(dir)).rejects.toMatchObject(anIoError(path, 'ENOTDIR'));
    await expect(open(bootstrap)).rejects.toMatchObject(anIoError(path, 'ENOTDIR'));
    await expect(open({ kind: 'restart' })).rejects.toMatchObject(anIoError(path, 'ENOTDIR'));
    expect(await readdir(dir)).toEqual(['wal']);
  });

  it('a file in place of the folder', async () => {
    const path = join(dir, 'member');
    await writeFile(path, '');
    await expect(open(bootstrap, {}, path)).rejects.toMatchObject(anIoError(path, 'EEXIST'));
  });

  it('a lock on what is read only', async () => {
    const path = join(dir, 'LOCK');
    const lock = () => Promise.reject(systemError('EROFS', path));
    await expect(open(bootstrap, { lock })).rejects.toMatchObject(anIoError(path, 'EROFS'));
  });

  it('a disk that is full at the start, which frees the lock', async () => {
    const fileSystem = new MemoryFileSystem();
    fileSystem.fault = (operation, path) => {
      if (operation === 'write') throw systemError('ENOSPC', path);
    };
    await expect(open(bootstrap, { fileSystem })).rejects.toMatchObject({ code: 'io', data: { errno: 'ENOSPC' } });
    expect(await readdir(dir)).toEqual([]);
  });
});

describe('other errors', () => {
  it('a panic means a folder from elsewhere', () => {
    expect(toRaftError(new RaftPanic('conflict below commit'))).toMatchObject({
      name: 'RaftError',
      code: 'corrupt',
      message:
        "this member's log and the cluster contradict each other: conflict below commit. If its folder was restored from a copy, remove the member and add it under a new id",
      cause: expect.any(RaftPanic),
    });
  });

  it("a state machine's own stays what it is", () => {
    const error = Object.assign(new Error('mine'), { code: 'E_MINE' });
    expect(toRaftError(error)).toBe(error);
  });
});
