import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '@swarmctl/shared/kit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { aService, aTask } from '../../../../test/kit/index.ts';
import { PayloadStore } from './payload-store.ts';
import { createTaskMounts } from './task-mounts.ts';

const node = { nodeId: 'n1', clusterId: 'c1', hostname: 'host1', addr: '10.0.0.1' };
const owner = { UID: String(process.getuid?.() ?? 0), GID: String(process.getgid?.() ?? 0) };
const container = { Secrets: [{ SecretID: 's1', SecretName: 'pass', File: { Name: 'p', Mode: 0o440, ...owner } }] };
const task = aTask({ id: 't1', service: aService({ container }), node: 'n1' });

let folder: string;
let mounted: Set<string>;
let ran: string[];
/** Exit code of a command; 0 unless said. */
let codeOf: (line: string) => number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'swarm-mounts-'));
  [mounted, ran, codeOf] = [new Set(), [], () => 0];
});
afterEach(() => rmSync(folder, { recursive: true }));

function open(data = 'hidden') {
  const payloads = new PayloadStore();
  const version = { base: 'pass', number: 1 };
  const payload = {
    kind: 'secret',
    id: 's1',
    name: 'pass',
    version,
    data: Buffer.from(data),
    templated: false,
  } as const;
  payloads.put([{ ...payload, at: 0, size: data.length }]);
  return createTaskMounts(
    node,
    {
      payloads,
      log: silentLogger,
      mountInfo: async () => [...mounted].map((path) => `1 1 0:1 / ${path} rw - tmpfs tmpfs rw\n`).join(''),
      run: async (program, args) => {
        const line = [program, ...args.slice(0, -1)].join(' ');
        ran.push(line);
        const code = codeOf(line);
        const path = args.at(-1) ?? '';
        if (code === 0 && program === 'mount') mounted.add(path);
        if (code === 0 && program === 'umount') mounted.delete(path);
        return { code, stdout: '', stderr: 'no such thing\n' };
      },
    },
    { folder },
  );
}

const options = 'nosuid,nodev,noexec,mode=0700,size=20480,nr_inodes=5';

test('each task has a tmpfs of its own, as large as it must be, that is never swapped', async () => {
  const mounts = open();
  const source = join(folder, 'n1', 't1', '0');
  expect(await mounts.provide(task)).toEqual([{ source, target: '/run/secrets/p' }]);
  expect([readFileSync(source, 'utf8'), statSync(source).mode & 0o777]).toEqual(['hidden', 0o440]);
  expect(ran).toEqual([`mount -t tmpfs -o ${options},noswap tmpfs`]);
  await mounts.provide(task);
  expect(ran).toHaveLength(1);
  // Another daemon goes on with it.
  expect(await open('hid').provide(task)).toEqual([{ source, target: '/run/secrets/p' }]);
  expect([ran.length, readFileSync(source, 'utf8')]).toEqual([1, 'hid']);
});

test('where the kernel knows no noswap, without', async () => {
  codeOf = (line) => (line.includes('noswap') ? 32 : 0);
  await open().provide(task);
  expect(ran).toEqual([`mount -t tmpfs -o ${options},noswap tmpfs`, `mount -t tmpfs -o ${options} tmpfs`]);
});

test('without a mount nothing is written, and it may be tried again', async () => {
  codeOf = () => 32;
  const mounts = open();
  await expect(mounts.provide(task)).rejects.toMatchObject({
    permanent: false,
    message: 'secrets and configs cannot be put in place: mount: no such thing',
  });
  expect(readdirSync(folder)).toEqual([]);
  codeOf = () => 0;
  expect(await mounts.provide(task)).toHaveLength(1);
});

test('what is dropped is emptied first, and let go of if it is still in use', async () => {
  const mounts = open();
  await mounts.provide(task);
  codeOf = (line) => (line === 'umount' ? 32 : 0);
  await mounts.drop('t1');
  expect([ran.slice(1), readdirSync(folder)]).toEqual([['umount', 'umount -l'], []]);
  await mounts.drop('t1');
  expect(ran).toHaveLength(3);
});

test('what cannot be dropped is tried again', async () => {
  const mounts = open();
  await mounts.provide(task);
  codeOf = () => 32;
  await mounts.drop('t1');
  expect(readdirSync(join(folder, 'n1'))).toEqual(['t1']);
  codeOf = () => 0;
  await mounts.keepOnly((taskId) => taskId === 'other');
  expect(readdirSync(folder)).toEqual([]);
});

test('a task without secrets and configs has none', async () => {
  const mounts = open();
  expect(await mounts.provide(aTask({ id: 't2', node: 'n1' }))).toEqual([]);
  writeFileSync(join(folder, 'other'), '');
  await mounts.keepOnly(() => false);
  expect([ran, readdirSync(folder)]).toEqual([[], ['other']]);
});
