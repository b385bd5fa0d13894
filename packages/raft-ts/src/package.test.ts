import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

// The package as others get it: packed, which builds it, installed where nothing else of this repository is, run by plain node.

const root = fileURLToPath(new URL('..', import.meta.url));
const repository = join(root, '../..');
let work: string;

const run = (cwd: string, command: string, ...args: string[]): string =>
  execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 });

/** The repository as far as it matters here, without anything built: packing must build. */
function copyOfSources(): string {
  const copy = join(work, 'repository/packages/raft-ts');
  for (const part of ['package.json', 'tsconfig.json', 'README.md', 'LICENSE', 'bin', 'src'])
    cpSync(join(root, part), join(copy, part), { recursive: true });
  cpSync(join(repository, 'tsconfig.base.json'), join(work, 'repository/tsconfig.base.json'));
  symlinkSync(join(repository, 'node_modules'), join(work, 'repository/node_modules'));
  return copy;
}

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'raft-package-'));
  const copy = copyOfSources();
  run(copy, 'npm', 'pack', '--pack-destination', work);
  const app = join(work, 'app');
  mkdirSync(app);
  writeFileSync(join(app, 'package.json'), '{"private":true,"type":"module"}');
  run(app, 'npm', 'install', '--offline', '--no-audit', '--no-fund', join(work, tarball()));
}, 120_000);

const tarball = (): string => readdirSync(work).find((name) => name.endsWith('.tgz')) ?? expect.unreachable();

afterAll(() => rmSync(work, { recursive: true, force: true }));

/** The first program of the README, up to where it would need a second member. */
function readmeProgram(): string {
  const block = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1] ?? '';
  const [alone] = block.split('await node.changeMembership');
  return `${alone}\nconsole.log(JSON.stringify([...values]));\nawait node.stop();\n`;
}

test('the program of the README bootstraps when told so and restarts otherwise', () => {
  const app = join(work, 'app');
  writeFileSync(join(app, 'member.js'), readmeProgram());
  expect(() => run(app, 'node', 'member.js')).toThrow('there is no log in ');
  expect(run(app, 'node', 'member.js', '--bootstrap')).toBe('[["a",1]]\n');
  for (let i = 0; i < 2; i++) expect(run(app, 'node', 'member.js')).toBe('[["a",1]]\n');
  expect(() => run(app, 'node', 'member.js', '--bootstrap')).toThrow('there is a log in ');
  const summary = run(app, join(app, 'node_modules/.bin/raft-ts'), 'inspect', 'member-1', '--summary');
  expect(summary).toMatch(/^\d+ records; member 1, .*; nothing damaged\n$/);
}, 60_000);

test('it is built by packing, and brings what its README names and nothing of the repository', () => {
  const installed = join(work, 'app/node_modules/raft-ts');
  const files = run(installed, 'find', '.', '-type', 'f').trim().split('\n');
  for (const file of ['index.js', 'index.d.ts', 'core/index.js', 'core/index.d.ts', 'inspect/main.js'])
    expect(files).toContain(`./dist/${file}`);
  expect(files.filter((file) => /^\.\/src|test|replay|\.map$|tsbuildinfo/.test(file))).toEqual([]);
  const [forUsers = ''] = readFileSync(join(installed, 'README.md'), 'utf8').split('\n## In the repository');
  expect(forUsers.match(/\b(src|scripts|test)\//g)).toBeNull();
  for (const [named] of forUsers.matchAll(/dist\/[\w./-]+/g)) expect(existsSync(join(installed, named))).toBe(true);
});

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
