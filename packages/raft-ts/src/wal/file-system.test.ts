import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { nodeFileSystem, type OpenMode } from './file-system.ts';

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
