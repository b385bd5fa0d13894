import { type Clock, type Logger, messageOf } from '@swarmctl/shared/kit';
import { isTerminal, type TaskEndpoint, type TaskStatus } from '@swarmctl/shared/model';
import type { IngressEntry, MeshView, NetworkView, StatusUpdate } from '@swarmctl/shared/wire';
import { type GoneCache, withoutGone } from '../network/mesh/gone.ts';
import type { NodeNetworks } from '../network/node-networks.ts';
import type { Ingress, Mesh, MeshState } from '../network/types.ts';

// The ingress table, the mesh and the overlay networks as the managers want them, and how far this node has come with them.

const retryMs = 1_000;
/** The longest that a task's endpoints wait to be reachable by the mesh before they are told of. */
const openMs = 1_000;

/**
 * How long a restarted daemon waits for the managers' word before it goes by its journal. What an earlier one left in force serves meanwhile: after
 * its sudden end it may be newer than the journal, and lead to tasks that live where that leads to ones that are gone.
 */
export const heldMs = 1_000;

export interface RoutingModules {
  readonly ingress: Ingress;
  readonly mesh?: Mesh;
  readonly networks?: Pick<NodeNetworks, 'apply'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** The node routes by a newer revision. */
  readonly applied: (revision: number) => void;
}

export interface RoutingStart {
  readonly entries: readonly IngressEntry[];
  readonly mesh?: MeshView;
  readonly networks?: readonly NetworkView[];
  readonly revision: number;
  /** The tasks here. */
  readonly statuses?: readonly StatusUpdate[];
}

export interface NetworksChange {
  readonly views: readonly NetworkView[];
  readonly removed: readonly string[];
}

const byId = (views: readonly NetworkView[]) => new Map(views.map((view) => [view.id, view]));

export class Routing {
  readonly #modules: RoutingModules;
  readonly #unsubscribe: () => void;
  readonly #cache: GoneCache = new WeakMap();
  /** Of the tasks here, by task: for what comes by the mesh. */
  readonly #own = new Map<string, readonly TaskEndpoint[]>();
  #table = new Map<string, IngressEntry>();
  /** Of the mesh. */
  #view: MeshView | undefined;
  #networks: ReadonlyMap<string, NetworkView>;
  /** The networks that were asked for last, in force or on the way. */
  #carried: { readonly views: ReadonlyMap<string, NetworkView>; readonly done: Promise<void> } | undefined;
  /** That view in force, or what came of it. */
  #viewed: Promise<void> = Promise.resolve();
  #wanted: number;
  #applied = 0;
  /** True when `#table` is in force. */
  #latest: Promise<boolean> = Promise.resolve(true);
  #retrying = false;
  /** Until when nothing is put into force. */
  #held: { cancel(): void } | undefined;
  #isEnded = false;

