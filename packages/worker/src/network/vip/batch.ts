import { spawn } from 'node:child_process';
import { type FileHandle, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterError } from '@swarmctl/shared/kit';
import type { CommandResult } from '../command.ts';
import type { ContainerNamespace } from './namespace.ts';

// Work in the networks of many containers at once: one program enters them all side by side. What takes time there is mostly the kernel's
// waiting, and starting programs one by one from here.

export interface Job {
  readonly namespace: Pick<ContainerNamespace, 'open'>;
  /** For `sh`, in the container's network. */
  readonly script: string;
  /** A file that it finds beside itself, by the name `$1`. */
  readonly text?: string;
}

interface Waiting {
  readonly job: Job;
  readonly resolve: (result: CommandResult | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** Networks entered by one program, and such programs at a time. */
const mostJobs = 64;
const mostPrograms = 2;
const timeoutMs = 30_000;

export class NamespaceBatch {
  readonly #waiting: Waiting[] = [];
  #programs = 0;
  #isSoon = false;

  /** What it came to; undefined when the container has ended. Rejects when it cannot be run. */
  run(job: Job): Promise<CommandResult | undefined> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ job, resolve, reject });
      this.#startSoon();
    });
  }

  /** After whatever else asks in this turn of the loop. */
  #startSoon(): void {
    if (this.#isSoon) return;
    this.#isSoon = true;
    setImmediate(() => {
      this.#isSoon = false;
      while (this.#waiting.length > 0 && this.#programs < mostPrograms) void this.#start();
    });
  }

  async #start(): Promise<void> {
    const taken = this.#waiting.splice(0, mostJobs);
    this.#programs++;
    const files: FileHandle[] = [];
    try {
      const open: Waiting[] = [];
      for (const one of taken) {
        const file = await one.job.namespace.open().catch(one.reject);
        if (!file) one.resolve(undefined);
        else {
          files.push(file);
          open.push(one);
        }
      }
      if (open.length > 0) await runAll(open, files);
    } catch (error) {
      for (const { reject } of taken) reject(error);
    } finally {
      this.#programs--;
      await Promise.all(files.map((file) => file.close()));
      if (this.#waiting.length > 0) this.#startSoon();
    }
  }
}

/** The first three files of a program are its own. */
const firstFile = 3;

async function runAll(open: readonly Waiting[], files: readonly FileHandle[]): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'swarmd-vip-'));
  try {
    await Promise.all(
      open.flatMap(({ job: { script, text = '' } }, i) => [
        writeFile(join(folder, `${i}.sh`), script, { mode: 0o600 }),
        writeFile(join(folder, `${i}.in`), text, { mode: 0o600 }),
      ]),
    );
    await enter(folder, files);
    await Promise.all(
      open.map(async ({ resolve, reject }, i) => {
        const read = (what: string) => readFile(join(folder, `${i}.${what}`), 'utf8').catch(() => '');
        const [code, stdout, stderr] = await Promise.all([read('code'), read('out'), read('err')]);
        if (code === '')
          reject(new ClusterError('unavailable', `a container’s network took over ${timeoutMs / 1_000} s`));
        else resolve({ code: Number(code), stdout, stderr });
      }),
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function enter(folder: string, files: readonly FileHandle[]): Promise<void> {
  const one = (i: number) =>
    `{ nsenter --net=/proc/self/fd/${firstFile + i} sh ${i}.sh ${i}.in >${i}.out 2>${i}.err; echo $? >${i}.code; } &`;
  const script = [...files.keys()].map(one).join('\n');
  return new Promise((resolve, reject) => {
    const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`, LC_ALL: 'C' };
    const child = spawn('sh', ['-c', `${script}\nwait`], {
      ...{ cwd: folder, env, timeout: timeoutMs, killSignal: 'SIGKILL' },
      stdio: ['ignore', 'ignore', 'ignore', ...files.map(({ fd }) => fd)],
    });
    child.once('error', (error) => reject(new ClusterError('unavailable', `sh: ${error.message}`, {}, error)));
    child.once('close', () => resolve());
  });
}
