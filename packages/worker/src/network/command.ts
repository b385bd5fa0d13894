import { execFile } from 'node:child_process';
import { ClusterError } from '@swarmctl/shared/kit';

// Runs the tools of the system's network: found where root's are, speaking plain English, and not for ever.

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export type RunCommand = (program: string, args: readonly string[]) => Promise<CommandResult>;

const timeoutMs = 30_000;

/** Rejects when the program is missing or hangs; an exit code other than 0 is an answer. */
export const runCommand: RunCommand = (program, args) =>
  new Promise((resolve, reject) => {
    const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`, LC_ALL: 'C' };
    const options = { env, timeout: timeoutMs, maxBuffer: 512 * 1024 * 1024, windowsHide: true };
    execFile(program, [...args], options, (error, stdout, stderr) => {
      if (!error) return resolve({ code: 0, stdout, stderr });
      if (typeof error.code === 'number') return resolve({ code: error.code, stdout, stderr });
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      const why = missing
        ? 'is not installed'
        : error.killed
          ? `did not end within ${timeoutMs / 1_000} s`
          : error.message;
      reject(new ClusterError('unavailable', `${program} ${why}`, { missing }, error));
    });
  });
