import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sh } from '../e2e/world.ts';
import { buildImages, type Engine, startEngine } from '../kit/engine.ts';

// Several hosts on one machine: each a network namespace with its own address on a common bridge, and its own Docker engine. The same engines serve
// this cluster and, by turns, Docker's own swarm mode, so that both are measured on the same ground.

export interface Host {
  readonly name: string;
  readonly netns: string;
  readonly addr: string;
  readonly engine: Engine;
}

export class Hosts {
  readonly hosts: readonly Host[];
  readonly #bridge: string;
  readonly #folder: string;

  private constructor(hosts: readonly Host[], bridge: string, folder: string) {
    this.hosts = hosts;
    this.#bridge = bridge;
    this.#folder = folder;
  }

  static async make(count: number): Promise<Hosts> {
    const bridge = `swb${process.pid}`;
    const folder = mkdtempSync(join(tmpdir(), 'swb'));
    const names = Array.from({ length: count }, (_, i) => `swb${process.pid}-${i + 1}`);
    sh('ip', 'netns', 'add', `${bridge}-br`);
    sh('ip', '-n', `${bridge}-br`, 'link', 'add', 'br0', 'type', 'bridge');
    sh('ip', '-n', `${bridge}-br`, 'link', 'set', 'br0', 'up');
    const hosts: Host[] = [];
    const made = new Hosts(hosts, bridge, folder);
    try {
      for (const [i, netns] of names.entries()) {
        const addr = `10.213.0.${i + 1}`;
        sh('ip', 'netns', 'add', netns);
        sh('ip', '-n', netns, 'link', 'set', 'lo', 'up');
        sh(
          'ip',
          '-n',
          netns,
          'link',
          'add',
          'eth0',
          'type',
          'veth',
          'peer',
          'name',
          `p${i + 1}`,
          'netns',
          `${bridge}-br`,
        );
        sh('ip', '-n', `${bridge}-br`, 'link', 'set', `p${i + 1}`, 'master', 'br0', 'up');
        sh('ip', '-n', netns, 'addr', 'add', `${addr}/24`, 'dev', 'eth0');
        sh('ip', '-n', netns, 'link', 'set', 'eth0', 'up');
      }
      const engines = await Promise.all(
        names.map(async (netns, i) => {
          const engine = await startEngine({
            name: netns,
            netns,
            dataRoot: join(folder, `e${i + 1}`),
            bip: `10.21${4 + (i % 5)}.${i}.1/24`,
          });
          await buildImages(engine.socket);
          return engine;
        }),
      );
      for (const [i, netns] of names.entries())
        hosts.push({ name: `h${i + 1}`, netns, addr: `10.213.0.${i + 1}`, engine: engines[i] as Engine });
      return made;
    } catch (error) {
      await made.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.hosts.map((host) => host.engine.stop()));
    for (const name of sh('ip', 'netns', 'list')
      .split('\n')
      .map((line) => line.split(' ')[0] ?? '')) {
      if (name.startsWith(`${this.#bridge}-`)) sh('ip', 'netns', 'del', name);
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Docker's own swarm mode on the same engines. */
export class DockerSwarm {
  readonly hosts: readonly Host[];
  constructor(hosts: readonly Host[]) {
    this.hosts = hosts;
  }

  get first(): Host {
    return this.hosts[0] as Host;
  }

  docker(host: Host, ...args: string[]): string {
    return sh('docker', '-H', host.engine.dockerHost, ...args).trim();
  }

  /** The first `managers` hosts become managers. */
  form(managers: number): void {
    this.docker(this.first, 'swarm', 'init', '--advertise-addr', this.first.addr);
    const token = (role: string) => this.docker(this.first, 'swarm', 'join-token', '-q', role);
    const tokens = { manager: token('manager'), worker: token('worker') };
    for (const [i, host] of this.hosts.entries()) {
      if (i === 0) continue;
      this.docker(
        host,
        'swarm',
        'join',
        '--advertise-addr',
        host.addr,
        '--token',
        i < managers ? tokens.manager : tokens.worker,
        `${this.first.addr}:2377`,
      );
    }
  }

  dissolve(): void {
    for (const host of [...this.hosts].reverse()) this.docker(host, 'swarm', 'leave', '--force');
  }
}
