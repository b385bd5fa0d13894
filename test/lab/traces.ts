import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type Process, processes, processesMarked } from './processes.ts';
import { cgroupOf, folderOf, markOf, namespaceOf } from './state.ts';

// What a lab leaves to be seen on this machine: for tests that want nothing left.

export interface Traces {
  readonly namespaces: readonly string[];
  readonly processes: readonly string[];
  readonly mounts: readonly string[];
  readonly cgroups: readonly string[];
  readonly folders: readonly string[];
  /** Of this machine itself, all of them. */
  readonly links: readonly string[];
  readonly tables: readonly string[];
}

export const noTraces = { namespaces: [], processes: [], mounts: [], cgroups: [], folders: [] };

export function tracesOf(lab: string): Traces {
  const prefix = namespaceOf(lab, '');
  const folder = folderOf(lab);
  const marked = new Set(processesMarked(markOf(lab)).map(({ pid }) => pid));
  return {
    namespaces: (existsSync('/run/netns') ? readdirSync('/run/netns') : []).filter((name) => name.startsWith(prefix)),
    processes: processes()
      .filter(({ pid, args }) => marked.has(pid) || args.some((word) => word.includes(folder)))
      .map(({ pid, args }) => `${pid} ${args.join(' ')}`),
    mounts: lines(readFileSync('/proc/self/mounts', 'utf8')).filter(
      (line) => line.includes(prefix) || line.includes(folder),
    ),
    cgroups: cgroupFolders().filter((path) => basename(path).startsWith(prefix)),
    folders: existsSync(folder) ? [folder] : [],
    links: output('ip', '-br', 'link'),
    tables: output('nft', 'list', 'tables'),
  };
}

/** Those of a machine's containers. */
export function containerProcesses(lab: string, machine: string): Process[] {
  const own = `/${cgroupOf(lab, machine)}/`;
  return processes().filter(({ pid }) => {
    const path = `/proc/${pid}/cgroup`;
    return existsSync(path) && readFileSync(path, 'utf8').includes(own);
  });
}

function cgroupFolders(): string[] {
  const root = '/sys/fs/cgroup';
  const below = (folder: string) =>
    readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => join(folder, name));
  return below(root).flatMap((hierarchy) => [hierarchy, ...below(hierarchy)]);
}

const lines = (text: string) => text.trim().split('\n').filter(Boolean);

function output(program: string, ...args: string[]): string[] {
  return lines(spawnSync(program, args, { encoding: 'utf8' }).stdout);
}
