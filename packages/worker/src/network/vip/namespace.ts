import { spawn } from 'node:child_process';
import { type FileHandle, open, readlink } from 'node:fs/promises';
import { ClusterError } from '@swarmctl/shared/kit';
import type { CommandResult } from '../command.ts';

// Programs run in the network of a container. Its process may end at any time and another get its number, so what was opened is compared with
// what it was at first.

const timeoutMs = 30_000;

export class ContainerNamespace {
  readonly #path: string;
  readonly #name: string;

  private constructor(path: string, name: string) {
    this.#path = path;
    this.#name = name;
  }

  /** Undefined when there is no such process, or none with a network of its own. */
  static async of(pid: number): Promise<ContainerNamespace | undefined> {
    const path = `/proc/${pid}/ns/net`;
    try {
      const [name, own] = await Promise.all([readlink(path), readlink('/proc/self/ns/net')]);
      return name === own ? undefined : new ContainerNamespace(path, name);
    } catch {
      return undefined;
    }
  }

  /** Its file, to be closed; undefined when the container has ended. */
  async open(): Promise<FileHandle | undefined> {
    let file: FileHandle | undefined;
    try {
      file = await open(this.#path);
      if ((await readlink(`/proc/self/fd/${file.fd}`)) === this.#name) return file;
    } catch (error) {
      if (!['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) {
        await file?.close();
        throw error;
      }
    }
    await file?.close();
    return undefined;
  }

  /** Undefined when the container has ended. */
  async run(program: string, ...args: string[]): Promise<CommandResult | undefined> {
    const file = await this.open();
    if (!file) return undefined;
    try {
      return await runIn(file, program, args);
    } finally {
      await file.close();
    }
  }
}

function runIn(file: FileHandle, program: string, args: readonly string[]): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`, LC_ALL: 'C' };
    // The file is the third that the child has.
    const child = spawn('nsenter', ['--net=/proc/self/fd/3', program, ...args], {
      ...{ env, timeout: timeoutMs, killSignal: 'SIGKILL' },
      stdio: ['ignore', 'pipe', 'pipe', file.fd],
    });
    const [out, err]: [Buffer[], Buffer[]] = [[], []];
    child.stdout?.on('data', (chunk) => out.push(chunk));
    child.stderr?.on('data', (chunk) => err.push(chunk));
    child.once('error', (error) => reject(new ClusterError('unavailable', `nsenter: ${error.message}`, {}, error)));
    child.once('close', (code) =>
      resolve({ code: code ?? -1, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }),
    );
  });
}
