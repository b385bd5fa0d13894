import { below, type Random, seededRandom } from '@swarmctl/shared/kit';
import type { Message } from '../../../packages/raft-ts/src/core/index.ts';
import { openRaftNode } from '../../../packages/raft-ts/src/host/open.ts';
import type { Channel, NodeStatus, RaftNode, Start } from '../../../packages/raft-ts/src/host/types.ts';
import { FrameDecoder, frameKind } from '../../../packages/raft-ts/src/transport/frames.ts';
import { decodeMessage } from '../../../packages/raft-ts/src/transport/message-codec.ts';
import { holdsLog } from '../../../packages/raft-ts/src/wal/log-store.ts';
import { Breach } from '../raft/checks.ts';
import { HostChecks, type Image, readImage, segmentBytes } from './checks.ts';
import { type DiskOperation, instantly, SimDisk } from './disk.ts';
import { KeyValueMachine } from './machine.ts';
import { Network } from './network.ts';
import { Life, Scheduler } from './scheduler.ts';
import { plainSealer } from './sealer.ts';

// The simulated world of whole members: the real host on simulated time, disks and streams, and what can be done to them.

export interface DiskFault {
  readonly on: 'write' | 'sync';
  readonly code: 'EIO' | 'ENOSPC';
}

export interface Member {
  readonly id: number;
  readonly disk: SimDisk;
  life: Life;
  node: RaftNode | undefined;
  machine: KeyValueMachine | undefined;
  /** `lost`: its disk is damaged, and it never comes back. */
  state: 'down' | 'starting' | 'up' | 'lost' | 'removed';
  fault: DiskFault | undefined;
  /** A fault was met: this life may end of it. */
  faulted: boolean;
  /** What its disk has suffered: how that must end. `wiped`: it starts, and ends once it is told. */
  rotten: 'no' | 'may-start' | 'must-refuse' | 'wiped';
  image: { readonly version: number; readonly image: Image } | undefined;
}

/** Faults of the host, planted around its ports to prove that the checkers see them. */
export interface Planted {
  /** Syncs that say they are done before they are, or never are. */
  readonly sync?: 'early' | 'never';
  readonly node?: (node: RaftNode) => RaftNode;
  readonly machine?: (machine: KeyValueMachine) => KeyValueMachine;
}

export interface Counts {
  kills: number;
  powerCuts: number;
  diskFaults: number;
  refusals: number;
  restores: number;
  elections: number;
  confChanges: number;
}

export class World {
  readonly scheduler = new Scheduler();
  readonly checks = new HostChecks();
  readonly members = new Map<number, Member>();
  readonly network: Network;
  readonly random: Random;
  readonly tickMs: number;
  readonly counts: Counts = {
    kills: 0,
    powerCuts: 0,
    diskFaults: 0,
    refusals: 0,
    restores: 0,
    elections: 0,
    confChanges: 0,
  };
  maxDiskMs = 3;
  skew = false;
  /** Every fourth life lets leaders answer by their leases. */
  readonly #reads: 'quorum' | 'lease';
  /** What a process has written and not synced stays unsynced when it ends. */
  pageCache = true;
  readonly #planted: Planted;
  readonly #decoders = new WeakMap<object, FrameDecoder>();
  #promises: { readonly m: Message; readonly member: Member; readonly copy: SimDisk; readonly version: number }[] = [];
  #failure: Error | undefined;
  #terms = new Set<number>();

  constructor(seed: number, planted: Planted = {}) {
    this.random = seededRandom(seed);
    this.tickMs = [50, 100, 250][below(this.random, 3)]!;
    this.#planted = planted;
    this.#reads = seed % 4 === 2 ? 'lease' : 'quorum';
    this.network = new Network({
      scheduler: this.scheduler,
      random: this.random,
      listener: (id) => {
        const member = this.members.get(id);
        if (member?.state !== 'up') return undefined;
        return { life: member.life, accept: (...args) => member.node?.accept(...args) };
      },
      sent: (from, to, stream, channel, bytes) => this.#sent(from, to, stream, channel, bytes),
    });
  }

  get up(): Member[] {
    return [...this.members.values()].filter(({ state }) => state === 'up');
  }

  /** Of the newest term, of those that say they lead. */
  leader(): Member | undefined {
    let best: { member: Member; term: number } | undefined;
    for (const member of this.up) {
      const { role, term } = member.node!.status();
      if (role === 'leader' && !member.life.paused && term > (best?.term ?? 0)) best = { member, term };
    }
    return best?.member;
  }

  fail(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(String(error));
  }

