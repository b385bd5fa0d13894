import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Clock, ClusterError, delay, type Logger } from '@swarmctl/shared/kit';
import type { RunCommand } from '../command.ts';
import { findLink, ip } from './links.ts';
import type { DeviceChange, DeviceState, Driver } from './types.ts';
import { Uapi } from './uapi.ts';

// WireGuard by Debian's `wireguard-go`, for kernels without. The device is ours and stays when the program ends, so that nothing that is built
// on it goes, and packets wait for the next one or are lost, but never sent as they are. The program outlives this daemon; the next one finds
// it by its control socket, and the end of that connection is the program's end.

export interface UserspaceOptions {
  readonly device: string;
  readonly owner: string;
  /** Of what the program has to say; its folder is made. */
  readonly logPath: string;
}

export interface UserspaceModules {
  readonly run: RunCommand;
  readonly clock: Clock;
  readonly log: Logger;
  /** The program ended, though nobody asked it to. */
  readonly ended: () => void;
  /** Starts it; tests do so in a network namespace. */
  readonly command?: readonly string[];
}

const startMs = 5_000;
const lookMs = 20;

const socketOf = (device: string): string => `/var/run/wireguard/${device}.sock`;

export class UserspaceWireGuard implements Driver {
  readonly kind = 'userspace';
  readonly #options: UserspaceOptions;
  readonly #modules: UserspaceModules;
  #uapi: Uapi | undefined;

  constructor(options: UserspaceOptions, modules: UserspaceModules) {
    this.#options = options;
    this.#modules = modules;
  }

  async ensure(): Promise<void> {
    const { device, owner } = this.#options;
    const { run } = this.#modules;
    if (!(await findLink(run, device))) {
      // A program that serves a device of this name that is gone is of no use.
      await this.#end();
      await ip(run, 'tuntap', 'add', 'dev', device, 'mode', 'tun');
      await ip(run, 'link', 'set', 'dev', device, 'alias', owner);
      await ip(run, 'link', 'set', 'dev', device, 'addrgenmode', 'none');
    }
    if (this.#uapi && !this.#uapi.isClosed) return;
    this.#take((await this.#connect()) ?? (await this.#start()));
  }

  async read(): Promise<DeviceState> {
    return this.#connected().get();
  }

  async change(change: DeviceChange): Promise<void> {
    await this.#connected().set(change);
  }

  async remove(): Promise<void> {
    const { run } = this.#modules;
    const { device } = this.#options;
    await this.#end();
    if (await findLink(run, device)) await ip(run, 'link', 'del', 'dev', device);
  }

  release(): void {
    const uapi = this.#uapi;
    this.#uapi = undefined;
    uapi?.close();
  }

  #connected(): Uapi {
    if (!this.#uapi) throw new ClusterError('unavailable', 'wireguard-go does not run');
    return this.#uapi;
  }

  #take(uapi: Uapi): void {
    this.#uapi = uapi;
    uapi.onClose(() => {
      if (this.#uapi !== uapi) return;
      this.#uapi = undefined;
      this.#modules.ended();
    });
  }

  #connect(): Promise<Uapi | undefined> {
    return Uapi.open(socketOf(this.#options.device), this.#modules.clock).catch(() => undefined);
  }

  /** It ends when its socket is gone. */
  async #end(): Promise<void> {
    const { device } = this.#options;
    const uapi = this.#uapi ?? (await this.#connect());
    this.#uapi = undefined;
    await rm(socketOf(device), { force: true });
    if (!uapi) return;
    await new Promise<void>((resolve) => {
      const timer = this.#modules.clock.after(startMs, () => uapi.close());
      uapi.onClose(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  async #start(): Promise<Uapi> {
    const { device, logPath } = this.#options;
    const { clock, log, command = ['wireguard-go'] } = this.#modules;
    mkdirSync(dirname(logPath), { recursive: true, mode: 0o700 });
    const logFile = openSync(logPath, 'w', 0o600);
    const [program = '', ...args] = command;
    const child = spawn(program, [...args, '-f', device], {
      stdio: ['ignore', logFile, logFile],
      // In a session of its own: what ends this daemon does not end it.
      detached: true,
      env: {
        PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin`,
        LOG_LEVEL: 'error',
        WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD: '1',
      },
    });
    closeSync(logFile);
    child.unref();
    let failure: string | undefined;
    child.once('error', (error) => {
      failure = error.message;
    });
    child.once('exit', (code, signal) => {
      failure ??= `it ended with ${signal ?? `code ${code}`}`;
    });
    const end = clock.monotonic() + startMs;
    while (failure === undefined && clock.monotonic() < end) {
      const uapi = await this.#connect();
      if (uapi) {
        log.info({ device, pid: child.pid }, 'wireguard-go started');
        return uapi;
      }
      await delay(clock, lookMs);
    }
    child.kill('SIGKILL');
    const why = failure ?? `it did not answer within ${startMs / 1_000} s`;
    const output = await textOf(logPath);
    throw new ClusterError('unavailable', startProblem(why, output, (await textOf(instancesPath)).trim()));
  }
}

const textOf = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');

const instancesPath = '/proc/sys/fs/inotify/max_user_instances';

/** Why the program does not run, by what it printed. `instances`: of inotify, that a user may have. Pure. */
export function startProblem(why: string, output: string, instances: string): string {
  const words = output.trim().split('\n').at(-1);
  const problem = `wireguard-go does not run: ${words ? `${why}: ${words}` : why}`;
  // It watches its socket. The word is the kernel's for inotify instances as well as for files, of which it opens few.
  if (!/uapi socket: too many open files/.test(output)) return problem;
  return `${problem}: it needs an inotify instance, and root has all that it may have (${instances || 'unknown'}): raise sysctl fs.inotify.max_user_instances`;
}
