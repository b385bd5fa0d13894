import type { Client } from '../../packages/cli/src/client.ts';
import { swarmctl } from '../kit/swarmctl.ts';
import { Daemon } from './daemon.ts';
import { Engine, removeCgroups } from './engine.ts';
import { Machine } from './machine.ts';
import type { Network } from './network.ts';
import { cgroupOf, nodeName } from './state.ts';

// A machine with an engine and a swarmd.

export class Host extends Machine {
  readonly number: number;
  readonly engine: Engine;
  readonly daemon: Daemon;

  constructor(lab: string, number: number, network: Network, flags: readonly string[]) {
    super(lab, nodeName(number), number, network);
    this.number = number;
    this.engine = new Engine(this, number);
    this.daemon = new Daemon(this, this.engine.dockerHost, flags);
  }

  override get env(): NodeJS.ProcessEnv {
    return { DOCKER_HOST: this.engine.dockerHost, SWARMD_HOST: this.daemon.swarmdHost };
  }

  get api(): Client {
    return this.daemon.api;
  }

  /** Boots it if it is off, and starts what does not run on it. */
  async start(): Promise<void> {
    if (!this.isUp) await this.boot();
    await this.engine.start();
    await this.daemon.start();
  }

  override async off(): Promise<void> {
    await super.off();
    await removeCgroups([cgroupOf(this.lab, this.name)]);
  }

  /** Runs `swarmctl` in this process against its swarmd; rejects when it fails. */
  async ctl(...args: string[]): Promise<string> {
    const { code, out, err } = await swarmctl(['--host', this.daemon.swarmdHost, ...args]);
    if (code !== 0) throw new Error(`swarmctl ${args.join(' ')} on ${this.name}: exit ${code}: ${err}${out}`);
    return out;
  }
}