  async run(ms: number): Promise<void> {
    await this.scheduler.run(this.scheduler.now + ms, (touched) => this.#check(touched));
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** False when it did not come to be in this many ticks. */
  async until(holds: () => boolean, ticks: number): Promise<boolean> {
    for (let i = 0; i < ticks; i++) {
      if (holds()) return true;
      await this.run(this.tickMs);
    }
    return holds();
  }

  make(id: number): Member {
    const disk = new SimDisk(this.random);
    const member: Member = {
      id,
      disk,
      life: new Life(id),
      node: undefined,
      machine: undefined,
      state: 'down',
      fault: undefined,
      faulted: false,
      rotten: 'no',
      image: undefined,
    };
    this.members.set(id, member);
    return member;
  }

  async start(member: Member): Promise<void> {
    member.state = 'starting';
    const life = new Life(member.id);
    member.life = life;
    member.faulted = false;
    const kind = await this.#startKind(member);
    const machine = new KeyValueMachine({
      applied: (entry, hash) => {
        const inTerm = member.node?.status().term ?? Number.POSITIVE_INFINITY;
        this.#guard(() => this.checks.applied(member.id, entry, hash, inTerm));
      },
      restored: (index, lastIndex, hash) => {
        this.counts.restores++;
        this.#guard(() => this.checks.restored(member.id, index, lastIndex, hash));
      },
    });
    const skew = this.skew ? 0.9 + this.random() * 0.2 : 1;
    openRaftNode(
      {
        id: member.id,
        dir: dirOf(member.id),
        timing: { tickMs: this.tickMs, heartbeatTicks: 2, electionTicks: 8 },
        snapshotEntries: 40,
        keepEntries: 10,
        reads: this.#reads,
        random: this.random,
        onFatal: (error) => this.#fatal(member, life, error),
      },
      {
        stateMachine: this.#planted.machine?.(machine) ?? machine,
        dial: (peer, channel, signal) => this.network.dial(life, peer.id, channel, signal),
        sealer: plainSealer,
      },
      kind,
      {
        fileSystem: member.disk.mount((operation, path, act) => this.#perform(member, life, operation, path, act)),
        lock: async () => ({ release: async () => {} }),
        segmentBytes,
        clock: {
          now: () => this.scheduler.now * skew,
          every: (ms, callback) => this.#every(life, ms / skew, callback),
          after: (ms, callback) => this.#after(life, ms / skew, callback),
          soon: (callback) => this.scheduler.soon(life, callback),
        },
      },
    ).then(
      (node) => this.#started(member, life, machine, this.#planted.node?.(node) ?? node),
      (error: unknown) => this.#notStarted(member, life, error),
    );
  }

  /** The process ends; with `power` the machine's power is cut as well. */
  kill(member: Member, power: boolean): void {
    if (power) this.counts.powerCuts++;
    else this.counts.kills++;
    member.life.dead = true;
    member.life.held = [];
    member.node = undefined;
    member.machine = undefined;
    if (member.state === 'up' || member.state === 'starting') member.state = 'down';
    this.network.died(member.life, power);
    if (power) member.disk.powerLoss();
    else if (!this.pageCache) member.disk.writeBack();
    member.fault = undefined;
  }

  async #startKind(member: Member): Promise<Start> {
    const there = await holdsLog(member.disk.currentCopy().mount(instantly), dirOf(member.id));
    if (there) return { kind: 'restart' };
    return member.id === 1 && member.rotten !== 'wiped' ? { kind: 'bootstrap', address: 'host-1' } : { kind: 'join' };
  }

  #started(member: Member, life: Life, machine: KeyValueMachine, node: RaftNode): void {
    if (life.dead) return;
    if (member.rotten === 'must-refuse') {
      this.fail(new Breach('damage is refused', `${member.id} started on a damaged log`));
    }
    if (member.rotten === 'may-start') member.rotten = 'no';
    member.node = node;
    member.machine = machine;
    member.state = 'up';
    this.#guard(() => this.checks.started(node.status(), member.rotten === 'wiped'));
  }

  #notStarted(member: Member, life: Life, error: unknown): void {
    if (life.dead) return;
    const { code, data, message } = error as { code?: string; data?: Record<string, unknown>; message: string };
    this.kill(member, false);
    if (member.rotten === 'may-start' || member.rotten === 'must-refuse') {
      const told = code === 'corrupt' && typeof data?.['file'] === 'string' && typeof data['offset'] === 'number';
      if (!told) this.fail(new Breach('damage is told', `${member.id}: ${code} ${message} ${JSON.stringify(data)}`));
      this.counts.refusals++;
      member.state = 'lost';
    } else if (!member.faulted) {
      this.fail(new Breach('a member starts again', `${member.id}: ${code} ${message}`));
    }
  }

