import { isTransferMarker } from '../core/message.ts';
import type { RawNode } from '../core/raw-node.ts';
import type { Message } from '../core/types.ts';
import { Transport } from '../transport/transport.ts';
import { lostLog } from './errors.ts';
import type { Lease } from './lease.ts';
import type { Membership } from './membership.ts';
import type { RaftHostParts } from './parts.ts';
import type { Snapshotter } from './snapshotter.ts';

// The other members: what comes from them goes into the core, and those who may know more are asked.

export interface PeersEnv {
  readonly parts: RaftHostParts;
  readonly core: RawNode;
  readonly membership: Membership;
  readonly lease: Lease | undefined;
  readonly snapshotter: Snapshotter;
  readonly isRemoved: () => boolean;
  /** Another member says that this one was removed. */
  readonly toldRemoved: () => void;
  /** This member cannot go on. */
  readonly failed: (error: unknown) => void;
  /** Around what is asked of the core. */
  readonly guard: (call: () => unknown) => void;
  /** Works off what the core makes of it: now, or with what else gathers. */
  readonly turn: () => void;
  readonly soon: () => void;
}

export class Peers {
  readonly transport: Transport;
  readonly #env: PeersEnv;
  #ticks = 0;
  /** Election time-outs without a leader. */
  #leaderless = 0;

  constructor(env: PeersEnv) {
    this.#env = env;
    this.transport = this.#makeTransport();
  }

  tick(leader: number): void {
    this.transport.tick();
    this.#probeMembers(leader);
  }

  snapshotSent(peer: number, outcome: 'finished' | 'failed'): void {
    const { core, guard, soon } = this.#env;
    guard(() => core.reportSnapshot(peer, outcome));
    soon();
  }

  #makeTransport(): Transport {
    const { parts, core, membership, snapshotter, guard, turn, toldRemoved, failed } = this.#env;
    const { options, modules, timing, store, clock } = parts;
    return new Transport({
      self: options.id,
      logId: store.log,
      identify: (peer, logId) => this.#identify(peer, logId),
      known: () => store.peers.known,
      dial: modules.dial,
      tickMs: timing.tickMs,
      random: options.random,
      after: (ms, callback) => clock.after(ms, callback),
      log: (level, fields, text) => this.#log(level, fields, text),
      address: (peer) => membership.address(peer),
      isRemoved: (peer) => membership.isRemoved(peer),
      receive: (header) => store.snapshots.receive(header),
      events: {
        message: (m) => this.#step(m),
        unreachable: (peer) => guard(() => core.reportUnreachable(peer)),
        removed: toldRemoved,
        otherLog: (peer) => failed(lostLog(options.id, peer)),
        snapshotSent: (peer, outcome) => this.snapshotSent(peer, outcome),
        snapshotReceived: (m, received) => {
          snapshotter.offer(received, () => {
            this.#step(m);
            turn();
          });
        },
      },
    });
  }

  #identify(peer: number, logId: number): boolean | Promise<boolean> {
    const { peers } = this.#env.parts.store;
    const known = peers.identify(peer, logId);
    if (known === false)
      this.#log('warn', { peer }, 'a member came with another log than it is known by: it is not heard');
    if (typeof known !== 'boolean') known.catch(this.#env.failed);
    return known;
  }

  #step(m: Message): void {
    const { core, lease, isRemoved, guard, soon } = this.#env;
    if (isRemoved()) return;
    // Who was asked to take over may: its leader has given up the lease.
    const asksVote = (m.type === 'vote' || m.type === 'pre-vote') && !isTransferMarker(m.context);
    if (asksVote && lease?.hasForgotten) return;
    if (m.type === 'transfer-leader') lease?.break();
    guard(() => core.step(m));
    soon();
  }

  /**
   * One that hears of no leader may have been removed: who knows answers so. A learner would ask nobody otherwise. And all members are to know one
   * another's logs before any of them can lose its own.
   */
  #probeMembers(leader: number): void {
    const { parts, core, membership, isRemoved } = this.#env;
    const { timing, store, options } = parts;
    if (++this.#ticks % timing.electionTicks !== 0 || isRemoved()) return;
    this.#leaderless = leader === 0 ? this.#leaderless + 1 : 0;
    const asks = this.#leaderless > 0 && this.#leaderless % 3 === 0;
    for (const { id } of membership.members(core.status().confState)) {
      if (id !== options.id && (asks || !store.peers.knows(id))) this.transport.probe(id);
    }
  }

  #log(level: 'debug' | 'info' | 'warn', fields: Record<string, unknown>, text: string): void {
    this.#env.parts.options.log?.(level, fields, text);
  }
}
