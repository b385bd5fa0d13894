import { below } from '@swarmctl/shared/kit';
import type { RaftErrorCode } from '../../../packages/raft-ts/src/host/errors.ts';
import { checkLinearizable } from '../../../packages/raft-ts/src/linearizability/checker.ts';
import {
  explain,
  type KeyValueInput,
  type KeyValueOperation,
  type KeyValueOutput,
  keyValueModel,
} from '../../../packages/raft-ts/src/linearizability/key-value.ts';
import { Breach } from '../raft/checks.ts';
import { pick } from '../raft/choices.ts';
import type { Member, World } from './world.ts';

// Clients of the simulated cluster, and the history of what they asked and were told.

type Recorded = { -readonly [K in keyof KeyValueOperation]: KeyValueOperation[K] };

/** Refused before it had a place in the log. */
const refusals: ReadonlySet<string> = new Set<RaftErrorCode>(['not-leader', 'busy']);

/** Keys are left behind after a while, so that histories stay short enough to be checked. */
const operationsAnEra = 60;
const keysAnEra = 5;

export class Clients {
  writes = 0;
  reads = 0;
  readonly #world: World;
  readonly #history = new Set<Recorded>();
  #clock = 0;
  #number = 0;

  constructor(world: World) {
    this.#world = world;
  }

  /** Some operation at some member, mostly at the one that leads. */
  act(): void {
    const { up, random } = this.#world;
    const leader = this.#world.leader();
    const member = leader !== undefined && random() < 0.8 ? leader : up.length > 0 ? pick(random, up) : undefined;
    if (member === undefined) return;
    const dice = random();
    if (dice < 0.4) this.#read(member, this.#key());
    else void this.write(member, this.#change(dice));
  }

  /** Resolves with whether it is known to be done. */
  async write(member: Member, input: KeyValueInput): Promise<boolean> {
    const operation = this.#call(input);
    try {
      const { result } = await member.node!.propose(Buffer.from(JSON.stringify(input)));
      this.#returned(operation, result as KeyValueOutput);
      this.writes++;
      return true;
    } catch (error) {
      if (refusals.has((error as { code: string }).code)) this.#history.delete(operation);
      return false;
    }
  }

  check(): void {
    const verdict = checkLinearizable([...this.#history], keyValueModel, 2_000_000);
    if (verdict.result === 'not-linearizable') throw new Breach('linearizable', explain(verdict));
  }

  #read(member: Member, key: string): void {
    const operation = this.#call({ kind: 'get', key });
    member.node!.readIndex(this.#world.tickMs * 40).then(
      () => {
        if (member.machine === undefined) return;
        this.#returned(operation, member.machine.get(key));
        this.reads++;
      },
      () => this.#history.delete(operation),
    );
  }

  #call(input: KeyValueInput): Recorded {
    const operation = { client: this.#number++, call: this.#clock++, end: undefined, input, output: undefined };
    this.#history.add(operation);
    return operation;
  }

  #returned(operation: Recorded, output: KeyValueOutput): void {
    operation.end = this.#clock++;
    operation.output = output;
    this.#world.scheduler.note(`${operation.client} ${output}`);
  }

  #key(): string {
    return `k${Math.floor(this.#number / operationsAnEra)}-${below(this.#world.random, keysAnEra)}`;
  }

  #change(dice: number): KeyValueInput {
    const key = this.#key();
    const value = `v${this.#number}${'.'.repeat(below(this.#world.random, 60))}`;
    if (dice < 0.8) return { kind: 'put', key, value };
    if (dice < 0.9) return { kind: 'delete', key };
    return { kind: 'cas', key, from: this.#world.leader()?.machine?.get(key) ?? null, to: value };
  }
}
