import { isEncrypted, type Node, type StoreEvent, withNextKey } from '@swarmctl/shared/model';
import type { View } from '../../store/types.ts';
import type { Controller } from '../types.ts';

// The pre-shared keys of the tunnels: the first with the first encrypted network, then a new one every twelve hours. A new key is first made
// known, and used when every node that is up has said that it is in touch: all then change at once, well within the minute for which WireGuard's
// sessions outlive their renewal, so that no packet meets a peer with another key.

export const rotationMs = 12 * 60 * 60 * 1000;
/** A node that is up and silent for so long does not hold up the others. */
export const waitMs = 10 * 60 * 1000;
const key = 'keys';

/** `newKey`: 32 random bytes, base64. */
export function tunnelKeys(newKey: () => string): Controller {
  return {
    name: 'tunnel-keys',
    marks: (event) => (concerns(event) ? [key] : []),
    all: () => [key],
    decide(view, _, { now }) {
      const cluster = view.cluster();
      if (!cluster) return { changes: [] };
      const { ID: id, Version, TunnelKeys: keys } = cluster;
      const set = (TunnelKeys: NonNullable<typeof keys>, wakeAt: number) => ({
        changes: [
          { op: 'update' as const, table: 'cluster' as const, id, version: Version.Index, set: { TunnelKeys } },
        ],
        wakeAt,
      });
      if (!view.list('networks').some(isEncrypted)) return { changes: [] };
      if (!keys) return set(withNextKey(undefined, newKey(), now), now + rotationMs);
      const { InUse, Next } = keys;
      if (!Next) {
        const dueAt = InUse.MadeAt + rotationMs;
        return now < dueAt ? { changes: [], wakeAt: dueAt } : set(withNextKey(keys, newKey(), now), now + waitMs);
      }
      const lateAt = Next.MadeAt + waitMs;
      if (now < lateAt && !isKnown(view, Next.Generation)) return { changes: [], wakeAt: lateAt };
      return set({ InUse: Next }, Next.MadeAt + rotationMs);
    },
  };
}

const isKnown = (view: View, generation: number): boolean =>
  view
    .list('nodes')
    .every(
      ({ Status, Description }) =>
        Status.State === 'down' || (Description?.Tunnel?.generation ?? generation) >= generation,
    );

function concerns(event: StoreEvent): boolean {
  switch (event.table) {
    case 'cluster':
      return event.before?.TunnelKeys !== event.after?.TunnelKeys;
    case 'networks':
      return event.op !== 'update';
    case 'nodes':
      return matters(event.before) !== matters(event.after);
    default:
      return false;
  }
}

const matters = (node: Node | undefined): string => `${node?.Status.State} ${node?.Description?.Tunnel?.generation}`;
