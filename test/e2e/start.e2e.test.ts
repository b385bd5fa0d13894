import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { runProgram } from '../kit/cluster.ts';

// `npm start` as a newcomer meets it, on ports and folders of its own.

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'swarm-start-'));
const env = {
  ...process.env,
  SWARMCTL_LOCAL_DATA: join(folder, 'data'),
  SWARMCTL_CONFIG: join(folder, 'config'),
  SWARMCTL_LOCAL_CONTROL_PORT: '23377',
  SWARMCTL_LOCAL_WEB_PORT: '18088',
  SWARMCTL_LOCAL_RUNTIME: 'process',
};

let child: ChildProcess | undefined;
let printed = '';

function start(): void {
  printed = '';
  child = spawn(process.execPath, [join(root, 'scripts/start.mjs')], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk) => {
      printed += chunk;
    });
  }
}

const ended = () =>
  new Promise<number | null>((resolve) =>
    child?.exitCode === null ? child.once('exit', resolve) : resolve(child?.exitCode ?? null),
  );

async function prints(pattern: RegExp): Promise<void> {
  for (const end = Date.now() + 90_000; !pattern.test(printed); ) {
    if (Date.now() > end || child?.exitCode !== null)
      throw new Error(`npm start did not print ${pattern}:\n${printed}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const daemons = () => spawnSync('pgrep', ['-f', `${folder}/data`], { encoding: 'utf8' }).stdout.trim();

afterEach(async () => {
  if (child?.exitCode === null) {
    child.kill('SIGINT');
    await ended();
  }
});

describe('npm start', () => {
  test('forms a cluster, shows every replica on every node, is found by swarmctl, and leaves nothing', async () => {
    start();
    await prints(/The cluster runs\./);
    expect(printed).toMatch(/Runtime: process \(SWARMCTL_LOCAL_RUNTIME asks for it\)/);
    expect(printed.match(/Hello from hello\.[123]\./g)?.length).toBe(9);
    const { code, out } = await runProgram('env', [
      `SWARMCTL_CONFIG=${env.SWARMCTL_CONFIG}`,
      process.execPath,
      join(root, 'packages/cli/bin/swarmctl.js'),
      'node',
      'ls',
      '--format',
      '{{.Hostname}} {{.Status}}',
    ]);
    expect({ code, out }).toEqual({ code: 0, out: 'node1 Ready\nnode2 Ready\nnode3 Ready\n' });
    child?.kill('SIGINT');
    expect(await ended()).toBe(0);
    expect(printed).toMatch(/Everything is removed\./);
    expect(daemons()).toBe('');
    expect(existsSync(env.SWARMCTL_LOCAL_DATA)).toBe(false);
    expect(existsSync(join(env.SWARMCTL_CONFIG, 'contexts/local.json'))).toBe(false);
  }, 150_000);

  test('what a killed one left is swept by the next', async () => {
    start();
    await prints(/The cluster runs\./);
    child?.kill('SIGKILL');
    await ended();
    expect(daemons()).not.toBe('');
    start();
    await prints(/Swept what a former run had left\.[\s\S]*The cluster runs\./);
    child?.kill('SIGTERM');
    expect(await ended()).toBe(0);
    expect(daemons()).toBe('');
  }, 200_000);

  test('a port in use is reported by name', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(18088, '127.0.0.2', resolve));
    try {
      start();
      expect(await ended()).toBe(1);
      expect(printed).toMatch(
        /port 18088 \(the web service\) cannot be used on 127\.0\.0\.2: EADDRINUSE, held by .*pid \d+/,
      );
      expect(daemons()).toBe('');
    } finally {
      server.close();
      rmSync(folder, { recursive: true, force: true });
    }
  }, 60_000);
});
