import { below, type Random, seededRandom } from '@swarmctl/shared/kit';
import type { Entry, Message } from '../../../packages/raft-ts/src/core/index.ts';
import { Breach, Checks } from './checks.ts';
import { chooseChange, pick, raftSettings } from './choices.ts';
import { confOf, SimDisk } from './disk.ts';
import { type HostBug, type MemberOptions, SimMember } from './member.ts';
import { Network } from './network.ts';

// A cluster over a simulated network and simulated disks, driven by one seed: faults at random, checks after each step,
// and at the end a calm in which it must get on.

export interface WorldOptions {
  readonly seed: number;
  readonly steps: number;
  /** By the seed when absent. */
  readonly fierce?: boolean;
  readonly bug?: HostBug;
}

export interface Outcome {
  readonly committed: number;
  readonly reads: number;
  readonly elections: number;
  readonly crashes: number;
  readonly snapshots: number;
  readonly confChanges: number;
  readonly transfers: number;
}

const calmFaults = { loss: 0, duplicate: 0, maxDelay: 2 };

export class World {
  readonly #random: Random;
  readonly #options: WorldOptions;
  readonly #network: Network;
  readonly #checks = new Checks();
  readonly #disks = new Map<number, SimDisk>();
  readonly #settings = new Map<number, MemberOptions>();
  readonly #members = new Map<number, SimMember>();
  /** Members whose removal was applied somewhere: the index, and when they are switched off once that is known. */
  readonly #condemned = new Map<number, { readonly index: number; due?: number }>();
  readonly #reads = new Map<string, number>();
  readonly #marks = new Map<number, Set<string>>();
  readonly #terms = new Set<number>();
  readonly #wasMember = new Set<number>();
  readonly #off = new Set<number>();
  #confIndex = 0;
  /** As of `#confIndex`. */
  #voters: readonly number[] = [];
  readonly #slowness: number;
  /** Leaders come and go: elections, cut-off leaders with entries of their own, crashes in between. */
  readonly #fierce: boolean;
  #now = 0;
  #nextId = 1;
  #names = 0;
  #served = 0;
  readonly #counts = { crashes: 0, snapshots: 0, confChanges: 0, transfers: 0 };