  #fatal(member: Member, life: Life, error: Error): void {
    if (life.dead) return;
    const lost = member.rotten === 'wiped' && (error as { code?: string }).code === 'lost-log';
    if (lost) this.counts.refusals++;
    if (!member.faulted && !lost) this.fail(new Breach('nothing fatal', `${member.id}: ${error.stack}`));
    this.scheduler.after(0, undefined, 'exit', () => {
      if (!life.dead) this.kill(member, false);
      if (lost) member.state = 'lost';
    });
  }

  #after(life: Life, ms: number, callback: () => void): () => void {
    let stopped = false;
    this.scheduler.after(ms, life, 'timer', () => stopped || callback());
    return () => {
      stopped = true;
    };
  }

  #every(life: Life, ms: number, callback: () => void): () => void {
    let stopped = false;
    const next = (): void => {
      this.scheduler.after(ms, undefined, 'tick', () => {
        if (stopped || life.dead) return;
        next();
        // A process that stood still gets one tick when it goes on, not all of them.
        if (!life.paused || life.held.length === 0) this.scheduler.after(0, life, 'tick', () => stopped || callback());
      });
    };
    next();
    return () => {
      stopped = true;
    };
  }

  #perform<T>(member: Member, life: Life, operation: DiskOperation, path: string, act: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const ms = operation === 'read' ? 0 : below(this.random, this.maxDiskMs);
      this.scheduler.after(ms, life, operation, () => {
        const { fault } = member;
        if (fault?.on === operation) {
          member.fault = undefined;
          member.faulted = true;
          this.counts.diskFaults++;
          if (operation === 'sync') member.disk.failSync(path);
          reject(Object.assign(new Error(`${fault.code}: ${operation} ${path}`), { code: fault.code }));
          return;
        }
        try {
          const planted = operation === 'sync' ? this.#planted.sync : undefined;
          resolve(planted === undefined ? act() : (undefined as T));
          if (planted === 'early') this.scheduler.after(1 + below(this.random, 20), life, 'late', () => act());
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  #sent(from: number, to: number, stream: object, channel: Channel, bytes: Buffer): void {
    if (channel === 'snapshot') return;
    let decoder = this.#decoders.get(stream);
    if (decoder === undefined) {
      decoder = new FrameDecoder(16 << 20);
      this.#decoders.set(stream, decoder);
    }
    this.scheduler.note(`${from} ${to} ${bytes.length}`);
    for (const { kind, body } of decoder.push(Buffer.from(bytes))) {
      if (kind === frameKind.message) this.#guard(() => this.#message(decodeMessage(Buffer.from(body))));
    }
  }

  #message(m: Message): void {
    this.scheduler.note(`${m.type} ${m.term} ${m.index}`);
    this.checks.sent(m);
    if ((m.type !== 'vote-resp' && m.type !== 'app-resp') || m.reject) return;
    const member = this.members.get(m.from)!;
    const { version } = member.disk;
    const known = member.image;
    if (known?.version === version) this.checks.promised(m, known.image);
    else this.#promises.push({ m, member, copy: member.disk.durableCopy(), version });
  }

  #guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.fail(error);
    }
  }

  async #check(touched: ReadonlySet<number>): Promise<void> {
    try {
      for (const { m, member, copy, version } of this.#promises.splice(0)) {
        this.checks.promised(m, await this.#image(member, copy, version));
      }
      for (const id of touched) await this.#checkMember(id);
    } catch (error) {
      this.fail(error);
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #checkMember(id: number): Promise<void> {
    const member = this.members.get(id);
    if (member?.state !== 'up' || member.life.paused) return;
    const status = member.node!.status();
    if (member.rotten === 'wiped' && (status.commit > 0 || status.role === 'leader')) {
      throw new Breach('a wiped member is not heard', `${id}: ${status.role}, committed ${status.commit}`);
    }
    const before = this.checks.votersBefore(id);
    const committed = this.checks.status(status);
    if (status.role === 'leader' && !this.#terms.has(status.term)) {
      this.#terms.add(status.term);
      this.counts.elections++;
    }
    if (status.removed) {
      this.kill(member, false);
      member.state = 'removed';
      return;
    }
    if (committed) await this.#checkDurable(status, before);
  }

  async #checkDurable(status: NodeStatus, before: readonly number[]): Promise<void> {
    const now = status.members.filter(({ learner }) => !learner).map(({ id }) => id);
    const images = new Map<number, Image>();
    for (const id of new Set([...now, ...before])) {
      const member = this.members.get(id);
      if (member === undefined) continue;
      const image = await this.#image(member, undefined, member.disk.version).catch((error: unknown) => {
        // A newcomer may have nothing yet.
        if ((error as { code?: string }).code === 'no-log') return undefined;
        throw error;
      });
      if (image !== undefined) images.set(id, image);
    }
    this.checks.durable(status, before.length === 0 ? [now] : [before, now], images);
  }

  /** Of a copy, or of what is durable now. */
  async #image(member: Member, copy: SimDisk | undefined, version: number): Promise<Image> {
    if (member.image !== undefined && (member.image.version === version || isDamaged(member)))
      return member.image.image;
    const disk = copy ?? member.disk.durableCopy();
    const image = await readImage(disk, member.id, dirOf(member.id)).catch(
      (error: { code?: string; message: string }) => {
        if (error.code === 'no-log') throw error;
        throw new Breach('what is durable can be read', `${member.id}: ${error.message}`);
      },
    );
    if (member.rotten !== 'wiped') this.checks.image(member.id, image);
    if ((member.image?.version ?? 0) < version) member.image = { version, image };
    return image;
  }
}

const isDamaged = ({ rotten }: Member): boolean => rotten === 'may-start' || rotten === 'must-refuse';

export const dirOf = (id: number): string => `/m${id}`;
