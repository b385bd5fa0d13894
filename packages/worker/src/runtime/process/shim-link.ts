import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { type Clock, ifLate, inTime } from '@swarmctl/shared/kit';
import { RuntimeError } from '../types.ts';
import { controlSocket } from './task-folder.ts';

// The daemon's side of a shim: starting one, and the line to a running one. An open line is also how its end is noticed.

const shimFile = fileURLToPath(new URL('../../../bin/shim.mjs', import.meta.url));
const startTimeoutMs = 15_000;

/** Starts the shim of a prepared task and waits until the command runs. Throws RuntimeError when it does not. */
export async function startShim(folder: string, clock: Clock): Promise<void> {
  const log = openSync(join(folder, 'shim.log'), 'a', 0o600);
  const child = spawn(process.execPath, ['--max-semi-space-size=1', shimFile, folder], {
    // Seen in `ps`.
    argv0: 'swarmd-shim',
    cwd: '/',
    env: {},
    detached: true,
    stdio: ['ignore', log, log, 'pipe'],
  });
  closeSync(log);
  try {
    const limit = { what: 'the start of the shim', ms: startTimeoutMs };
    const line = await inTime(clock, limit, () => firstLine(child)).catch(ifLate(undefined));
    if (line === undefined) throw new RuntimeError(`the shim did not start: ${tail(join(folder, 'shim.log'))}`);
    const { error, permanent } = JSON.parse(line) as { error?: string; permanent?: boolean };
    if (error !== undefined) throw new RuntimeError(error, { permanent: permanent ?? false });
  } finally {
    child.stdio[3]?.destroy();
    child.unref();
  }
}

function firstLine(child: ChildProcess): Promise<string | undefined> {
  return new Promise((resolve) => {
    const pipe = child.stdio[3] as Readable;
    let text = '';
    pipe.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n')));
    });
    pipe.once('close', () => resolve(undefined));
    pipe.once('error', () => resolve(undefined));
    child.once('error', () => resolve(undefined));
  });
}

const tail = (path: string): string => readFileSync(path, 'utf8').trim().split('\n').slice(-3).join('; ') || 'no word';

export interface ShimReport {
  readonly pid?: number;
  readonly health?: 'starting' | 'healthy' | 'unhealthy';
}

export class ShimLink {
  readonly #socket: Socket;
  #health: ShimReport['health'];
  #closed = false;
  readonly closed: Promise<void>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#closed = true;
        resolve();
      });
    });
  }

  /** Undefined when nobody listens there. Resolves after the shim's first report. */
  static async open(folder: string, changed: () => void): Promise<ShimLink | undefined> {
    const socket = await connectIn(folder);
    if (!socket) return undefined;
    const link = new ShimLink(socket);
    const first = new Promise<void>((resolve) => {
      let rest = '';
      socket.setEncoding('utf8');
      socket.on('data', (text: string) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) {
          const report = JSON.parse(line) as ShimReport;
          if (report.health) link.#health = report.health;
          if (report.pid === undefined) changed();
          else resolve();
        }
      });
    });
    socket.on('error', () => {});
    void link.closed.then(changed);
    await Promise.race([first, link.closed]);
    return link.#closed ? undefined : link;
  }

  get health(): ShimReport['health'] {
    return this.#health;
  }

  signal(signal: string): void {
    if (!this.#closed) this.#socket.write(`${JSON.stringify({ signal })}\n`);
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** The open lines of this daemon, one a task. */
export class ShimLinks {
  readonly #folderOf: (taskId: string) => string;
  readonly #changed: (taskId: string) => void;
  readonly #links = new Map<string, Promise<ShimLink | undefined>>();
  #closed = false;

  constructor(folderOf: (taskId: string) => string, changed: (taskId: string) => void) {
    this.#folderOf = folderOf;
    this.#changed = changed;
  }

  /** Opens it if need be; undefined when no shim listens. */
  async get(taskId: string): Promise<ShimLink | undefined> {
    if (this.#closed) return undefined;
    const known = this.#links.get(taskId);
    if (known) return known;
    const opening = ShimLink.open(this.#folderOf(taskId), () => this.#changed(taskId));
    this.#links.set(taskId, opening);
    const forget = () => {
      if (this.#links.get(taskId) === opening) this.#links.delete(taskId);
    };
    const link = await opening;
    if (link) void link.closed.then(forget);
    else forget();
    return link;
  }

  async drop(taskId: string): Promise<void> {
    (await this.#links.get(taskId))?.close();
    this.#links.delete(taskId);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const taskId of [...this.#links.keys()]) await this.drop(taskId);
  }
}

/** Through an open folder's descriptor: socket paths end at 107 bytes, data folders need not. */
function connectIn(folder: string): Promise<Socket | undefined> {
  let fd: number;
  try {
    fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch {
    return Promise.resolve(undefined);
  }
  return new Promise((resolve) => {
    const socket = connect(`/proc/self/fd/${fd}/${controlSocket}`);
    const done = (result: Socket | undefined) => {
      closeSync(fd);
      socket.removeAllListeners();
      resolve(result);
    };
    socket.once('connect', () => done(socket));
    socket.once('error', () => done(undefined));
  });
}
