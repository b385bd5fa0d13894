import { randomUUID } from 'node:crypto';
import { link, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { named } from './file-system.ts';
import { WalError } from './wal-error.ts';

// One process at a time has a member's folder. The lock names its owner by boot, pid and start time of the process, so
// that one left by a crash, a reboot or a reused pid is told from a live one.

export interface Owner {
  readonly pid: number;
  readonly bootId: string;
  readonly startTime: string;
}

export interface FolderLock {
  release(): Promise<void>;
}

const attempts = 5;

export async function lockFolder(dir: string): Promise<FolderLock> {
  const path = join(dir, 'LOCK');
  const mine = JSON.stringify(await ownerOf(process.pid));
  for (let attempt = 0; attempt < attempts; attempt++) {
    if (await tryLink(dir, path, mine)) return { release: () => unlinkIfThere(path) };
    const theirs = await readIfThere(path);
    if (theirs === undefined) continue;
    const owner = parseOwner(theirs);
    if (owner !== undefined && (await isAlive(owner))) {
      throw new WalError('locked', `${dir} is in use by process ${owner.pid}`, { dir, pid: owner.pid });
    }
    await moveAway(path, theirs);
  }
  throw new WalError('locked', `${dir} cannot be locked: others keep trying as well`, { dir });
}

/** Linking is atomic and fails where a lock is, and what is linked is whole. */
async function tryLink(dir: string, path: string, content: string): Promise<boolean> {
  const temporary = join(dir, `LOCK.${randomUUID()}`);
  try {
    await named(temporary, () => writeFile(temporary, content, { mode: 0o600, flag: 'wx' }));
    await link(temporary, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await unlinkIfThere(temporary);
  }
}

/** Another process may have put a fresh lock in the stale one's place meanwhile: then it is put back. */
async function moveAway(path: string, stale: string): Promise<void> {
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if ((await readFile(aside, 'utf8')) !== stale) await link(aside, path).catch(() => {});
  await unlinkIfThere(aside);
}

function parseOwner(text: string): Owner | undefined {
  try {
    const { pid, bootId, startTime } = JSON.parse(text) as Partial<Owner>;
    if (typeof pid === 'number' && typeof bootId === 'string' && typeof startTime === 'string') {
      return { pid, bootId, startTime };
    }
  } catch {
    // Not written by this code, or damaged.
  }
  return undefined;
}

async function ownerOf(pid: number): Promise<Owner> {
  const [boot, stat] = await Promise.all([
    readIfThere('/proc/sys/kernel/random/boot_id'),
    readIfThere(`/proc/${pid}/stat`),
  ]);
  // The name of the program, in parentheses, may contain blanks; the start time is the 20th field behind it.
  const startTime = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  return { pid, bootId: boot?.trim() ?? '', startTime };
}

async function isAlive(owner: Owner): Promise<boolean> {
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  if (await isZombie(owner.pid)) return false;
  const now = await ownerOf(owner.pid);
  return now.bootId === owner.bootId && now.startTime === owner.startTime;
}

/** It has ended with all its threads, and only its parent has not asked how. */
async function isZombie(pid: number): Promise<boolean> {
  const status = (await readIfThere(`/proc/${pid}/status`)) ?? '';
  return /^State:\tZ/m.test(status) && /^Threads:\t1$/m.test(status);
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return undefined;
  }
}

async function unlinkIfThere(path: string): Promise<void> {
  await unlink(path).catch(() => {});
}
