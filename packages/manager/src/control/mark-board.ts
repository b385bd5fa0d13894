import type { StoreEvent } from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import type { Controller, Key } from './types.ts';

// Who has to look at what, now and later. Each controller and key stands here once.

interface Seat {
  readonly controller: Controller;
  keys: Set<Key>;
  /** ms since the epoch, by key. */
  readonly wakes: Map<Key, number>;
}

export class MarkBoard {
  readonly #seats: readonly Seat[];

  constructor(controllers: readonly Controller[]) {
    this.#seats = controllers.map((controller) => ({ controller, keys: new Set(), wakes: new Map() }));
  }

  get isEmpty(): boolean {
    return this.#seats.every((seat) => seat.keys.size === 0);
  }

  clear(): void {
    for (const seat of this.#seats) {
      seat.keys.clear();
      seat.wakes.clear();
    }
  }

  mark(controller: Controller, key: Key): void {
    this.#seatOf(controller).keys.add(key);
  }

  markEvent(event: StoreEvent, view: View): void {
    for (const seat of this.#seats) for (const key of seat.controller.marks(event, view)) seat.keys.add(key);
  }

  /** Everything, and no time set before counts any more. */
  markAll(view: View): void {
    for (const seat of this.#seats) {
      seat.wakes.clear();
      for (const key of seat.controller.all(view)) seat.keys.add(key);
    }
  }

  markDue(now: number): void {
    for (const seat of this.#seats) {
      for (const [key, at] of seat.wakes) {
        if (at > now) continue;
        seat.wakes.delete(key);
        seat.keys.add(key);
      }
    }
  }

  /** The time that the key's latest decision asked for replaces any earlier one. */
  setWake(controller: Controller, key: Key, at: number | undefined): void {
    const { wakes } = this.#seatOf(controller);
    if (at === undefined) wakes.delete(key);
    else wakes.set(key, at);
  }

  nextWake(): number | undefined {
    let next: number | undefined;
    for (const seat of this.#seats)
      for (const at of seat.wakes.values()) if (next === undefined || at < next) next = at;
    return next;
  }

  /** Takes the keys of the first controller that has any. */
  takeFirst(): { readonly controller: Controller; readonly keys: readonly Key[] } | undefined {
    const seat = this.#seats.find((one) => one.keys.size > 0);
    if (!seat) return undefined;
    const keys = [...seat.keys];
    seat.keys.clear();
    return { controller: seat.controller, keys };
  }

  #seatOf(controller: Controller): Seat {
    const seat = this.#seats.find((one) => one.controller === controller);
    if (!seat) throw new Error(`no such controller: ${controller.name}`);
    return seat;
  }
}
