import { readFileSync } from 'node:fs';
import { availableParallelism, machine, release, totalmem } from 'node:os';
import type { NodeInfo } from '@swarmctl/manager';
import type { Peer } from '@swarmctl/shared/wire';
import type { DaemonConfig } from './config.ts';
import type { WorkerStatus } from './ports.ts';

// What this node says of itself to whoever asks its API.

export interface NodeFacts {
  readonly config: DaemonConfig;
  readonly nodeId: string;
  readonly addr: string;
  readonly error: string;
  readonly managers: readonly Peer[];
  readonly labels: readonly string[];
  readonly worker: WorkerStatus | undefined;
}

export const nodeInfo = (facts: NodeFacts): NodeInfo => ({
  nodeId: facts.nodeId,
  addr: facts.addr,
  hostname: facts.config.hostname,
  error: facts.error,
  managers: facts.managers,
  runtime: facts.config.runtime,
  runtimeReady: facts.worker?.runtimeReady ?? false,
  engineVersion: facts.worker?.engineVersion ?? '',
  ingress: facts.worker?.ingress ?? facts.config.ingress,
  cpus: availableParallelism(),
  memoryBytes: totalmem(),
  architecture: machine(),
  kernel: release(),
  operatingSystem: operatingSystem(),
  labels: facts.labels,
  dataDir: facts.config.dataDir,
});

let name: string | undefined;

function operatingSystem(): string {
  if (name === undefined) {
    try {
      name = /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'Linux';
    } catch {
      name = 'Linux';
    }
  }
  return name;
}
