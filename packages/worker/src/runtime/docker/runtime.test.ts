import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ManualClock } from '@swarmctl/shared/kit';
import { describe, expect, test } from 'vitest';
import { aTask } from '../../../../../test/kit/index.ts';
import { createDockerRuntime } from './runtime.ts';

test('an engine that hangs is given up, and the question to it ended', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'swarmd-engine-'));
  const path = join(folder, 'engine.sock');
  const server = createServer().listen(path);
  const clock = new ManualClock();
  const node = { nodeId: 'n1', hostname: 'one', addr: '127.0.0.1', clusterId: 'c1' };
  const runtime = createDockerRuntime({ dockerHost: `unix://${path}`, clock }, node);
  try {
    const described = runtime.describe();
    const [asking] = (await once(server, 'connection')) as [Socket];
    const ended = once(asking.resume(), 'close');
    await clock.advance(5_000);
    expect(await described).toMatchObject({
      ready: false,
      reason: expect.stringContaining('its answer took longer than 5000 ms'),
    });
    await ended;
  } finally {
    await runtime.close();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

describe('an image that its registry does not give', () => {
  const refused = 'No such image: web:1 (pulling it failed: the registry is away)';

  /** Prepares a task on an engine without its image; `ask` is told when the engine has it, as managers would see to it. */
  async function prepared(ask: (give: () => void) => Promise<string | undefined>) {
    const folder = mkdtempSync(join(tmpdir(), 'swarmd-engine-'));
    const path = join(folder, 'engine.sock');
    let isThere = false;
    const server = createHttpServer((request, response) => {
      const at = `${request.method} ${request.url?.split('?')[0]?.replace(/^\/v[\d.]+/, '')}`;
      const say = (status: number, body: object) => response.writeHead(status).end(JSON.stringify(body));
      if (at === 'POST /images/create') return say(200, { errorDetail: { message: 'the registry is away' } });
      if (at === 'GET /containers/json') return say(200, []);
      if (at === 'GET /containers/made/json') return say(200, { Id: 'made', State: { Status: 'created' } });
      if (at === 'POST /containers/create' && isThere) return say(201, { Id: 'made', Warnings: [] });
      return say(404, { message: 'No such image: web:1' });
    }).listen(path);
    const askForImage = (taskId: string) => {
      expect(taskId).toBe('t1');
      return ask(() => {
        isThere = true;
      });
    };
    const node = { nodeId: 'n1', hostname: 'one', addr: '127.0.0.1', clusterId: 'c1' };
    const runtime = createDockerRuntime({ dockerHost: `unix://${path}`, clock: new ManualClock(), askForImage }, node);
    try {
      return await runtime.prepare(aTask({ id: 't1', node: 'n1' }), new AbortController().signal);
    } finally {
      await runtime.close();
      server.close();
      rmSync(folder, { recursive: true, force: true });
    }
  }

  test('may come from the managers', async () => {
    const given = prepared(async (give) => {
      give();
      return undefined;
    });
    expect(await given).toMatchObject({ phase: 'created' });
  });

  test.each([
    ['there is none', '', refused],
    ['it could not come', 'm1: no space left', `${refused}; m1: no space left`],
  ])('does not come where %s', async (_, problem, message) => {
    await expect(prepared(async () => problem)).rejects.toMatchObject({ permanent: true, message });
  });

  test('is asked for again later where no manager is in touch', async () => {
    const failing = prepared(async () => {
      throw new Error('none is in touch');
    });
    await expect(failing).rejects.toMatchObject({ permanent: false, message: expect.stringContaining('in touch') });
  });
});
