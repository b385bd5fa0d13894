import {
  isTerminal,
  type Payload,
  type PayloadKind,
  payloadReferences,
  type StoreEvent,
  type Task,
  versionOf,
  wantsLife,
} from '@swarmctl/shared/model';
import type { NodePayload, PayloadPart } from '@swarmctl/shared/wire';
import type { View } from '../store/types.ts';

// Which secrets and configs each node gets: those of its tasks that live, and those that something else on the node needs. And the credentials at
// registries of the services whose tasks live there. Nothing else leaves the managers.

/**
 * Ids of secrets and configs that a node needs beside those of its tasks. Asked again after changes of services, nodes, secrets and configs, for
 * each node that is connected.
 */
export type AlsoNeeded = (view: View, nodeId: string) => Iterable<string>;

/** What a session is to be sent. */
export interface PayloadDelta {
  readonly added: readonly NodePayload[];
  /** All that the node is to have then. */
  readonly ids: readonly string[];
}

/** Bytes of content in one message: less than a second of a megabit line, so that no peer seems silent. */
export const messageBytes = 96 * 1024;

interface Who {
  readonly nodeId: string;
  /** Tasks as the agent was last shown them. */
  readonly shown: ReadonlyMap<string, Task>;
}

export class PayloadTracker {
  readonly #alsoNeeded: AlsoNeeded | undefined;
  readonly #has = new WeakMap<Who, ReadonlySet<string>>();
  /** Any node may need others than before, whatever its tasks. */
  #touched = false;

  constructor(alsoNeeded?: AlsoNeeded) {
    this.#alsoNeeded = alsoNeeded;
  }

  touch(event: StoreEvent): void {
    const { table } = event;
    this.#touched ||=
      isRekeyed(event) ||
      table === 'secrets' ||
      table === 'configs' ||
      (this.#alsoNeeded !== undefined && (table === 'services' || table === 'nodes'));
  }

  /** All sessions were looked at. */
  settle(): void {
    this.#touched = false;
  }

  /** What the session lacks; undefined: nothing. `moved`: something about its tasks has changed. */
  unshown(session: Who, view: View, moved: boolean): PayloadDelta | undefined {
    return moved || this.#touched ? this.#delta(session, view, this.#has.get(session) ?? new Set()) : undefined;
  }

  /** What a session that is shown everything lacks. */
  whole(session: Who, view: View): PayloadDelta {
    const has = this.#has.get(session) ?? new Set();
    return this.#delta(session, view, has) ?? { added: [], ids: [...has] };
  }

  /** The session gets it. */
  shown(session: Who, { ids }: PayloadDelta): void {
    this.#has.set(session, new Set(ids));
  }

  #delta(session: Who, view: View, has: ReadonlySet<string>): PayloadDelta | undefined {
    const needed = new Map<string, NodePayload | undefined>();
    for (const id of this.#needs(session, view)) {
      if (needed.has(id)) continue;
      const found = find(view, id);
      if (found) needed.set(id, has.has(id) ? undefined : nodePayload(...found));
    }
    for (const auth of pullAuths(session, view)) needed.set(auth.id, has.has(auth.id) ? undefined : auth);
    const added = [...needed.values()].filter((one) => one !== undefined);
    // As many as before and none new: the same.
    return added.length === 0 && needed.size === has.size ? undefined : { added, ids: [...needed.keys()] };
  }

  *#needs({ nodeId, shown }: Who, view: View): Iterable<string> {
    for (const task of shown.values()) {
      const { Spec } = task;
      if (!Spec.ContainerSpec?.Secrets && !Spec.ContainerSpec?.Configs) continue;
      if (!livesOn(task, view)) continue;
      for (const reference of payloadReferences(Spec.ContainerSpec)) yield reference.id;
    }
    if (this.#alsoNeeded) yield* this.#alsoNeeded(view, nodeId);
  }
}

function livesOn({ ID, DesiredState }: Task, view: View): boolean {
  const state = view.get('tasks', ID)?.Status.State;
  return state !== undefined && !isTerminal(state) && wantsLife(DesiredState);
}

const isRekeyed = (event: StoreEvent): boolean =>
  event.table === 'services' && event.before?.PullAuth?.Spec?.ID !== event.after?.PullAuth?.Spec?.ID;

/** Credentials of the services whose tasks live there. */
function* pullAuths({ shown }: Who, view: View): Iterable<NodePayload> {
  for (const task of shown.values()) {
    const auth = view.get('services', task.ServiceID)?.PullAuth?.Spec;
    if (!auth || !livesOn(task, view)) continue;
    const name = task.ServiceID;
    const data = Buffer.from(auth.Data);
    yield { kind: 'registry-auth', id: auth.ID, name, version: { base: name, number: 1 }, data, templated: false };
  }
}

/** In messages of a bounded size: several small ones in one, a large one in pieces. */
export function* inMessages(payloads: readonly NodePayload[]): Iterable<readonly PayloadPart[]> {
  let message: PayloadPart[] = [];
  let bytes = 0;
  for (const payload of payloads) {
    const size = payload.data.length;
    for (let at = 0; at < size; ) {
      const data = payload.data.subarray(at, at + messageBytes - bytes);
      message.push({ ...payload, data, at, size });
      [at, bytes] = [at + data.length, bytes + data.length];
      if (bytes < messageBytes) continue;
      yield message;
      [message, bytes] = [[], 0];
    }
  }
  if (message.length > 0) yield message;
}

function find(view: View, id: string): [PayloadKind, Payload] | undefined {
  const secret = view.get('secrets', id);
  if (secret) return ['secret', secret];
  const config = view.get('configs', id);
  return config && ['config', config];
}

const nodePayload = (kind: PayloadKind, { ID, Spec }: Payload): NodePayload => ({
  kind,
  id: ID,
  name: Spec.Name,
  version: versionOf(Spec),
  data: Buffer.from(Spec.Data, 'base64'),
  templated: Spec.Templating !== undefined,
});
