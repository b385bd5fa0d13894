import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe } from 'vitest';
import { buildImages, type Engine, noEngine, startEngine } from '../../../../../test/kit/engine.ts';
import { contract } from '../../../../../test/kit/runtime-contract.ts';
import { createDockerRuntime } from './runtime.ts';

const missing = noEngine();
const node = { nodeId: 'node1', clusterId: 'cluster1', hostname: 'here', addr: '127.0.0.1' };

describe.skipIf(missing)(`with an engine${missing ? ` (${missing} is missing)` : ''}`, () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await startEngine({ name: 'runtime', dataRoot: mkdtempSync(join(tmpdir(), 'swarm-engine-')) });
    await buildImages(engine.socket);
  });
  afterAll(() => engine?.stop());

  contract('docker', () => ({
    node,
    container: { Image: 'bb:1' },
    open: (other = node) => createDockerRuntime({ dockerHost: engine.dockerHost }, other),
  }));
});