  /** From the journal: nothing is in force yet. */
  constructor(start: RoutingStart, modules: RoutingModules) {
    this.#modules = modules;
    this.#table = new Map(start.entries.map((entry) => [entry.key, entry]));
    this.#view = start.mesh;
    this.#networks = byId(start.networks ?? []);
    this.#wanted = start.revision;
    for (const { taskId, status } of start.statuses ?? []) this.#note(taskId, status);
    this.#unsubscribe =
      modules.mesh?.onChange(() => {
        if (this.#view) this.#force();
      }) ?? (() => undefined);
  }

  get entries(): IngressEntry[] {
    return [...this.#table.values()];
  }

  get mesh(): MeshView | undefined {
    return this.#view;
  }

  get networks(): NetworkView[] {
    return [...this.#networks.values()];
  }

  /** The newest revision that was asked for, and the one that is in force. */
  get wanted(): number {
    return this.#wanted;
  }

  get applied(): number {
    return this.#applied;
  }

  /** Puts what is known into force, unless newer comes soon. */
  restore(): void {
    this.#held = this.#modules.clock.after(
      heldMs,
      () => {
        this.#release();
        this.#showMesh();
        this.#force();
      },
      { unref: true },
    );
  }

  #release(): void {
    this.#held?.cancel();
    this.#held = undefined;
  }

  /** Without a mesh: this node has no part in one. */
  replace(
    entries: readonly IngressEntry[],
    revision: number,
    mesh?: MeshView,
    networks: readonly NetworkView[] = [],
  ): void {
    this.#release();
    this.#networks = byId(networks);
    this.#table = new Map(entries.map((entry) => [entry.key, entry]));
    this.#wanted = revision;
    this.#view = mesh;
    this.#showMesh();
    this.#force();
  }

  /** Without a mesh: it is as it was. */
  change(
    entries: readonly IngressEntry[],
    removed: readonly string[],
    revision: number,
    mesh?: MeshView,
    networks?: NetworksChange,
  ): void {
    this.#wanted = Math.max(this.#wanted, revision);
    const wasHeld = this.#held !== undefined;
    this.#release();
    const carries = networks !== undefined && networks.views.length + networks.removed.length > 0;
    if (carries) {
      const next = new Map(this.#networks);
      for (const id of networks.removed) next.delete(id);
      for (const view of networks.views) next.set(view.id, view);
      this.#networks = next;
    }
    if (entries.length === 0 && removed.length === 0 && !mesh && !carries && !wasHeld) {
      this.#settle();
      return;
    }
    const table = new Map(this.#table);
    for (const key of removed) table.delete(key);
    for (const entry of entries) table.set(entry.key, entry);
    this.#table = table;
    if (mesh) this.#view = mesh;
    if (mesh || wasHeld) this.#showMesh();
    this.#force();
  }

  /**
   * What became of a task here. Other nodes may send to it a moment before this node's table has it and a moment after that has not, so with
   * a mesh it can be reached from before the managers know of its endpoints until it has ended. What is returned resolves when new endpoints
   * can be reached, or soon; undefined: nothing is to be waited for.
   */
  seen(taskId: string, status: TaskStatus): Promise<void> | undefined {
    if (!this.#note(taskId, status) || !this.#view || this.#isEnded) return undefined;
    this.#force();
    if (isTerminal(status.State)) return undefined;
    const { clock } = this.#modules;
    const inForce = this.#latest;
    return new Promise((resolve) => {
      const end = () => {
        timer.cancel();
        resolve();
      };
      const timer = clock.after(openMs, end);
      void inForce.then(end);
    });
  }

  /** True when it makes a difference. */
  #note(taskId: string, { State, Endpoints }: TaskStatus): boolean {
    if (!this.#modules.mesh) return false;
    if (isTerminal(State)) return this.#own.delete(taskId);
    if (!Endpoints || this.#own.get(taskId) === Endpoints) return false;
    this.#own.set(taskId, Endpoints);
    return true;
  }

  forget(taskId: string): void {
    if (this.#own.delete(taskId) && this.#view) this.#force();
  }

  /** Puts nothing into force by itself any more. */
  end(): void {
    this.#isEnded = true;
    this.#release();
    this.#unsubscribe();
  }

  #showMesh(): void {
    const { mesh, log } = this.#modules;
    const view = this.#view;
    if (!mesh || !view) return;
    this.#viewed = mesh.apply(view).then(
      () => undefined,
      (error: unknown) => log.warn({ problem: messageOf(error) }, 'going on without the mesh'),
    );
  }

  #force(): void {
    if (this.#isEnded || this.#held) return;
    const carrying = this.#carry();
    const latest = carrying ? Promise.all([this.#apply(), carrying]) : this.#apply();
    this.#latest = latest.then(
      () => true,
      (error: unknown) => {
        this.#modules.log.error({ error: messageOf(error) }, 'the node does not route as it is wanted to');
        this.#retrySoon();
        return false;
      },
    );
    this.#settle();
  }

  async #apply(): Promise<void> {
    const { ingress, mesh } = this.#modules;
    if (!mesh || !this.#view) return ingress.apply(this.#table);
    await this.#viewed;
    // The table that is the latest by now, so that none comes after a newer one.
    const state = this.#view && mesh.state();
    return ingress.apply(this.#without(state), state, [...this.#own.values()].flat());
  }

  /** The networks, when they are others than last time, or did not come about then. */
  #carry(): Promise<void> | undefined {
    const { networks } = this.#modules;
    const views = this.#networks;
    if (!networks || (!this.#carried && views.size === 0)) return undefined;
    if (this.#carried?.views === views) return this.#carried.done;
    const done = networks.apply(views);
    const carried = { views, done };
    this.#carried = carried;
    done.catch(() => {
      if (this.#carried === carried) this.#carried = undefined;
    });
    return done;
  }

  #without(state: MeshState | undefined): ReadonlyMap<string, IngressEntry> {
    return state?.gone ? withoutGone(this.#table, state.gone, this.#cache) : this.#table;
  }

  /** Tells once the latest table, which answers for every earlier one, is in force. */
  #settle(): void {
    const revision = this.#wanted;
    void this.#latest.then((inForce) => {
      if (!inForce || revision <= this.#applied) return;
      this.#applied = revision;
      this.#modules.applied(revision);
    });
  }

  #retrySoon(): void {
    if (this.#retrying) return;
    this.#retrying = true;
    this.#modules.clock.after(
      retryMs,
      () => {
        this.#retrying = false;
        this.#force();
      },
      { unref: true },
    );
  }
}
