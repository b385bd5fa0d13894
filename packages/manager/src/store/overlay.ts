import type { Objects, StoreChange, Table } from '@swarmctl/shared/model';
import { StateEditor } from './editor.ts';
import type { State } from './state.ts';
import type { Overlay } from './types.ts';

// Uncommitted changes over a state: what several deciders of one pass see of each other. It shares all that it does not change.

export class StateOverlay implements Overlay {
  readonly index: number;
  readonly #now: number;
  readonly #changes: StoreChange[] = [];
  #state: State;

  /** `now`: when what is decided here is decided (ms). */
  constructor(state: State, now = 0) {
    this.index = state.index;
    // Later than everything there is, so that what is made here counts as the youngest.
    this.#now = Math.max(now, state.now + 1);
    this.#state = state;
  }

  get changes(): readonly StoreChange[] {
    return this.#changes;
  }

  add(changes: readonly StoreChange[]): void {
    const editor = new StateEditor(this.#state, { now: this.#now });
    for (const change of changes) editor.apply(change);
    this.#state = editor.done();
    this.#changes.push(...changes);
  }

  get<T extends Table>(table: T, id: string): Objects[T] | undefined {
    return this.#state.get(table, id);
  }

  list<T extends Table>(table: T): readonly Objects[T][] {
    return this.#state.list(table);
  }

  cluster() {
    return this.#state.cluster();
  }

  serviceByName(name: string) {
    return this.#state.serviceByName(name);
  }

  tasksOfService(serviceId: string) {
    return this.#state.tasksOfService(serviceId);
  }

  tasksOfNode(nodeId: string) {
    return this.#state.tasksOfNode(nodeId);
  }

  tasksOfSlot(serviceId: string, slot: number) {
    return this.#state.tasksOfSlot(serviceId, slot);
  }

  nodesByHostname(hostname: string) {
    return this.#state.nodesByHostname(hostname);
  }

  networkByName(name: string) {
    return this.#state.networkByName(name);
  }

  payloadByName(table: 'secrets' | 'configs', name: string) {
    return this.#state.payloadByName(table, name);
  }

  addressesOf(networkId: string) {
    return this.#state.addressesOf(networkId);
  }
}
