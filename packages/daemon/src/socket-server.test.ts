import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type SocketServer, serveSocket, socketPlaces } from './socket-server.ts';

let folder: string;
let path: string;
const open: SocketServer[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'swarmd-sock-'));
  path = join(folder, 'api.sock');
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server.close()));
  rmSync(folder, { recursive: true, force: true });
});

const http = createServer((_request, response) => response.end('hello'));

async function serve(group?: string): Promise<void> {
  open.push(await serveSocket(path, http, group));
}

const get = () =>
  new Promise<string>((resolve, reject) => {
    const asked = request({ socketPath: path, path: '/' }, (response) =>
      response.once('data', (data) => resolve(`${data}`)),
    );
    asked.once('error', reject);
    asked.end();
  });

test('the group has a socket outside of the data folder, which it cannot enter', () => {
  expect(socketPlaces({ dataDir: '/d' })).toEqual([{ path: '/d/api.sock' }]);
  const socket = '/run/swarmd/docker.sock';
  expect(socketPlaces({ dataDir: '/d', socket, socketGroup: 'docker' })).toEqual([
    { path: '/d/api.sock' },
    { path: socket, group: 'docker' },
  ]);
  expect(() => socketPlaces({ dataDir: '/d', socketGroup: 'docker' })).toThrow(/too: --socket PATH$/);
});

describe('the API socket', () => {
  test('answers, and is its owner’s alone', async () => {
    await serve();
    expect(await get()).toBe('hello');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await open.pop()?.close();
    expect(existsSync(path)).toBe(false);
  });

  test('may be a group’s', async () => {
    await serve(String(process.getgid?.()));
    expect(statSync(path).mode & 0o777).toBe(0o660);
    expect(await get()).toBe('hello');
  });

  test('takes the place of a stale one, not of a live one', async () => {
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    expect(statSync(path).isSocket()).toBe(true);
    await serve();
    expect(await get()).toBe('hello');
    await expect(serveSocket(path, http)).rejects.toThrow(`another program listens on ${path} already`);
    expect(await get()).toBe('hello');
  });

  test('does not take the place of a file', async () => {
    writeFileSync(path, 'mine');
    await expect(serveSocket(path, http)).rejects.toThrow('it is not a socket');
  });

  test.each([
    [
      'a path that is too long',
      () => serveSocket(`/tmp/${'x'.repeat(103)}`, http),
      'too long for the kernel (108 bytes, at most 107)',
    ],
    ['an unknown group', () => serveSocket(path, http, 'no-such-group'), "there is no group 'no-such-group'"],
  ])('refuses %s', async (_, act, message) => {
    await expect(act()).rejects.toThrow(message);
  });
});
