import { readdirSync, rmdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Docker from 'dockerode';
import { buildImages } from '../kit/engine.ts';
import type { Machine } from './machine.ts';
import { Program } from './program.ts';
import { cgroupOf } from './state.ts';

// The Docker engine of a host. What it keeps is in the host's folder; what it runs is in the host's /run, and in cgroups below one that is named
// after the host.

export class Engine extends Program {
  readonly socket: string;
  readonly docker: Docker;

  constructor(machine: Machine, number: number) {
    const { folder, lab, name } = machine;
    const socket = join(folder, 'docker.sock');
    const docker = new Docker({ socketPath: socket });
    const config = join(folder, 'dockerd.json');
    super(machine, {
      name: 'dockerd',
      log: join(folder, 'dockerd.log'),
      // In a small pid namespace an old pid is soon another's.
      prepare: `echo '{}' >${config}; rm -f /run/docker.pid /run/docker/containerd/containerd.pid`,
      command: [
        'dockerd',
        ...['--config-file', config, '--data-root', join(folder, 'docker'), '--exec-root', '/run/docker'],
        ...['--pidfile', '/run/docker.pid', '--host', `unix://${socket}`, '--bip', `10.78.${number}.1/24`],
        ...['--exec-opt', 'native.cgroupdriver=cgroupfs', '--cgroup-parent', `/${cgroupOf(lab, name)}`],
        ...['--shutdown-timeout', '1', '--log-level', 'warn'],
      ],
      ready: () => docker.ping().then(Boolean),
      owns: ([program = '']) => ['dockerd', 'containerd'].includes(basename(program)),
    });
    this.socket = socket;
    this.docker = docker;
  }

  get dockerHost(): string {
    return `unix://${this.socket}`;
  }

  /** The test images, from one archive for all. */
  loadImages(): Promise<void> {
    return buildImages(this.socket);
  }
}

/** Of containers that have ended; in all hierarchies. */
export async function removeCgroups(names: readonly string[]): Promise<void> {
  const root = '/sys/fs/cgroup';
  const folders = [root, ...subfolders(root)].flatMap((hierarchy) => names.map((name) => join(hierarchy, name)));
  for (const folder of folders) await removeCgroup(folder);
}

async function removeCgroup(folder: string): Promise<void> {
  for (const child of subfolders(folder)) await removeCgroup(child);
  const deadline = Date.now() + 5_000;
  for (;;) {
    try {
      rmdirSync(folder);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return;
      // The kernel takes a moment to forget the last process.
      if (code !== 'EBUSY' || Date.now() > deadline) throw error;
      await sleep(10);
    }
  }
}

function subfolders(folder: string): string[] {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(folder, name));
}
