import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '@swarmctl/shared/kit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { clearLeftovers, forgetLeftovers } from './leftovers.ts';

let root: string;
let folder: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'swarmd-left-'));
  folder = join(root, 'nodes');
  for (const name of ['a', 'b']) mkdirSync(join(root, name));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** The nodes that were cleared away as this one started. */
async function start(nodeId: string, dataDir: string, fails = false): Promise<string[]> {
  const cleared: string[] = [];
  const clear = async (id: string) => {
    if (fails) throw new Error('busy');
    cleared.push(id);
  };
  await clearLeftovers({ nodeId, dataDir: join(root, dataDir) }, { clear, log: silentLogger, folder });
  return cleared;
}

test('earlier nodes of the same data folder are cleared away once, and no others', async () => {
  expect(await start('old', 'a')).toEqual([]);
  expect(await start('other', 'b')).toEqual([]);
  expect(await start('old', 'a')).toEqual([]);
  expect(await start('new', 'a')).toEqual(['old']);
  expect(await start('new', 'a')).toEqual([]);
  expect(readdirSync(folder).sort()).toEqual(['new', 'other']);
});

test('what cannot be cleared is tried again, and a node that has left is not looked for', async () => {
  await start('old', 'a');
  expect(await start('new', 'a', true)).toEqual([]);
  expect(await start('new', 'a')).toEqual(['old']);
  forgetLeftovers('new', folder);
  expect(await start('newer', 'a')).toEqual([]);
});

test('no folder to note it in is no failure', async () => {
  writeFileSync(join(root, 'file'), '');
  folder = join(root, 'file', 'nodes');
  expect(await start('old', 'a')).toEqual([]);
});
