import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from '../kit/eventually.ts';
import { Authority, type Certificate } from './certificates.ts';
import { KvClient, type Where } from './kv-client.ts';
import type { KvSettings } from './kv-server.ts';

// Members of one raft cluster, each a process.

const program = fileURLToPath(new URL('kv-server.ts', import.meta.url));

export interface Place {
  /** The address of its machine. */
  readonly ip: string;
  readonly port: number;
  /** A port on 127.0.0.1 for clients; a unix socket when absent. */
  readonly clientPort?: number;
  /** Starts programs on its machine. */
  readonly spawn?: (program: string, args: readonly string[], options: SpawnOptions) => ChildProcess;
}

export interface KvMember {
  readonly id: number;
  readonly place: Place;
  readonly where: Where;
  readonly client: KvClient;
  readonly dir: string;
  readonly certificate: Certificate;
  process: ChildProcess | undefined;
}

export interface Status {
  readonly id: number;
  readonly role: string;
  readonly leader: number;
  readonly term: number;
  readonly commit: number;
  readonly applied: number;
  /** Of the event loop, since the last reset. */
  readonly slowestMs: number;
  readonly hash: string;
}

export class KvCluster {
  readonly folder = mkdtempSync(join(tmpdir(), 'raft-kv-'));
  readonly members: readonly KvMember[];
  readonly #options: Pick<KvSettings, 'reads' | 'staleReads' | 'snapshotEntries' | 'verbose'>;

  private constructor(places: readonly Place[], options: KvCluster['options']) {
    this.#options = options;
    const authority = new Authority(join(this.folder, 'tls'));
    this.members = places.map((place, i) => {
      const id = i + 1;
      const dir = join(this.folder, `member-${id}`);
      mkdirSync(dir);
      const where: Where = place.clientPort
        ? { host: '127.0.0.1', port: place.clientPort }
        : { socketPath: join(dir, 'clients.sock') };
      const certificate = authority.issue(id, place.ip);
      return { id, place, where, dir, certificate, client: new KvClient(where), process: undefined };
    });
  }

  get options(): Pick<KvSettings, 'reads' | 'staleReads' | 'snapshotEntries' | 'verbose'> {
    return this.#options;
  }

  /** The first is the cluster; the others join it one by one. */
  static async form(places: readonly Place[], options: KvCluster['options'] = {}): Promise<KvCluster> {
    const cluster = new KvCluster(places, options);
    try {
      const [first, ...others] = cluster.members as [KvMember, ...KvMember[]];
      await cluster.start(first, 'bootstrap');
      await cluster.leader();
      for (const member of others) {
        await cluster.start(member, 'join');
        const address = Buffer.from(`${member.place.ip}:${member.place.port}`).toString('base64');
        await first.client.call('/members/add', { id: member.id, address });
      }
      return cluster;
    } catch (error) {
      const log = cluster.log();
      await cluster.stop();
      throw new Error(`${String(error)}\n${log}`, { cause: error });
    }
  }

  async start(member: KvMember, start: KvSettings['start'] = 'restart'): Promise<void> {
    const { place, dir, id, certificate } = member;
    if ('socketPath' in member.where) rmSync(member.where.socketPath, { force: true });
    const settings: KvSettings = {
      id,
      dir: join(dir, 'raft'),
      start,
      address: `${place.ip}:${place.port}`,
      clients: 'socketPath' in member.where ? member.where.socketPath : member.where.port,
      tls: certificate.pem,
      ...this.#options,
    };
    const log = openSync(join(dir, 'log'), 'a');
    const run = place.spawn ?? spawn;
    const env = { ...process.env, UV_THREADPOOL_SIZE: '16' };
    const child = run(process.execPath, ['--import', 'tsx', program, JSON.stringify(settings)], {
      stdio: ['ignore', 'pipe', log],
      env,
    });
    member.process = child;
    await new Promise<void>((resolve, reject) => {
      child.stdout?.once('data', () => resolve());
      child.once('exit', (code) => reject(new Error(`member ${id} ended with ${code}:\n${this.log(member)}`)));
    });
  }

  /** kill -9, and waits for the end. */
  async kill(member: KvMember): Promise<void> {
    const child = member.process;
    member.process = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGKILL');
    await ended;
  }

  status(member: KvMember, reset = false): Promise<Status> {
    return member.client.call('/status', { reset }, 1_000) as Promise<Status>;
  }

  /** Waits for one that leads. */
  leader(timeoutMs = 20_000): Promise<KvMember> {
    const leader = async () => {
      const up = this.members.filter((member) => member.process);
      const states = await Promise.all(up.map((member) => this.status(member).catch(() => undefined)));
      const leading = states.filter((one) => one?.role === 'leader').sort((a, b) => (b?.term ?? 0) - (a?.term ?? 0))[0];
      return this.members.find(({ id }) => id === leading?.id);
    };
    return eventually('a leader', leader, { timeoutMs, everyMs: 20, hint: () => this.log() });
  }

  log(...members: KvMember[]): string {
    return (members.length > 0 ? members : this.members)
      .map(({ id, dir }) => {
        try {
          return `--- member ${id}\n${readFileSync(join(dir, 'log'), 'utf8').split('\n').slice(-60).join('\n')}`;
        } catch {
          return `--- member ${id}: no log`;
        }
      })
      .join('\n');
  }

  async stop(): Promise<void> {
    for (const member of this.members) {
      await this.kill(member);
      member.client.close();
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
