import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { contract } from '../../../../../test/kit/runtime-contract.ts';
import { createProcessRuntime } from './runtime.ts';

const dataDir = mkdtempSync(join(tmpdir(), 'swarm-process-'));
afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

const node = { nodeId: 'node1', clusterId: 'cluster1', hostname: 'here', addr: '127.0.0.1' };

contract('process', () => ({
  node,
  container: { Image: 'process' },
  open: (other = node) => createProcessRuntime({ dataDir, allowRoot: true }, other),
}));
