import { isAttachable, type Network, type Node } from '@swarmctl/shared/model';
import { type GuestHere, guestsOn } from '../../store/guests.ts';
import type { View } from '../../store/types.ts';
import { type ShownContainer, showGuest } from '../network-shown.ts';
import { clusterLabel } from './containers.ts';
import { countMs, type EngineRoom, hostnameOf } from './engines.ts';

// Who is on an attachable network at this moment. Nodes tell the managers of containers made by hand a moment after they came or went, which is too late for
// who has just started or removed one: so the engines are asked. Of one that does not say so at once, what its node told counts.

export interface OnNetwork {
  readonly containerId: string;
  readonly hostname: string;
  /** A task's; absent: made by hand. */
  readonly taskId?: string;
  readonly shown: ShownContainer;
}

/** Leader only. Never rejects. */
export async function containersOn(room: EngineRoom, view: View, network: Network): Promise<readonly OnNetwork[]> {
  if (!isAttachable(network)) return [];
  const told = guestsOn(view, network);
  const ready = new Map(room.nodes().map((node) => [node.ID, node]));
  const onNode = async (nodeId: string) => {
    const node = ready.get(nodeId);
    const asked = node && (await askedOf(room, view, network, node));
    return asked ?? told.filter((guest) => guest.nodeId === nodeId).map((guest) => asTold(view, network, guest));
  };
  const all = (await Promise.all(Object.keys(network.Blocks ?? {}).map(onNode))).flat();
  return [...new Map(all.map((one) => [one.containerId, one])).values()];
}

/** Undefined: the engine does not say. */
async function askedOf(room: EngineRoom, view: View, network: Network, node: Node): Promise<OnNetwork[] | undefined> {
  const path = `/networks/${encodeURIComponent(network.Spec.Name)}`;
  const answer = await room.ask(node, 'GET', path, { timeoutMs: countMs }).catch(() => undefined);
  if (answer?.status === 404) return [];
  if (answer?.status !== 200) return undefined;
  // Another of that name.
  if (answer.json?.Labels?.[clusterLabel] !== view.cluster()?.ID) return [];
  const containers = (answer.json?.Containers ?? {}) as Readonly<Record<string, ShownContainer>>;
  return Object.entries(containers).map(([containerId, shown]) => {
    // `web.1.TASK`
    const taskId = shown.Name.split('.').at(-1) ?? '';
    return {
      ...{ containerId, hostname: hostnameOf(node), shown },
      ...(view.get('tasks', taskId) && { taskId }),
    };
  });
}

const asTold = (view: View, network: Network, guest: GuestHere): OnNetwork => {
  const node = view.get('nodes', guest.nodeId);
  return {
    containerId: guest.ContainerID,
    hostname: node ? hostnameOf(node) : guest.nodeId,
    shown: showGuest(network, guest),
  };
};
