import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type Clock, ClusterError, delay } from '@swarmctl/shared/kit';
import { type CommandResult, runCommand } from '../command.ts';
import { certificateCheck, configFile } from './config.ts';

// A HAProxy of our own: its master outlives this daemon, and is found again by its socket. It takes a new configuration by a reload, which
// starts a new worker with the sockets of the one before, which goes on to the end of its connections.

/** The process that takes the connections. */
export interface Worker {
  readonly pid: number;
}

interface Processes {
  readonly master: number;
  readonly workers: readonly Worker[];
  readonly failedReloads: number;
}

const socketName = 'master.sock';
const errorFile = 'haproxy.log';
const checkFile = 'check.cfg';
const pollMs = 20;
const startMs = 15_000;
const commandMs = 10_000;
/** HAProxy takes no longer line. */
const mostCommand = 8_000;
const least = [2, 6] as const;

/** Why there is no HAProxy on this machine that will do; undefined: there is. */
export async function whyNoHaproxy(): Promise<string | undefined> {
  try {
    const { stdout } = await runCommand('haproxy', ['-v']);
    const [, major, minor] = /version (\d+)\.(\d+)/.exec(stdout) ?? [];
    const [version, wanted] = [Number(major) * 1_000 + Number(minor), least[0] * 1_000 + least[1]];
    if (version >= wanted) return undefined;
    return `HAProxy ${major}.${minor} is too old; ${least.join('.')} or later is needed`;
  } catch {
    return `this machine has no haproxy, which answers on ports of HTTP; install version ${least.join('.')} or later`;
  }
}

export class Haproxy {
  readonly #folder: string;
  readonly #clock: Clock;
  readonly #onExit: () => void;

  constructor(folder: string, clock: Clock, onExit: () => void) {
    this.#folder = folder;
    this.#clock = clock;
    this.#onExit = onExit;
  }

  /** Without those that were replaced; none: it does not run. */
  async workers(): Promise<readonly Worker[]> {
    return (await this.#processes())?.workers ?? [];
  }

  /** Starts it with the configuration in its folder. */
  async start(): Promise<void> {
    const log = await open(join(this.#folder, errorFile), 'a', 0o600);
    let child: ChildProcess;
    try {
      child = spawn('haproxy', ['-W', '-S', `unix@${socketName},mode,600`, '-f', configFile], {
        cwd: this.#folder,
        detached: true,
        stdio: ['ignore', log.fd, log.fd],
        env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
      });
      await once(child, 'spawn');
    } finally {
      await log.close();
    }
    child.unref();
    child.once('exit', this.#onExit);
    await this.#until(
      ({ workers }) => workers.length > 0,
      () => child.exitCode !== null || child.signalCode !== null,
    );
  }

  /** Has it take the configuration in its folder. Rejects when that is wrong; then it goes on with the one before. */
  async reload(): Promise<void> {
    const { code, stderr } = await this.#check(configFile);
    if (code !== 0) throw failed(stderr);
    const before = await this.#processes();
    const known = new Set(before?.workers.map(({ pid }) => pid));
    let hasFailed = false;
    await this.#forgetLog();
    await this.#ask('reload').catch(() => undefined);
    await this.#until(
      ({ workers, failedReloads }) => {
        hasFailed = failedReloads > (before?.failedReloads ?? 0);
        return hasFailed || workers.some(({ pid }) => !known.has(pid));
      },
      () => false,
    );
    if (hasFailed) throw failed(await this.#log());
  }

  /** Whether it would serve with this file of its folder: what its OpenSSL thinks too weak, others may take. */
  async takesCertificate(name: string): Promise<boolean> {
    await writeFile(join(this.#folder, checkFile), certificateCheck(name), { mode: 0o600 });
    const { code } = await this.#check(checkFile);
    return code === 0;
  }

  #check(config: string): Promise<CommandResult> {
    return runCommand('sh', ['-c', 'cd "$0" && exec haproxy -c -f "$1"', this.#folder, config]);
  }

  /** Runs commands in a worker and gives back what it said, line by line. */
  async run({ pid }: Worker, commands: readonly string[]): Promise<string[]> {
    const said: string[] = [];
    for (let at = 0; at < commands.length; ) {
      let line = '';
      for (; at < commands.length && line.length < mostCommand; at++) line += `${line && ';'}@!${pid} ${commands[at]}`;
      said.push(...(await this.#ask(line)).split('\n').filter((one) => one !== ''));
    }
    // It writes a line for each, which nobody reads.
    await this.#forgetLog();
    return said;
  }

  /** It takes no new connections, goes on to the end of those that it has, and is not found any more. */
  async stop(): Promise<void> {
    const processes = await this.#processes();
    if (!processes) return;
    await rm(join(this.#folder, socketName), { force: true });
    process.kill(processes.master, 'SIGUSR1');
  }

  async #processes(): Promise<Processes | undefined> {
    const said = await this.#ask('show proc').catch(() => undefined);
    if (said === undefined) return undefined;
    const [all = ''] = said.split('# old workers');
    const master = /^(\d+)\s+master\s/m.exec(all)?.[1];
    if (master === undefined) return undefined;
    return {
      master: Number(master),
      workers: [...all.matchAll(/^(\d+)\s+worker\s/gm)].map(([, pid]) => ({ pid: Number(pid) })),
      failedReloads: Number(/failed: (\d+)/.exec(all)?.[1] ?? 0),
    };
  }

  async #until(isDone: (processes: Processes) => boolean, hasEnded: () => boolean): Promise<void> {
    const end = this.#clock.monotonic() + startMs;
    for (;;) {
      const processes = await this.#processes();
      if (processes && isDone(processes)) return;
      if (hasEnded() || this.#clock.monotonic() > end) throw failed(await this.#log());
      await delay(this.#clock, pollMs);
    }
  }

  #forgetLog(): Promise<void> {
    return truncate(join(this.#folder, errorFile)).catch(() => undefined);
  }

  #log(): Promise<string> {
    return readFile(join(this.#folder, errorFile), 'utf8').catch(() => '');
  }

  #ask(line: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect({ path: join(this.#folder, socketName) });
      let said = '';
      const timer = this.#clock.after(commandMs, () => socket.destroy(new Error('HAProxy does not answer')));
      socket.setEncoding('utf8');
      socket.on('data', (text: string) => {
        said += text;
      });
      socket.once('error', reject);
      socket.once('close', () => {
        timer.cancel();
        resolve(said);
      });
      // It answers, and then ends as well.
      socket.end(`${line}\n`);
    });
  }
}

function failed(text: string): ClusterError {
  const alert = text
    .split('\n')
    .filter((line) => line.includes('[ALERT]'))
    .map((line) => line.replace(/^.*?: /, ''))
    .slice(0, 3)
    .join('; ');
  return new ClusterError(
    'unavailable',
    `HAProxy cannot do what is wanted: ${alert || text.trim().slice(-300) || 'it has ended'}`,
  );
}
