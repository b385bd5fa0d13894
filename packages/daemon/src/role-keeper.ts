import { type Clock, delay, isClusterError, type Logger, messageOf } from '@swarmctl/shared/kit';
import type { NodeRole } from '@swarmctl/shared/model';
import type { Serial } from './serial.ts';

// Makes the node what the managers say that it is, and its manager the one that the raft group knows. It goes by what is, not by what has happened:
// whatever was missed, or came in between, it ends where the state does.

/** What is done and asked; each may be repeated. */
export interface RoleParts {
  /** `gone`: the raft group has let it go, and it is still to be cleared away. */
  manager(): 'none' | 'runs' | 'gone';
  /** A manager runs that hears of no leader. */
  isLeaderless(): boolean;
  /** Of the certificate: a demoted manager is certified as one until the managers have forgotten that it was. */
  certified(): NodeRole;
  /** Renews the certificate. Rejects `not-found` when the node is no longer in the cluster. */
  renew(): Promise<NodeRole>;
  /** Whether the raft group knows the manager that runs. Rejects `permission-denied` when the node is to be none. */
  isMember(): Promise<boolean>;
  promote(): Promise<void>;
  demote(): Promise<void>;
  onRemoved(reason: string): void;
}

export interface RoleKeeperModules {
  readonly parts: RoleParts;
  /** What changes the manager runs here, one after the other. */
  readonly serial: Serial;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly log: Logger;
}

const firstRetryMs = 200;
const mostRetryMs = 2_000;
const lookMs = 1_000;
/** A group that can elect has done so by then: who hears of no leader any longer may be none of it. */
const leaderlessMs = 5_000;

export class RoleKeeper {
  readonly #modules: RoleKeeperModules;
  /** As the managers last said. */
  #wanted: NodeRole;
  #following = false;
  #leaderlessMs = 0;

  constructor(wanted: NodeRole, modules: RoleKeeperModules) {
    this.#wanted = wanted;
    this.#modules = modules;
  }

  start(): void {
    void this.#watch();
  }

  told(role: NodeRole): void {
    this.#wanted = role;
    this.look();
  }

  /** Something may be other than it is to be. */
  look(): void {
    if (!this.#following && !this.#isAsWanted()) void this.#follow();
  }

  #isAsWanted(): boolean {
    const { parts } = this.#modules;
    return parts.manager() === (this.#wanted === 'manager' ? 'runs' : 'none') && parts.certified() === this.#wanted;
  }

  async #follow(): Promise<void> {
    const { parts, serial, signal, clock, log } = this.#modules;
    this.#following = true;
    log.info({ role: this.#wanted }, 'role changes');
    try {
      for (let retryMs = firstRetryMs; !signal.aborted; retryMs = Math.min(retryMs * 1.5, mostRetryMs)) {
        try {
          await serial.run(() => this.#step());
        } catch (error) {
          if (isClusterError(error, 'not-found')) return parts.onRemoved(messageOf(error));
          if (!signal.aborted) log.warn({ error: messageOf(error) }, 'cannot change the role yet');
        }
        if (this.#isAsWanted()) break;
        await delay(clock, retryMs, signal).catch(() => undefined);
      }
    } finally {
      this.#following = false;
    }
    if (!signal.aborted) log.info({ role: this.#wanted }, 'role changed');
  }

  async #step(): Promise<void> {
    const { parts, signal } = this.#modules;
    if (signal.aborted) return;
    if (parts.manager() === 'gone') await parts.demote();
    const role = await parts.renew();
    if (parts.manager() !== 'none' && role === 'worker') await parts.demote();
    if (parts.manager() === 'none' && role === 'manager' && this.#wanted === 'manager') await parts.promote();
  }

  /**
   * A manager that was let go is told so by the others; but one whose log was still empty knows nobody, and nobody it. It would wait for ever for a
   * leader to come.
   */
  async #watch(): Promise<void> {
    const { parts, signal, clock } = this.#modules;
    for (;;) {
      await delay(clock, lookMs, signal).catch(() => undefined);
      if (signal.aborted) return;
      this.#leaderlessMs = parts.isLeaderless() ? this.#leaderlessMs + lookMs : 0;
      if (this.#leaderlessMs < leaderlessMs || this.#following) continue;
      this.#leaderlessMs = 0;
      await this.#checkMembership();
    }
  }

  async #checkMembership(): Promise<void> {
    const { parts, serial, signal, log } = this.#modules;
    try {
      await serial.run(async () => {
        if (signal.aborted || !parts.isLeaderless() || (await parts.isMember())) return;
        log.warn({}, 'the raft group does not know this manager: it joins anew');
        await parts.demote();
      });
      this.look();
    } catch (error) {
      if (isClusterError(error, 'permission-denied')) this.told('worker');
      else log.debug({ error: messageOf(error) }, 'cannot ask whether this manager is a member');
    }
  }
}
