import { stat } from 'node:fs/promises';
import { constants } from 'node:os';
import { nsToMs, type Task, unsupportedByProcess } from '@swarmctl/shared/model';
import { expandContainerSpec } from '../template.ts';
import { RuntimeError, type RuntimeNode } from '../types.ts';
import { type Assigned, endpointsOf, hostPortsOf, portEnv } from './ports.ts';
import type { HealthConfig, TaskConfig } from './task-folder.ts';
import type { User } from './users.ts';

// A task's spec to what its shim needs to know. The image's name means nothing here; the command is the machine's own.

export interface Surroundings {
  readonly node: RuntimeNode;
  readonly user: User;
  readonly assigned: readonly Assigned[];
  /** Where this node reaches what listens on all its addresses. */
  readonly localAddr: string;
  readonly path: string;
  readonly logFileBytes: number;
}

export async function processConfig(
  task: Task,
  around: Surroundings,
): Promise<Omit<TaskConfig, 'cgroups' | 'lateLimits' | 'oomFile'>> {
  const { node, user, assigned } = around;
  const spec = expandContainerSpec(task.Spec.ContainerSpec ?? {}, task, node);
  const cwd = spec.Dir || '/';
  await checkFolder(cwd);
  const stopSignal = spec.StopSignal || 'SIGTERM';
  const health = healthOf(spec.Healthcheck);
  return {
    taskId: task.ID,
    nodeId: node.nodeId,
    clusterId: node.clusterId,
    command: [...(spec.Command ?? []), ...(spec.Args ?? [])],
    // Nothing of the daemon's own environment: it may hold secrets.
    env: {
      PATH: around.path,
      HOME: user.home,
      USER: user.name,
      LOGNAME: user.name,
      HOSTNAME: node.hostname,
      ...portEnv(assigned),
      ...envOf(spec.Env ?? []),
    },
    cwd,
    ...(user.uid !== undefined && { uid: user.uid }),
    ...(user.gid !== undefined && { gid: user.gid }),
    stopSignal: checkSignal(stopSignal),
    logFileBytes: around.logFileBytes,
    ...(health && { health }),
    endpoints: endpointsOf(assigned, node.addr, around.localAddr),
    hostPorts: hostPortsOf(task, assigned),
  };
}

/** Throws a permanent RuntimeError for what a process cannot be given. */
export function checkSupported(task: Task): void {
  const problem = unsupportedByProcess({ TaskTemplate: task.Spec });
  if (problem) throw refuse(problem);
}

export function healthOf(
  check: NonNullable<NonNullable<Task['Spec']['ContainerSpec']>['Healthcheck']> | undefined,
): HealthConfig | undefined {
  const [kind, ...rest] = check?.Test ?? [];
  if (!check || kind === undefined || kind === 'NONE') return undefined;
  if (kind !== 'CMD' && kind !== 'CMD-SHELL') {
    throw refuse(`Healthcheck.Test must begin with NONE, CMD or CMD-SHELL, not '${kind}'`);
  }
  if (rest.length === 0) throw refuse(`Healthcheck.Test has no command after ${kind}`);
  const intervalMs = nsToMs(check.Interval || 30e9);
  return {
    command: kind === 'CMD' ? rest : ['/bin/sh', '-c', rest.join(' ')],
    intervalMs,
    startIntervalMs: check.StartInterval ? nsToMs(check.StartInterval) : intervalMs,
    timeoutMs: nsToMs(check.Timeout || 30e9),
    startPeriodMs: nsToMs(check.StartPeriod ?? 0),
    retries: check.Retries || 3,
  };
}

/** `NAME=value`; a bare name is left out, as there is no environment to take it from. */
function envOf(lines: readonly string[]): Record<string, string> {
  const env: Record<string, string> = {};
  for (const line of lines) {
    const equals = line.indexOf('=');
    if (equals > 0) env[line.slice(0, equals)] = line.slice(equals + 1);
  }
  return env;
}

/** `SIGTERM`, `TERM` or a number. */
function checkSignal(signal: string): string {
  const known: Record<string, number> = constants.signals;
  const name = /^\d+$/.test(signal)
    ? Object.keys(known).find((one) => known[one] === Number(signal))
    : signal.toUpperCase().replace(/^(?!SIG)/, 'SIG');
  if (name === undefined || !(name in known)) throw refuse(`StopSignal '${signal}' is no signal`);
  return name;
}

async function checkFolder(path: string): Promise<void> {
  const info = await stat(path).catch(() => undefined);
  if (!info?.isDirectory()) throw refuse(`ContainerSpec.Dir: there is no folder '${path}' on this node`);
}

const refuse = (message: string) => new RuntimeError(message, { permanent: true });
