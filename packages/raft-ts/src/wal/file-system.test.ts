import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { nodeFileSystem, type OpenMode, readAll, zeroFill } from './file-system.ts';
import { MemoryFileSystem } from './memory-file-system.ts';

// What Node says of a path it says itself; of an open file it does not say which one it is.

test.each<[string, string, string, OpenMode, 'read' | 'write']>([
  ['a full disk', 'ENOSPC', '/dev/full', 'write', 'write'],
  ['a folder', 'EISDIR', tmpdir(), 'read', 'read'],
])('an error of an open file names it: %s', async (_, code, path, mode, act) => {
  const file = await nodeFileSystem.open(path, mode);
  try {
    await expect(file[act](Buffer.alloc(10), 0)).rejects.toMatchObject({
      code,
      path,
      message: expect.stringMatching(new RegExp(`^${code}: .*, ${act} '${path}'$`)),
    });
  } finally {
    await file.close();
  }
});

test('a file closes once writes that were begun are done, and takes no more', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'file-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const path = join(dir, 'file');
  const file = await nodeFileSystem.open(path, 'create');
  const done: string[] = [];
  const half = 16 << 20;
  const writes = [0, half].map((position) =>
    file.write(Buffer.alloc(half, 1), position).then(() => done.push('written')),
  );
  const closed = file.close().then(() => done.push('closed'));
  await expect(file.write(Buffer.alloc(1), 0)).rejects.toThrow(`the file is closed '${path}'`);
  await Promise.all([...writes, closed]);
  expect(done).toEqual(['written', 'written', 'closed']);
  const content = await readAll(nodeFileSystem, path);
  expect(content.equals(Buffer.alloc(2 * half, 1))).toBe(true);
});

test('zeros are written in pieces, to the end, with a sync now and then', async () => {
  const disk = new MemoryFileSystem();
  const operations: string[] = [];
  disk.fault = (operation) => operations.push(operation);
  const file = await disk.open('file', 'create');
  await file.write(Buffer.alloc(10, 1), 0);
  await zeroFill(file, 5, 5 + (4 << 20) + 100);
  expect(operations.slice(2)).toEqual([
    ...[...Array(32).fill('write'), 'datasync'],
    ...[...Array(32).fill('write'), 'datasync'],
    ...['write', 'datasync'],
  ]);
  const content = await readAll(disk, 'file');
  expect(content.equals(Buffer.concat([Buffer.alloc(5, 1), Buffer.alloc((4 << 20) + 100)]))).toBe(true);
});
