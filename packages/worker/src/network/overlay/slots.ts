import { type Clock, ClusterError, messageOf } from '@swarmctl/shared/kit';
import type { NetworkView } from '@swarmctl/shared/wire';
import { bridgeName } from './identity.ts';
import { NetworkMtu } from './network-mtu.ts';
import type { NetworkState } from './plan.ts';

// The networks that a node has or is to have: those of the views, and those that a container keeps. Who attaches a task waits here until its
// networks are open.

/** One network, and how far it has come. */
export interface Slot {
  readonly id: string;
  view: NetworkView;
  /** In the views; else a container may keep it. */
  isListed: boolean;
  /** What the kernel has; undefined: unknown. */
  kernel?: NetworkState | undefined;
  /** The view that the kernel was held to. */
  held?: NetworkView | undefined;
  /** The engine has it, and names are answered. */
  isOpen: boolean;
  /** Since the latest sweep. */
  isChecked: boolean;
  readonly mtu: NetworkMtu;
  /** The engine's name of it, and why users cannot put containers there. */
  engineName?: string;
  closedToGuests?: string | undefined;
  error?: unknown;
  /** The engine is being asked to open it, or to close it. */
  work?: Promise<void> | undefined;
  isClosing: boolean;
}

/** A task may come before its networks. */
const unknownMs = 10_000;

export class Slots {
  readonly #clock: Clock;
  readonly #slots = new Map<string, Slot>();
  /** Network ids by task. */
  readonly #attached = new Map<string, readonly string[]>();
  readonly #waiters = new Set<() => void>();
  #isClosed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  all(): Slot[] {
    return [...this.#slots.values()];
  }

  /** Those that are to be here. */
  wanted(): Slot[] {
    return this.all().filter((slot) => !slot.isClosing && this.isWanted(slot));
  }

  isWanted(slot: Slot): boolean {
    return slot.isListed || [...this.#attached.values()].some((ids) => ids.includes(slot.id));
  }

  hasBridge(name: string): boolean {
    return [...this.#slots.keys()].some((id) => bridgeName(id) === name);
  }

  /** The networks of the views; others stay as long as a container keeps them. */
  list(views: ReadonlyMap<string, NetworkView>): void {
    for (const slot of this.all()) {
      // The resolver has forgotten one that comes back.
      if (!slot.isListed && views.has(slot.id)) slot.isOpen = false;
      slot.isListed = views.has(slot.id);
    }
    for (const [id, view] of views) {
      const slot = this.#slots.get(id);
      if (!slot) this.#slots.set(id, newSlot(id, view));
      else if (slot.view !== view) {
        if (!sameForEngine(slot.view, view)) slot.isOpen = false;
        slot.view = view;
      }
    }
    this.changed();
  }

  remove(id: string): void {
    this.#slots.delete(id);
  }

  /** From here on, the task's networks are not taken away. */
  attach(taskId: string, ids: readonly string[]): void {
    this.#attached.set(taskId, ids);
  }

  /** False: it was not attached. */
  detach(taskId: string): boolean {
    return this.#attached.delete(taskId);
  }

  /** As soon as it is open. Rejects with ClusterError when it cannot be had. */
  async opened(id: string): Promise<Slot> {
    const end = this.#clock.monotonic() + unknownMs;
    for (;;) {
      if (this.#isClosed) throw closedError();
      const slot = this.#slots.get(id);
      if (slot?.isOpen) return slot;
      if (slot?.error !== undefined) throw asClusterError(slot);
      if (!slot && this.#clock.monotonic() >= end)
        throw new ClusterError('unavailable', `the managers have not told this node of network ${id} yet`);
      await this.#change(slot ? undefined : end - this.#clock.monotonic());
    }
  }

  /** Whoever waits looks again. */
  changed(): void {
    for (const waiter of [...this.#waiters]) waiter();
  }

  close(): void {
    this.#isClosed = true;
    this.changed();
  }

  /** Resolves with the next change, or after `ms`. */
  #change(ms: number | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        timer?.cancel();
        this.#waiters.delete(done);
        resolve();
      };
      const timer = ms === undefined ? undefined : this.#clock.after(ms, done);
      this.#waiters.add(done);
    });
  }
}

export const closedError = () => new ClusterError('unavailable', 'the overlay networks of this node are closed');

export const isSettled = ({ isOpen, isChecked, error }: Slot): boolean => isOpen && isChecked && error === undefined;

/** The engine need not be told of the difference. */
export const sameForEngine = (a: NetworkView, b: NetworkView): boolean =>
  a === b || (a.internal === b.internal && JSON.stringify(a.subnets) === JSON.stringify(b.subnets));

const newSlot = (id: string, view: NetworkView): Slot => ({
  ...{ id, view, isListed: true, isOpen: false, isChecked: false, isClosing: false },
  mtu: new NetworkMtu(),
});

function asClusterError({ view, error }: Slot): ClusterError {
  const code = error instanceof ClusterError ? error.code : 'unavailable';
  return new ClusterError(code, `network ${view.name}: ${messageOf(error)}`, {}, error);
}
