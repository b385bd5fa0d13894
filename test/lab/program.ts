import { setTimeout as sleep } from 'node:timers/promises';
import { tail } from '../kit/eventually.ts';
import type { Machine } from './machine.ts';
import { endAll, type Process, processesIn } from './processes.ts';

// A program that runs on a machine in the background, on its own once started: any later process of the lab finds it among those of the machine.

export interface ProgramPlan {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  readonly log: string;
  /** Shell, to run on the machine before. */
  readonly prepare?: string;
  /** Whether it answers. */
  ready(): Promise<boolean>;
  /** Whether a process is it, or must end with it. */
  owns(args: readonly string[]): boolean;
}

export class Program {
  readonly machine: Machine;
  readonly #plan: ProgramPlan;

  constructor(machine: Machine, plan: ProgramPlan) {
    this.machine = machine;
    this.#plan = plan;
  }

  get log(): string {
    return this.#plan.log;
  }

  /** As this machine numbers it; undefined when it does not run. */
  get pid(): number | undefined {
    return this.#processes()[0]?.pid;
  }

  /** Starts it if it does not run, and waits until it answers. */
  async start(): Promise<void> {
    const { name, command, log, prepare = ':', ready } = this.#plan;
    if (this.pid === undefined) {
      const script = `${prepare}\nlog=$1; shift; setsid "$@" </dev/null >>"$log" 2>&1 &`;
      const { code, err } = await this.machine.exec('sh', '-c', script, name, log, ...command);
      if (code !== 0) throw new Error(`${name} of ${this.machine.name} cannot be started: ${err}`);
    }
    const deadline = Date.now() + 60_000;
    for (let round = 1; !(await ready().catch(() => false)); round++) {
      const trouble =
        round % 20 === 0 && this.pid === undefined ? 'ended' : Date.now() > deadline ? 'does not answer' : undefined;
      if (trouble) throw new Error(`${name} of ${this.machine.name} ${trouble}:\n${tail(log)}`);
      await sleep(25);
    }
  }

  /** As a crash; waits for its end. */
  kill(): Promise<void> {
    return endAll(() => this.#processes());
  }

  #processes(): Process[] {
    return processesIn([this.machine.netns]).filter(({ args }) => this.#plan.owns(args));
  }
}
