import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { removeCgroups } from './engine.ts';
import { endAll, isAlive, processesIn, processesMarked } from './processes.ts';
import { run } from './run.ts';
import { findState, folderOf, type LabState, markOf } from './state.ts';

// Removes what a lab's state names, whichever part of it there is. The folder goes last, so that a removal that was cut short can be repeated.

/** True if there was something. */
export async function remove(lab: string): Promise<boolean> {
  const folder = folderOf(lab);
  if (!existsSync(folder)) return false;
  const state = findState(lab);
  if (state) await removeMade(state);
  for (const path of mountsUnder(folder)) spawnSync('umount', ['-l', path]);
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  return true;
}

async function removeMade({ name, namespaces, cgroups, maker }: LabState): Promise<void> {
  // It would go on making.
  if (maker && maker.pid !== process.pid) await endAll(() => [maker].filter(isAlive));
  await endAll(() => [...processesIn(namespaces), ...processesMarked(markOf(name))]);
  for (const namespace of namespaces) {
    const path = `/run/netns/${namespace}`;
    if (existsSync(path)) await run('ip', ['netns', 'del', namespace]).catch(() => rmSync(path, { force: true }));
  }
  await removeCgroups(cgroups);
}

function mountsUnder(folder: string): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(`${folder}/`))
    .reverse();
}
