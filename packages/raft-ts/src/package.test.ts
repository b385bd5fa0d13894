import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

// The package as others get it: built, packed, installed where nothing else of this repository is, run by plain node.

const root = fileURLToPath(new URL('..', import.meta.url));
const repository = join(root, '../..');
let work: string;

const run = (cwd: string, command: string, ...args: string[]): string =>
  execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 });

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'raft-package-'));
  const copy = join(work, 'package');
  for (const part of ['package.json', 'README.md', 'LICENSE', 'bin'])
    cpSync(join(root, part), join(copy, part), { recursive: true });
  run(
    root,
    join(repository, 'node_modules/.bin/tsc'),
    '-p',
    '.',
    '--outDir',
    join(copy, 'dist'),
    '--incremental',
    'false',
    '--composite',
    'false',
  );
  const [packed] = JSON.parse(run(copy, 'npm', 'pack', '--json')) as [{ filename: string }];
  const app = join(work, 'app');
  mkdirSync(app);
  writeFileSync(join(app, 'package.json'), '{"private":true,"type":"module"}');
  run(app, 'npm', 'install', '--offline', '--no-audit', '--no-fund', join(copy, packed.filename));
}, 120_000);

afterAll(() => rmSync(work, { recursive: true, force: true }));

/** The first program of the README, up to where it would need a second member. */
function readmeProgram(): string {
  const block = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1] ?? '';
  const [alone] = block.split('await node.changeMembership');
  return `${alone}\nconsole.log(JSON.stringify([...values]));\nawait node.stop();\n`;
}

test('the program of the README runs, and again on what it left', () => {
  const app = join(work, 'app');
  writeFileSync(join(app, 'member.js'), readmeProgram());
  for (let i = 0; i < 2; i++) expect(run(app, 'node', 'member.js')).toBe('[["a",1]]\n');
  expect(run(app, join(app, 'node_modules/.bin/raft-ts'), 'inspect', 'member-1')).toContain('member-1');
}, 60_000);

test('the core comes alone, and brings nothing along', () => {
  const app = join(work, 'app');
  const program =
    "import { MemoryStorage, RawNode } from 'raft-ts/core'; console.log(typeof RawNode, typeof MemoryStorage);";
  expect(run(app, 'node', '--input-type=module', '-e', program)).toBe('function function\n');
  expect(run(app, 'ls', 'node_modules').trim()).toBe('raft-ts');
});

test('the licence comes along', () => {
  const packed = readFileSync(join(work, 'app/node_modules/raft-ts/LICENSE'), 'utf8');
  expect(packed).toBe(readFileSync(join(repository, 'LICENSE'), 'utf8'));
});
