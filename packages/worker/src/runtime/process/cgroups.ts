import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '@swarmctl/shared/kit';
import type { TaskSpec } from '@swarmctl/shared/model';
import { RuntimeError } from '../types.ts';
import type { TaskConfig } from './task-folder.ts';

// Limits by cgroups, version 2 or 1, where the daemon may make them (root on a machine of its own). Where it may not, tasks run without
// limits, and the node's description says so.

const controllers = ['cpu', 'memory', 'pids'] as const;
type Controller = (typeof controllers)[number];
const parent = 'swarmctl';

export interface Cgroups {
  readonly version: 1 | 2;
  /** Of each usable controller: our folder in its hierarchy (in version 2 all the same one), and the daemon's own place. */
  readonly places: ReadonlyMap<Controller, { readonly folder: string; readonly own: string }>;
}

type Prepared = Pick<TaskConfig, 'cgroups' | 'lateLimits' | 'oomFile'>;

/** What can be used here, or why nothing can. */
export function detectCgroups(): Cgroups | string {
  try {
    const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
    const own = readFileSync('/proc/self/cgroup', 'utf8').split('\n');
    const found = version1(mounts, own) ?? version2(mounts, own);
    return found ?? 'no cgroup controllers are mounted';
  } catch (error) {
    return `cgroups cannot be made here: ${messageOf(error)}`;
  }
}

function version1(mounts: readonly string[], own: readonly string[]): Cgroups | undefined {
  const places = new Map<Controller, { folder: string; own: string }>();
  for (const mount of mounts) {
    const [, path = '', type, options = ''] = mount.split(' ');
    if (type !== 'cgroup') continue;
    for (const controller of controllers) {
      if (!options.split(',').includes(controller)) continue;
      const line = own.find((entry) => entry.split(':')[1]?.split(',').includes(controller));
      const folder = join(path, parent);
      mkdirSync(folder, { recursive: true });
      places.set(controller, { folder, own: join(path, line?.split(':')[2] ?? '/') });
    }
  }
  return places.size > 0 ? { version: 1, places } : undefined;
}

function version2(mounts: readonly string[], own: readonly string[]): Cgroups | undefined {
  const root = mounts.map((mount) => mount.split(' ')).find(([, , type]) => type === 'cgroup2')?.[1];
  if (!root) return undefined;
  const folder = join(root, parent);
  mkdirSync(folder, { recursive: true });
  for (const controller of controllers) {
    for (const place of [root, folder]) {
      try {
        writeFileSync(join(place, 'cgroup.subtree_control'), `+${controller}`);
      } catch {
        // Said below, by what is there then.
      }
    }
  }
  const enabled = readFileSync(join(folder, 'cgroup.subtree_control'), 'utf8').split(/\s+/);
  const line = own.find((entry) => entry.startsWith('0::')) ?? '0::/';
  const places = new Map(
    controllers
      .filter((controller) => enabled.includes(controller))
      .map((controller) => [controller, { folder, own: join(root, line.slice(3)) }]),
  );
  if (places.size > 0) return { version: 2, places };
  rmdirSync(folder);
  return undefined;
}

/** Makes the task's cgroups with its limits. Without limits it still has the one that finds all its processes. */
export async function makeCgroups(cgroups: Cgroups, taskId: string, spec: TaskSpec): Promise<Prepared> {
  const files = limitFiles(cgroups.version, spec);
  const entered = new Map<string, { enter: string; leave: string }>();
  const lateLimits: { file: string; value: string }[] = [];
  let oomFile: string | undefined;
  for (const [controller, { folder, own }] of cgroups.places) {
    const settings = files[controller];
    if (settings.length === 0 && controller !== 'pids') continue;
    const place = join(folder, taskId);
    await mkdir(place, { recursive: true });
    for (const [name, value] of settings) {
      if (controller === 'pids') lateLimits.push({ file: join(place, name), value });
      else await setLimit(join(place, name), value);
    }
    entered.set(place, { enter: join(place, 'cgroup.procs'), leave: join(own, 'cgroup.procs') });
    if (controller === 'memory') oomFile = join(place, cgroups.version === 2 ? 'memory.events' : 'memory.oom_control');
  }
  return { cgroups: [...entered.values()], lateLimits, ...(oomFile && { oomFile }) };
}

/** Files and values, in the order of writing. */
export function limitFiles(version: 1 | 2, spec: TaskSpec): Record<Controller, [string, string][]> {
  const { NanoCPUs: nanoCpus, MemoryBytes: memory, Pids: pids } = spec.Resources?.Limits ?? {};
  const quota = nanoCpus && Math.max(1_000, Math.round(nanoCpus / 10_000));
  const swap = spec.Resources?.SwapBytes;
  if (version === 2) {
    return {
      cpu: quota ? [['cpu.max', `${quota} 100000`]] : [],
      memory: [
        ...(memory ? [['memory.max', String(memory)] as [string, string]] : []),
        ...(swap !== undefined && swap >= 0 ? [['memory.swap.max', String(swap)] as [string, string]] : []),
      ],
      pids: pids ? [['pids.max', String(pids)]] : [],
    };
  }
  return {
    cpu: quota ? [['cpu.cfs_quota_us', String(quota)]] : [],
    memory: memory ? [['memory.limit_in_bytes', String(memory)]] : [],
    pids: pids ? [['pids.max', String(pids)]] : [],
  };
}

async function setLimit(path: string, value: string): Promise<void> {
  await writeFile(path, value).catch((error: unknown) => {
    throw new RuntimeError(`the limit ${value} cannot be set: ${messageOf(error)}`, { permanent: true, cause: error });
  });
}

/** Every process in the task's cgroups. */
export async function processesIn(prepared: Prepared): Promise<number[]> {
  const lists = await Promise.all(prepared.cgroups.map(({ enter }) => readFile(enter, 'utf8').catch(() => '')));
  return [...new Set(lists.flatMap((list) => list.split('\n').filter(Boolean).map(Number)))];
}

/** They are empty by then; a busy one is tried again by the next removal of the same task, or left. */
export async function removeCgroups(prepared: Prepared): Promise<void> {
  for (const { enter } of prepared.cgroups) await rmdir(join(enter, '..')).catch(() => {});
}

/** Our folders, when they are empty. In version 2 they stay: made anew, they would lack their controllers. */
export async function releaseCgroups({ version, places }: Cgroups): Promise<void> {
  if (version === 2) return;
  for (const { folder } of places.values()) await rmdir(folder).catch(() => {});
}
