import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '../kit/eventually.ts';
import { Authority } from './certificates.ts';
import { KvClient } from './kv-client.ts';

// Three members of etcd on this machine, each a process, with TLS between them and its own defaults otherwise.

interface EtcdMember {
  readonly id: number;
  readonly port: number;
  readonly client: KvClient;
  readonly args: readonly string[];
  process: ChildProcess | undefined;
}

export class EtcdCluster {
  readonly folder = mkdtempSync(join(tmpdir(), 'etcd-'));
  readonly members: readonly EtcdMember[];

  /** Members listen on `basePort + i` for clients and on `basePort + 10 + i` for each other. */
  constructor(basePort: number) {
    const authority = new Authority(join(this.folder, 'tls'));
    const ids = [1, 2, 3];
    const cluster = ids.map((id) => `m${id}=https://127.0.0.1:${basePort + 10 + id}`).join(',');
    this.members = ids.map((id) => {
      const { files } = authority.issue(id, '127.0.0.1');
      const [client, peer] = [`http://127.0.0.1:${basePort + id}`, `https://127.0.0.1:${basePort + 10 + id}`];
      const dir = join(this.folder, `m${id}`);
      mkdirSync(dir, { mode: 0o700 });
      const args = [
        ...['--name', `m${id}`, '--data-dir', dir, '--logger', 'zap', '--log-level', 'error'],
        ...['--listen-client-urls', client, '--advertise-client-urls', client],
        ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', cluster],
        ...['--peer-client-cert-auth', '--peer-trusted-ca-file', files.ca],
        ...['--peer-cert-file', files.cert, '--peer-key-file', files.key],
      ];
      const where = { host: '127.0.0.1', port: basePort + id };
      return { id, port: basePort + id, client: new KvClient(where), args, process: undefined };
    });
  }

  async start(): Promise<void> {
    for (const member of this.members) this.run(member);
    await this.leader();
  }

  run(member: EtcdMember): void {
    const log = openSync(join(this.folder, `m${member.id}.log`), 'a');
    // A packaged etcd refuses machines that it was not tried on.
    const env = { ...process.env, ETCD_UNSUPPORTED_ARCH: process.arch };
    member.process = spawn('etcd', member.args, { stdio: ['ignore', log, log], env });
  }

  leader(): Promise<EtcdMember> {
    const leader = async () => {
      for (const member of this.members.filter((one) => one.process)) {
        const status = (await member.client.call('/v3/maintenance/status', {}, 1_000).catch(() => undefined)) as
          | { leader?: string; header: { member_id: string } }
          | undefined;
        if (status?.leader && status.leader === status.header.member_id) return member;
      }
      return undefined;
    };
    const hint = () => this.members.map(({ id }) => this.#log(id)).join('\n');
    return eventually('a leader of etcd', leader, { everyMs: 20, hint });
  }

  #log(id: number): string {
    return readFileSync(join(this.folder, `m${id}.log`), 'utf8')
      .split('\n')
      .slice(-5)
      .join('\n');
  }

  async kill(member: EtcdMember): Promise<void> {
    const child = member.process;
    member.process = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGKILL');
    await ended;
  }

  async stop(): Promise<void> {
    for (const member of this.members) {
      await this.kill(member);
      member.client.close();
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
