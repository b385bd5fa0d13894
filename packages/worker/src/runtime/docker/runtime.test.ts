import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ManualClock } from '@swarmctl/shared/kit';
import { expect, test } from 'vitest';
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
