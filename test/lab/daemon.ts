import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from '../../packages/cli/src/client.ts';
import type { Machine } from './machine.ts';
import { Program } from './program.ts';

// The swarmd of a host.

const swarmd = fileURLToPath(new URL('../../packages/daemon/bin/swarmd.js', import.meta.url));

export interface JoinTokens {
  readonly Worker: string;
  readonly Manager: string;
}

export class Daemon extends Program {
  readonly socket: string;
  readonly api: Client;

  constructor(machine: Machine, dockerHost: string, flags: readonly string[]) {
    const dataDir = join(machine.folder, 'swarmd');
    const socket = join(dataDir, 'api.sock');
    const api = new Client({ host: `unix://${socket}`, from: 'the lab' });
    super(machine, {
      name: 'swarmd',
      log: join(machine.folder, 'swarmd.log'),
      command: [
        process.execPath,
        swarmd,
        ...['--data-dir', dataDir, '--advertise-addr', machine.addr, '--docker-host', dockerHost],
        ...flags,
      ],
      ready: () => api.get('/info').then(() => true),
      // It gives itself that name at once.
      owns: ([name, program = '']) => name === 'swarmd' || basename(program) === basename(swarmd),
    });
    this.socket = socket;
    this.api = api;
  }

  get swarmdHost(): string {
    return `unix://${this.socket}`;
  }

  /** The first of a new cluster; with the tokens for the others. */
  async init(): Promise<JoinTokens> {
    await this.api.post('/swarm/init', {
      AdvertiseAddr: this.machine.addr,
      Availability: 'active',
      Spec: { Labels: {} },
    });
    return (await this.api.get<{ JoinTokens: JoinTokens }>('/swarm')).JoinTokens;
  }

  async join(remote: string, token: string): Promise<void> {
    await this.api.post('/swarm/join', {
      AdvertiseAddr: this.machine.addr,
      RemoteAddrs: [`${remote}:2377`],
      JoinToken: token,
      Availability: 'active',
    });
  }
}
