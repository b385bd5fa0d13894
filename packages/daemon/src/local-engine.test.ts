import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ManualClock } from '@swarmctl/shared/kit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LocalEngine } from './local-engine.ts';

// What is known of an engine that answers, and of one that does not.

let folder: string;
let server: Server | undefined;
let asked: number;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'swarm-local-'));
  asked = 0;
});
afterEach(() => {
  server?.close();
  server?.closeAllConnections();
  server = undefined;
  rmSync(folder, { recursive: true });
});

async function engine(answer: (response: ServerResponse) => void) {
  const socketPath = join(folder, 'docker.sock');
  const clock = new ManualClock();
  server = createServer((_, response) => {
    asked++;
    answer(response);
  });
  await new Promise<void>((resolve) => server?.listen(socketPath, resolve));
  return { clock, local: new LocalEngine({ socketPath }, { clock }) };
}

test('it is asked once in two seconds', async () => {
  const { clock, local } = await engine((response) => response.end('{"NCPU":2}'));
  expect(await Promise.all([local.facts(), local.facts()])).toEqual([{ NCPU: 2 }, { NCPU: 2 }]);
  expect(asked).toBe(1);
  await clock.advance(2_000);
  await local.facts();
  expect(asked).toBe(2);
});

test('one that does not answer within a second says nothing', async () => {
  const { clock, local } = await engine(() => {});
  const facts = local.facts();
  while (asked === 0) await new Promise(setImmediate);
  await clock.advance(1_000);
  expect(await facts).toBeUndefined();
});

test.each<[string, (response: ServerResponse) => void]>([
  ['an error', (response) => response.writeHead(500).end('{}')],
  ['no JSON', (response) => response.end('no')],
  [
    'half an answer',
    (response) => response.writeHead(200, { 'content-length': 9 }).write('{', () => response.destroy()),
  ],
  ['too much', (response) => response.end('x'.repeat(2 * 1024 * 1024))],
])('%s says nothing', async (_, answer) => {
  const { local } = await engine(answer);
  expect(await local.facts()).toBeUndefined();
});

test('one that is not there says nothing', async () => {
  const socketPath = join(folder, 'nosuch.sock');
  expect(await new LocalEngine({ socketPath }, { clock: new ManualClock() }).facts()).toBeUndefined();
});
