import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { eventually } from '../kit/eventually.ts';

// The machine's processes as /proc shows them, and the end of those that are chosen.

/** A pid alone may be given anew. */
export interface ProcessId {
  readonly pid: number;
  readonly start: string;
}

export interface Process extends ProcessId {
  readonly parent: number;
  readonly args: readonly string[];
  /** As `net:[4026531840]`; empty when it may not be read. */
  readonly netns: string;
}

/** All that have not ended. */
export function processes(): Process[] {
  return readdirSync('/proc')
    .map(Number)
    .filter(Number.isInteger)
    .flatMap((pid) => readProcess(pid) ?? []);
}

export function processId(pid: number): ProcessId {
  const found = readProcess(pid);
  if (!found) throw new Error(`process ${pid} has ended`);
  return { pid, start: found.start };
}

export const isAlive = ({ pid, start }: ProcessId): boolean => readProcess(pid)?.start === start;

/** Those in the named network namespaces. Containers have others, but end with the first process of their host. */
export function processesIn(namespaces: readonly string[]): Process[] {
  const wanted = new Set(
    namespaces.flatMap((name) => inodeOf(`/run/netns/${name}`) ?? []).map((inode) => `net:[${inode}]`),
  );
  return processes().filter(({ netns }) => wanted.has(netns));
}

/** Those that were given a variable of this value, but for this process and what it runs under. */
export function processesMarked(mark: Readonly<Record<string, string>>): Process[] {
  const wanted = Object.entries(mark).map(([name, value]) => `${name}=${value}`);
  const spared = ancestors();
  return processes().filter(({ pid }) => {
    if (spared.has(pid)) return false;
    const words = (read(`/proc/${pid}/environ`) ?? '').split('\0');
    return wanted.some((word) => words.includes(word));
  });
}

/** Kills until there are none, those that came up meanwhile too. */
export async function endAll(choose: () => readonly ProcessId[]): Promise<void> {
  for (let doomed = choose(); doomed.length > 0; doomed = choose()) {
    for (const one of doomed) kill(one);
    const alive = () => doomed.filter(isAlive).map(({ pid }) => pid);
    const patience = { timeoutMs: 15_000, everyMs: 10, hint: () => `these live: ${alive()}` };
    await eventually('processes end when killed', () => alive().length === 0, patience);
  }
}

function kill(one: ProcessId): void {
  try {
    if (isAlive(one)) process.kill(one.pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Undefined when it has ended. The first process of a pid namespace has not before all others of it have. */
function readProcess(pid: number): Process | undefined {
  const stat = read(`/proc/${pid}/stat`);
  if (!stat) return undefined;
  // The program's name, in parentheses, may contain blanks.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
  return {
    pid,
    parent: Number(fields[1]),
    start: fields[19] ?? '',
    args: (read(`/proc/${pid}/cmdline`) ?? '').split('\0').slice(0, -1),
    netns: readLink(`/proc/${pid}/ns/net`),
  };
}

function ancestors(): Set<number> {
  const found = new Set<number>();
  for (let pid = process.pid; pid > 0 && !found.has(pid); pid = readProcess(pid)?.parent ?? 0) found.add(pid);
  return found;
}

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // It ended meanwhile, or is not ours to read.
    return undefined;
  }
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
