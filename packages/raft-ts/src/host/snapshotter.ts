import type { ConfState, Message } from '../core/types.ts';
import type { Transport } from '../transport/transport.ts';
import type { LogStore } from '../wal/log-store.ts';
import type { SnapshotHeader } from '../wal/snapshot-header.ts';
import type { UnnamedSnapshot } from '../wal/snapshot-store.ts';
import type { Compaction, StateMachine } from './types.ts';

// Snapshots of the own state, when enough has been applied, and those that go to and come from other members.

export interface SnapshotterEnv {
  readonly store: LogStore;
  readonly stateMachine: StateMachine;
  /** Of the state as it is applied now. */
  readonly header: () => SnapshotHeader;
  readonly compaction: Compaction;
  /** The peer is to be sent another snapshot instead. */
  readonly notSent: (peer: number) => void;
  readonly log: (level: 'info' | 'warn', fields: Record<string, unknown>, message: string) => void;
}

/** A log that grows faster in bytes than in entries is cut sooner. */
const snapshotBytes = 64 << 20;

export class Snapshotter {
  readonly #env: SnapshotterEnv;
  #running: Promise<void> | undefined;
  /** After a failure: not before this many entries are applied. */
  #notBefore = 0;
  #bytes = 0;
  compaction: Compaction;
  #received: UnnamedSnapshot | undefined;

  constructor(env: SnapshotterEnv) {
    this.#env = env;
    this.compaction = env.compaction;
  }

  get running(): Promise<void> | undefined {
    return this.#running;
  }

  /** To be called between slices of applying. */
  applied(index: number, bytes: number): void {
    this.#bytes += bytes;
    if (this.#running !== undefined || index < this.#notBefore) return;
    const since = index - (this.#env.store.latest?.meta.index ?? 0);
    if (since < this.compaction.snapshotEntries && this.#bytes < snapshotBytes) return;
    this.take().catch((error: unknown) => {
      this.#notBefore = index + Math.ceil(this.compaction.snapshotEntries / 10);
      const reason = error instanceof Error ? error.message : String(error);
      this.#env.log('warn', { index, reason }, 'a snapshot could not be taken');
    });
  }

  /** Of what is applied now, or of what was when the one that runs began and then of now. */
  async take(): Promise<void> {
    while (this.#running !== undefined) await this.#running.catch(() => {});
    this.#running = this.#take().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #take(): Promise<void> {
    const { store, stateMachine, log } = this.#env;
    const header = this.#env.header();
    const { index } = header.meta;
    if (index <= (store.latest?.meta.index ?? 0)) return;
    this.#bytes = 0;
    const encode = stateMachine.snapshot();
    await store.snapshots.write(header, encode());
    await store.recordSnapshot(header, this.compaction.keepEntries);
    log('info', { index }, 'snapshot taken');
  }

  send(m: Message, transport: Transport): void {
    const { index, term, confState } = m.snapshot!.meta;
    if (!isMember(confState, m.to)) {
      void this.#renew(m.to, index);
      return;
    }
    this.#env.log('info', { peer: m.to, index }, 'sending a snapshot');
    void transport.sendSnapshot(m, () => this.#env.store.snapshots.open({ index, term }));
  }

  /** A snapshot of before the peer was added means nothing to it: it needs one of now. */
  async #renew(peer: number, index: number): Promise<void> {
    try {
      await this.take();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#env.log('warn', { peer, index, reason }, 'a snapshot for a new member could not be taken');
    }
    this.#env.notSent(peer);
  }

  /** Steps the core's message for a snapshot that arrived; when the core does not take the snapshot it is thrown away. */
  offer(received: UnnamedSnapshot, step: () => void): void {
    this.#received = received;
    step();
    if (this.#received !== received) return;
    this.#received = undefined;
    void received.discard().catch(() => {});
  }

  /** The core has taken it. */
  claim(index: number): UnnamedSnapshot | undefined {
    const received = this.#received;
    if (received?.header.meta.index !== index) return undefined;
    this.#received = undefined;
    return received;
  }
}

const isMember = ({ voters, votersOutgoing, learners, learnersNext }: ConfState, id: number): boolean =>
  [voters, votersOutgoing, learners, learnersNext].some((ids) => ids.includes(id));
