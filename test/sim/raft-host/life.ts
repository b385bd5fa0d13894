import { below } from '@swarmctl/shared/kit';
import type { MembershipChange } from '../../../packages/raft-ts/src/host/types.ts';
import { Breach } from '../raft/checks.ts';
import { pick } from '../raft/choices.ts';
import { Clients } from './clients.ts';
import { faultKinds, faults, mend } from './faults.ts';
import { type Counts, type Planted, World } from './world.ts';

// The life of a cluster, told by one seed: it comes to be, has its mishaps while clients use it, and must then get well.

export interface LifeOptions {
  readonly seed: number;
  readonly steps: number;
  /** Ends sooner when so much time of the cluster's has passed. */
  readonly hours?: number;
  readonly without?: readonly string[];
  readonly planted?: Planted;
}

export interface Outcome extends Counts {
  readonly seed: number;
  readonly hash: string;
  readonly clusterMs: number;
  readonly events: number;
  readonly committed: number;
  readonly writes: number;
  readonly reads: number;
  readonly steps: number;
}

/** More than faults that `--without` can switch off. */
export const kinds = [...faultKinds, 'membership', 'transfer', 'snapshot', 'page-cache'] as const;

/** Ticks in which a whole cluster must make progress. */
const livenessTicks = 600;
const maxMembers = 5;

export class ClusterLife {
  readonly world: World;
  readonly #options: LifeOptions;
  readonly #clients: Clients;
  #step = 0;
  #nextId = 4;
  #changing = false;

  constructor(options: LifeOptions) {
    this.#options = options;
    this.world = new World(options.seed, options.planted);
    this.world.pageCache = !this.#without('page-cache');
    this.#clients = new Clients(this.world);
  }

  /** Throws a `Breach`, whose step `steps` tells. */
  async run(): Promise<Outcome> {
    await this.#begin();
    const until = (this.#options.hours ?? Number.POSITIVE_INFINITY) * 3_600_000;
    while (this.#step < this.#options.steps && this.world.scheduler.now < until) {
      this.#step++;
      await this.#act();
      await this.world.run(this.world.tickMs * (0.2 + this.world.random() * 6));
    }
    this.#clients.check();
    await this.#getWell();
    this.#clients.check();
    const { scheduler, counts, checks } = this.world;
    return {
      ...counts,
      seed: this.#options.seed,
      hash: scheduler.hash,
      clusterMs: scheduler.now,
      events: scheduler.events,
      committed: checks.maxCommitted,
      writes: this.#clients.writes,
      reads: this.#clients.reads,
      steps: this.#step,
    };
  }

  get steps(): number {
    return this.#step;
  }

  #without(kind: string): boolean {
    return this.#options.without?.includes(kind) ?? false;
  }

  async #begin(): Promise<void> {
    const { world } = this;
    await world.start(world.make(1));
    for (const id of [2, 3]) {
      await this.#must(() => world.leader() !== undefined, 'a first leader');
      await world.start(world.make(id));
      await this.#must(() => world.members.get(id)!.state === 'up', 'a member starts');
      this.#change({ type: 'add', id, address: `host-${id}` });
      await this.#must(() => !this.#changing, 'a member joins');
    }
  }

  async #must(holds: () => boolean, what: string): Promise<void> {
    if (!(await this.world.until(holds, livenessTicks))) {
      const states = [...this.world.members.values()].map(({ id, state, node }) => {
        const status = node?.status();
        return `${id} ${state} ${status?.role} ${status?.term} ${status?.applied}/${status?.commit}/${status?.lastIndex}`;
      });
      throw new Breach('liveness', `${what} takes more than ${livenessTicks} ticks: ${states.join('; ')}`);
    }
  }

  async #act(): Promise<void> {
    const { world } = this;
    const { random } = world;
    for (let i = below(random, 4); i > 0; i--) this.#clients.act();
    const dice = random();
    if (dice < 0.15) {
      // Drawn also when it is switched off, so that the life before it stays the same.
      const kind = pick(random, faultKinds);
      world.scheduler.note(kind);
      if (!this.#without(kind)) await faults[kind](world);
    } else if (dice < 0.25) {
      world.network.heal();
    } else if (dice < 0.3) {
      world.network.maxDelayMs = 4;
      world.maxDiskMs = 3;
    } else if (dice < 0.5) {
      for (const member of world.members.values()) {
        if (member.state === 'down' && random() < 0.5) await world.start(member);
      }
    } else if (dice < 0.6) {
      await this.#changeMembers();
    } else if (dice < 0.63 && !this.#without('transfer')) {
      world
        .leader()
        ?.node?.transferLeadership()
        .catch(() => {});
    } else if (dice < 0.65 && !this.#without('snapshot') && world.up.length > 0) {
      pick(random, world.up)
        .node!.snapshot()
        .catch(() => {});
    }
  }

  #change(change: MembershipChange): void {
    const node = this.world.leader()?.node;
    if (node === undefined) return;
    this.#changing = true;
    const { life } = this.world.leader()!;
    const done = (): void => {
      this.#changing = false;
    };
    node.changeMembership(change).then(() => {
      this.world.counts.confChanges++;
      done();
    }, done);
    // What died with its member is never answered.
    this.world.scheduler.after(this.world.tickMs * 100, undefined, 'give up', () => {
      if (life.dead || this.#changing) done();
    });
  }

  /** One change towards members that are all there, or to others. */
  async #changeMembers(): Promise<void> {
    const { world } = this;
    const { random } = world;
    const members = world.leader()?.node?.status().members;
    if (members === undefined || this.#changing) return;
    const known = new Map(members.map((member) => [member.id, member]));
    const lost = members.find(({ id }) => world.members.get(id)?.state === 'lost');
    const newcomer = world.up.find(({ id }) => !known.has(id));
    const learner = members.find((member) => member.learner);
    if (lost !== undefined) return this.#change({ type: 'remove', id: lost.id });
    if (newcomer !== undefined) {
      const type = random() < 0.6 ? 'add-learner' : 'add';
      return this.#change({ type, id: newcomer.id, address: `host-${newcomer.id}` });
    }
    if (learner !== undefined) return this.#change({ type: 'add', id: learner.id, address: learner.address });
    if (members.length < 3 || (members.length < maxMembers && random() < 0.3 && !this.#without('membership'))) {
      return world.start(world.make(this.#nextId++));
    }
    if (members.length > 3 && !this.#without('membership') && random() < 0.5) {
      this.#change({ type: 'remove', id: pick(random, members).id });
    }
  }

  /** With everything mended and everybody up, the cluster makes progress, and all members come to the same. */
  async #getWell(): Promise<void> {
    const { world } = this;
    await mend(world);
    let done = false;
    let asked = 0;
    await this.#must(() => {
      const leader = world.leader();
      if (leader !== undefined && world.scheduler.now >= asked) {
        asked = world.scheduler.now + world.tickMs * 20;
        const value = `end ${world.scheduler.now}`;
        void this.#clients.write(leader, { kind: 'put', key: 'end', value }).then((ok) => {
          done ||= ok;
        });
      }
      return done;
    }, 'a write by a whole cluster');
    const goal = world.checks.maxCommitted;
    await this.#must(() => {
      const members = world.leader()?.node?.status().members ?? [];
      if (members.length === 0) return false;
      return members.every(({ id }) => {
        const member = world.members.get(id)!;
        return member.state === 'lost' || (member.node?.status().applied ?? 0) >= goal;
      });
    }, 'catching up');
  }
}
