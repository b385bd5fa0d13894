import { chmodSync, linkSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClusterError, messageOf } from '@swarmctl/shared/kit';
import { readIfThere } from './files.ts';

// The folder of everything that a node keeps: private, and of one daemon at a time.

export interface DataDir {
  readonly path: string;
  release(): void;
}

/** Whose lock it is: one left by a crash, a reboot or a pid that was given anew is told from a live one. */
interface Owner {
  readonly pid: number;
  readonly boot: string;
  readonly start: string;
}

const lockName = 'swarmd.lock';
const attempts = 5;

/** Makes the folder if it is not there, and locks it. Throws ClusterError with what is wrong. */
export function openDataDir(path: string): DataDir {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    chmodSync(path, 0o700);
  } catch (error) {
    throw new ClusterError('invalid-argument', `cannot use the data folder ${path}: ${messageOf(error)}`);
  }
  const lock = join(path, lockName);
  const mine = JSON.stringify(ownerOf(process.pid));
  for (let attempt = 0; attempt < attempts; attempt++) {
    if (tryLink(lock, mine)) {
      return {
        path,
        release: () => {
          if (readIfThere(lock) === mine) rmSync(lock, { force: true });
        },
      };
    }
    const theirs = readIfThere(lock);
    if (theirs === undefined) continue;
    const owner = parseOwner(theirs);
    if (owner && isAlive(owner)) {
      throw new ClusterError(
        'unavailable',
        `the data folder ${path} is in use by another swarmd (pid ${owner.pid}): give each its own with --data-dir`,
      );
    }
    moveAway(lock, theirs);
  }
  throw new ClusterError('unavailable', `the data folder ${path} cannot be locked: others keep trying as well`);
}

/** Linking is atomic and fails where a lock is; what is linked is whole. */
function tryLink(lock: string, content: string): boolean {
  const beside = `${lock}.${process.pid}`;
  writeFileSync(beside, content, { mode: 0o600 });
  try {
    linkSync(beside, lock);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(beside, { force: true });
  }
}

/** Another daemon may have put a fresh lock in the stale one's place meanwhile: then it is put back. */
function moveAway(lock: string, stale: string): void {
  const aside = `${lock}.stale.${process.pid}`;
  try {
    renameSync(lock, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (readIfThere(aside) !== stale) tryRestore(aside, lock);
  rmSync(aside, { force: true });
}

function tryRestore(aside: string, lock: string): void {
  try {
    linkSync(aside, lock);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

function parseOwner(text: string): Owner | undefined {
  try {
    const { pid, boot, start } = JSON.parse(text) as Partial<Owner>;
    if (typeof pid === 'number' && typeof boot === 'string' && typeof start === 'string') return { pid, boot, start };
  } catch {
    // Not written by this code, or damaged: nobody's.
  }
  return undefined;
}

function ownerOf(pid: number): Owner {
  const boot = readIfThere('/proc/sys/kernel/random/boot_id')?.trim() ?? '';
  const stat = statOf(pid) ?? '';
  // The name of the program, in parentheses, may contain blanks; the start time is the 20th field behind it.
  return { pid, boot, start: stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '' };
}

function statOf(pid: number, file = 'stat'): string | undefined {
  try {
    return readIfThere(`/proc/${pid}/${file}`);
  } catch {
    // It ended while it was read.
    return undefined;
  }
}

function isAlive(owner: Owner): boolean {
  const now = ownerOf(owner.pid);
  return !isZombie(owner.pid) && owner.start !== '' && now.boot === owner.boot && now.start === owner.start;
}

/** It has ended with all its threads, and only its parent has not asked how. */
function isZombie(pid: number): boolean {
  const status = statOf(pid, 'status') ?? '';
  return /^State:\tZ/m.test(status) && /^Threads:\t1$/m.test(status);
}
