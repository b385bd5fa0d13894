import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ManualClock, silentLogger } from '@swarmctl/shared/kit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { aTask } from '../../../../test/kit/builders.ts';
import { type Journal, JournalKeeper, readJournal, writeJournal } from './journal.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'journal-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const task = aTask({ id: 't1', node: 'n1' });
const journal: Journal = { version: 1, nodeId: 'n1', revision: 4, tasks: [{ task, status: task.Status }], ingress: [] };

test('what was written is read, by the same node only, and is private', async () => {
  const path = join(folder, 'agent', 'tasks.json');
  expect(await readJournal(path, 'n1', silentLogger)).toBeUndefined();
  await writeJournal(path, journal);
  expect(await readJournal(path, 'n1', silentLogger)).toEqual(journal);
  expect(await readJournal(path, 'n2', silentLogger)).toBeUndefined();
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect((await stat(join(folder, 'agent'))).mode & 0o777).toBe(0o700);
  expect(await readdir(join(folder, 'agent'))).toEqual(['tasks.json']);
});

test.each(['', '{"version":1,', '{"version":2}', 'null'])('a damaged one is none: %j', async (text) => {
  const path = join(folder, 'tasks.json');
  await writeFile(path, text);
  expect(await readJournal(path, 'n1', silentLogger)).toBeUndefined();
});

test('many changes become one write; a failed write is made good at the next', async () => {
  const clock = new ManualClock();
  const written: number[] = [];
  let revision = 0;
  let broken = false;
  const keeper = new JournalKeeper({
    clock,
    log: silentLogger,
    current: () => ({ ...journal, revision }),
    write: async (one) => {
      if (broken) throw new Error('ENOSPC');
      written.push(one.revision);
    },
  });
  for (revision = 1; revision < 10; revision++) keeper.touch();
  await clock.advance(1_000);
  expect(written).toEqual([10]);
  broken = true;
  keeper.touch();
  await clock.advance(1_000);
  broken = false;
  await keeper.flush();
  expect(written).toEqual([10, 10]);
});