  constructor(options: WorldOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed);
    const faults = {
      loss: this.#pick([0, 0.02, 0.1, 0.25]),
      duplicate: this.#pick([0, 0.05, 0.2]),
      maxDelay: this.#pick([2, 5, 15]),
    };
    this.#network = new Network(this.#random, faults);
    this.#slowness = this.#pick([1, 2, 5]);
    this.#fierce = options.fierce ?? this.#chance(0.3);
    this.#found(this.#fierce ? 5 : this.#pick([3, 3, 4, 5]));
  }

  run(): Outcome {
    try {
      while (this.#now < this.#options.steps) this.#step(true);
      this.#calm();
    } catch (error) {
      const { seed, steps, fierce } = this.#options;
      const command = `${fierce ? 'FIERCE=1 ' : ''}SEED=${seed} STEPS=${steps} npx vitest run --project sim test/sim/raft/random.test.ts`;
      const text = `seed ${seed}, step ${this.#now}: ${(error as Error).message}\nreplay: ${command}`;
      if (error instanceof Breach) throw Object.assign(error, { message: text });
      throw new Error(text, { cause: error });
    }
    return {
      committed: this.#checks.maxCommitted,
      reads: this.#served,
      elections: this.#terms.size,
      ...this.#counts,
    };
  }

  #pick<T>(values: readonly T[]): T {
    return pick(this.#random, values);
  }

  #chance(p: number): boolean {
    return this.#random() < p;
  }

  // Members

  #found(n: number): void {
    const ids = Array.from({ length: n }, () => this.#nextId++);
    const snapshot = { meta: { index: 1, term: 1, confState: confOf(ids) }, data: new Uint8Array(0) };
    const raft = raftSettings(this.#random, this.#fierce);
    for (const id of ids) {
      const disk = this.#settle(id, raft);
      disk.write({ kind: 'snapshot', snapshot });
      disk.write({ kind: 'hard-state', state: { term: 1, vote: 0, commit: 1 } });
      disk.sync();
      this.#start(id);
    }
  }

  #settle(id: number, raft: MemberOptions['raft']): SimDisk {
    const disk = new SimDisk();
    this.#disks.set(id, disk);
    this.#settings.set(id, { id, raft, async: this.#chance(0.5), bug: this.#options.bug });
    this.#marks.set(id, new Set());
    return disk;
  }

  #start(id: number): void {
    const ports = {
      disk: this.#disks.get(id)!,
      checks: this.#checks,
      send: (m: Message) => this.#send(m),
      applied: (member: SimMember, entry: Entry) => this.#applied(member, entry),
      read: (member: SimMember, context: string) => this.#readDone(member, context),
    };
    this.#members.set(id, new SimMember(this.#settings.get(id)!, ports));
  }

  #crash(id: number): void {
    this.#members.delete(id);
    this.#disks.get(id)!.crash(this.#random);
    this.#counts.crashes++;
  }

  #ids(): number[] {
    return [...this.#members.keys()];
  }

  #any(): SimMember | undefined {
    return this.#members.size === 0 ? undefined : this.#members.get(this.#pick(this.#ids()));
  }

  #leader(): SimMember | undefined {
    const leaders = [...this.#members.values()].filter((member) => member.node.status().role === 'leader');
    return leaders.sort((a, b) => b.node.status().term - a.node.status().term)[0];
  }

  // What members do to the world

  #send(m: Message): void {
    this.#checks.sent(m);
    if (m.type === 'snap') this.#counts.snapshots++;
    const sent = this.#network.send(m, this.#now);
    if (sent && this.#members.has(m.to)) return;
    this.#lost(m);
  }

  /** A host hears of the snapshots it could not send, and of some of the other messages. */
  #lost(m: Message): void {
    const sender = this.#members.get(m.from);
    if (sender === undefined) return;
    if (m.type === 'snap') sender.node.reportSnapshot(m.to, 'failed');
    else if (this.#chance(0.3)) sender.node.reportUnreachable(m.to);
  }

  #applied(member: SimMember, entry: Entry): void {
    this.#marks.get(member.id)!.add(Buffer.from(entry.data).toString());
    if (entry.type === 'normal') return;
    this.#counts.confChanges++;
    this.#checks.conf(member.id, entry.index, member.confState, entry.term);
    // Members that lag behind apply old configurations.
    if (entry.index <= this.#confIndex) return;
    this.#confIndex = entry.index;
    const { voters, learners, votersOutgoing } = member.confState;
    for (const id of this.#disks.keys()) {
      const gone = !voters.includes(id) && !learners.includes(id) && !votersOutgoing.includes(id);
      if (gone && this.#wasMember.has(id) && !this.#condemned.has(id)) {
        this.#condemned.set(id, { index: entry.index });
      }
      if (!gone) this.#wasMember.add(id);
    }
    this.#voters = voters;
  }

  /**
   * A removed member is needed until a majority of those that stay know for certain that its removal is committed: by what they know until then, its
   * vote counts. Some time after that it is switched off.
   */
  #switchOffCondemned(): void {
    for (const [id, removal] of this.#condemned) {
      if (removal.due === undefined) {
        const knowing = this.#voters.filter((voter) => {
          return (this.#disks.get(voter)?.durableHardState().commit ?? 0) >= removal.index;
        });
        if (knowing.length > this.#voters.length / 2) removal.due = this.#now + 50 + below(this.#random, 300);
      } else if (removal.due <= this.#now && !this.#off.has(id)) this.#switchOff(id);
    }
  }

  #readDone(member: SimMember, context: string): void {
    const floor = this.#reads.get(context);
    if (floor === undefined) return;
    this.#reads.delete(context);
    this.#served++;
    this.#checks.read(member.id, member.machine.applied, floor);
  }

  // The course of time

  #step(faulty: boolean): void {
    this.#now++;
    for (const m of this.#network.arrivals(this.#now)) this.#deliver(m);
    for (const id of this.#ids()) this.#turn(id);
    this.#switchOffCondemned();
    if (!faulty) return;
    this.#client();
    this.#fault();
  }

  #deliver(m: Message): void {
    const member = this.#members.get(m.to);
    if (member === undefined || !this.#network.reaches(m.from, m.to)) {
      this.#lost(m);
      return;
    }
    member.node.step(m);
    if (m.type === 'snap') this.#members.get(m.from)?.node.reportSnapshot(m.to, 'finished');
    this.#check(m.to);
    this.#check(m.from);
  }

  #turn(id: number): void {
    const member = this.#members.get(id)!;
    if (this.#chance(0.3)) member.node.tick();
    this.#check(id);
    if (this.#chance(0.8)) member.pump();
    this.#check(id);
    if (this.#chance(1 / this.#slowness)) member.progress('disk');
    this.#check(id);
    if (this.#chance(1 / this.#slowness)) member.progress('apply');
    this.#check(id);
  }

  #check(id: number): void {
    const member = this.#members.get(id);
    if (member === undefined) return;
    const status = member.node.status();
    if (status.role === 'leader') this.#terms.add(status.term);
    this.#checks.status(status, this.#disks);
  }

  #switchOff(id: number): void {
    this.#off.add(id);
    this.#members.delete(id);
  }

  #client(): void {
    if (this.#fierce && this.#chance(0.3)) this.#leader()?.node.propose(Buffer.from(this.#word()));
    if (this.#chance(0.2)) this.#any()?.node.propose(Buffer.from(this.#word()));
    if (this.#chance(0.1)) this.#read(this.#any());
  }

  #word(): string {
    return `w${this.#names++}`.padEnd(this.#pick([2, 10, 60]), '.');
  }

  #read(member: SimMember | undefined): string {
    const context = `r${this.#names++}`;
    if (member === undefined) return context;
    this.#reads.set(context, this.#checks.maxCommitted);
    member.read(context);
    return context;
  }

  #fault(): void {
    if (this.#fierce) {
      this.#fierceFault();
      return;
    }
    if (this.#chance(0.006)) this.#crashSome();
    if (this.#chance(0.03)) this.#restartSome();
    if (this.#chance(0.006)) this.#partitionSome();
    if (this.#chance(0.015)) this.#network.heal();
    if (this.#chance(0.01)) this.#any()?.checkpoint(this.#pick([0, 3, 20]));
    if (this.#chance(0.01)) this.#transfer();
    if (this.#chance(0.015)) this.#changeMembers();
    if (this.#chance(0.003)) this.#any()?.node.campaign();
    if (this.#chance(0.003)) this.#any()?.node.forgetLeader();
  }

  #fierceFault(): void {
    if (this.#chance(0.02)) {
      const victim = this.#leader();
      if (victim !== undefined) this.#crash(victim.id);
    }
    if (this.#chance(0.02)) this.#crashSome();
    if (this.#chance(0.3)) this.#restartSome();
    if (this.#chance(0.02)) this.#partitionSome();
    if (this.#chance(0.02)) this.#network.heal();
    if (this.#chance(0.02)) this.#any()?.node.campaign();
    if (this.#chance(0.005)) this.#any()?.checkpoint(3);
  }

  #crashSome(): void {
    const all = this.#chance(0.1);
    for (const id of this.#ids()) if (all) this.#crash(id);
    const one = this.#any();
    if (one !== undefined) this.#crash(one.id);
  }

  #restartSome(): void {
    const down = [...this.#disks.keys()].filter((id) => !this.#members.has(id) && !this.#isOff(id));
    if (down.length > 0) this.#start(this.#pick(down));
  }

  #isOff(id: number): boolean {
    return this.#off.has(id);
  }

  #partitionSome(): void {
    const left = new Set<number>();
    const right = new Set<number>();
    for (const id of this.#disks.keys()) (this.#chance(0.5) ? left : right).add(id);
    // Sometimes one member is on both sides.
    if (this.#chance(0.2)) {
      const both = this.#pick([...this.#disks.keys()]);
      left.add(both);
      right.add(both);
    }
    this.#network.partition([left, right]);
  }

  #transfer(): void {
    const leader = this.#leader();
    if (leader === undefined) return;
    const { voters } = leader.confState;
    if (voters.length === 0) return;
    leader.node.transferLeader(this.#pick(voters));
    this.#counts.transfers++;
    this.#check(leader.id);
  }

  /** Mostly one change at a time: add a voter or learner, promote, demote, remove; now and then two, jointly. */
  #changeMembers(): void {
    const leader = this.#leader();
    if (leader === undefined) return;
    const choose = () => chooseChange(this.#random, leader.confState, leader.id, () => this.#newcomer());
    const changes = [choose(), ...(this.#chance(0.2) ? [choose()] : [])];
    if (!changes.every((change) => change !== undefined)) return;
    leader.node.proposeConfChange({ transition: 'auto', changes, context: new Uint8Array(0) });
    this.#check(leader.id);
  }

  /** An empty member, or one whose adding may have been lost. */
  #newcomer(): number {
    const idle = [...this.#disks.keys()].filter((id) => !this.#wasMember.has(id) && id > 5);
    if (idle.length > 0) return this.#pick(idle);
    const id = Math.max(this.#nextId, 6);
    this.#nextId = id + 1;
    this.#settle(id, this.#settings.values().next().value!.raft);
    this.#start(id);
    return id;
  }

  // The calm

  /** Without faults, a write and a read on every member must come through in time. */
  #calm(): void {
    this.#network.heal();
    this.#network.faults = calmFaults;
    for (const id of this.#disks.keys()) if (!this.#members.has(id) && !this.#isOff(id)) this.#start(id);
    const deadline = this.#now + 4000;
    const word = 'the end';
    let reads: string[] | undefined;
    while (this.#now < deadline) {
      this.#step(false);
      const leader = this.#leader();
      if (leader === undefined || this.#now % 100 !== 0) continue;
      const members = this.#membersOf(leader);
      if (!members.every((member) => this.#marks.get(member.id)!.has(word))) {
        leader.node.propose(Buffer.from(word));
      } else if (reads === undefined || reads.some((context) => this.#reads.has(context))) {
        // A read may have been lost with a leader: a host repeats it.
        reads = members.map((member) => this.#read(member));
      } else {
        return;
      }
      this.#check(leader.id);
    }
    throw new Breach('liveness', `no progress within ${4000} steps of calm\n${this.#describe()}`);
  }

  /** A member that took a snapshot has the word in its state, though it did not see it. */
  #membersOf(leader: SimMember): SimMember[] {
    const { voters, learners } = leader.confState;
    return [...voters, ...learners].flatMap((id) => this.#members.get(id) ?? []);
  }

  #describe(): string {
    const lines = [...this.#members.values()].map((member) => {
      const { role, term, commit, applied, leader, confState, progress } = member.node.status();
      const rest = JSON.stringify([...progress].map(([id, pr]) => [id, pr.state, pr.match, pr.next, pr.paused]));
      return `${member.id}: ${role} term ${term} leader ${leader} commit ${commit} applied ${applied} voters ${confState.voters} learners ${confState.learners} ${rest}`;
    });
    return lines.join('\n');
  }
}
