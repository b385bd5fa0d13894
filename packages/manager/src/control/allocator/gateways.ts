import {
  canHaveGuests,
  freeBlocks,
  gatewaysIn,
  isAllocated,
  isAttachable,
  isTerminal,
  type Network,
  type Node,
  poolsOf,
  type StoreEvent,
  stateOrder,
  type Task,
} from '@swarmctl/shared/model';
import type { View } from '../../store/types.ts';
import type { Controller, Key } from '../types.ts';
import { mayFreeAddresses } from './attachments.ts';
import { Rooms, type Rotation } from './rooms.ts';

// The gateway allocator: each node that has tasks of a network has an address of its own there, one in each subnet. A node that has none any
// more keeps it for a while, so that a task that comes and goes does not make the node's end of the network anew. On an attachable network, each
// node that can have containers there has one, and with it a block.

const lingerMs = 60_000;

export function gatewayAllocator(rotation: Rotation): Controller {
  /** Since when (ms) a node has had no task of a network; a new leader counts anew. */
  const idle = new Map<string, number>();
  /** Networks where a node still lacks its address. */
  const short = new Set<Key>();
  return {
    name: 'gateways',
    marks(event, view) {
      const keys = new Set<Key>(mayFreeAddresses(event) ? short : []);
      for (const key of concerned(event, view)) keys.add(key);
      return [...keys];
    },
    all: (view) => view.list('networks').map(({ ID }) => ID),
    decide(view, key, env) {
      const network = view.get('networks', key);
      short.delete(key);
      if (!network) return { changes: [] };
      const busy = nodesOn(view, network);
      const hosts = hostsOf(view, network);
      const isNeeded = (id: string) => busy.has(id) || (hosts.has(id) && network.Blocks?.[id] !== undefined);
      const Gateways: Record<string, readonly string[]> = {};
      const Blocks: Record<string, readonly string[]> = {};
      let changed = false;
      let wakeAt: number | undefined;
      for (const [id, addresses] of Object.entries(network.Gateways)) {
        const idleKey = `${key} ${id}`;
        if (isNeeded(id)) idle.delete(idleKey);
        else {
          const until = (idle.get(idleKey) ?? env.now) + lingerMs;
          if (!view.get('nodes', id) || until <= env.now) {
            idle.delete(idleKey);
            changed = true;
            continue;
          }
          idle.set(idleKey, until - lingerMs);
          wakeAt = Math.min(wakeAt ?? until, until);
        }
        Gateways[id] = addresses;
        const blocks = network.Blocks?.[id];
        if (blocks) Blocks[id] = blocks;
      }
      for (const id of hosts) {
        if (Blocks[id]) continue;
        const blocks = freeBlocks(network, hosts.size, Object.values(Blocks).flat(), view.addressesOf(key).values());
        if (blocks) {
          Blocks[id] = blocks;
          Gateways[id] ??= gatewaysIn(blocks);
          changed = true;
        } else short.add(key);
      }
      const rooms = new Rooms(view, rotation);
      for (const id of busy) {
        if (Gateways[id]) continue;
        const addresses = gatewaysFor(network, rooms);
        if (addresses) {
          Gateways[id] = addresses;
          changed = true;
        } else short.add(key);
      }
      const wake = wakeAt === undefined ? {} : { wakeAt };
      if (!changed) return { changes: [], ...wake };
      const version = network.Version.Index;
      const set = { Gateways, ...(isAttachable(network) && { Blocks }) };
      return {
        changes: [{ op: 'update', table: 'networks', id: key, version, set, ifExists: true }],
        ...wake,
      };
    },
  };
}

/** The networks on which a node came or went with this. */
function concerned(event: StoreEvent, view: View): readonly Key[] {
  if (event.table === 'nodes') {
    const { before, after } = event;
    if (after) return hostingOf(before) === hostingOf(after) ? [] : attachable(view).map(({ ID }) => ID);
    return view.list('networks').flatMap(({ ID, Gateways }) => (Gateways[event.id] ? [ID] : []));
  }
  if (event.table === 'networks') {
    return event.before?.IPAM !== event.after?.IPAM && event.after ? [event.id] : [];
  }
  if (event.table !== 'tasks') return [];
  const { before, after } = event;
  const here = (task: Task | undefined) => task !== undefined && isOnNode(task);
  const attachments = (after ?? before)?.NetworksAttachments;
  return attachments && here(before) !== here(after) ? attachments.map(({ Network }) => Network.ID) : [];
}

const isOnNode = (task: Task): boolean =>
  task.NodeID !== undefined && stateOrder[task.Status.State] >= stateOrder.assigned && !isTerminal(task.Status.State);

const attachable = (view: View): Network[] => view.list('networks').filter(isAttachable);

/** What of a node decides whether it can have containers on attachable networks. */
const hostingOf = (node: Node | undefined): string => {
  const { Runtimes, Ingress, Tunnel } = node?.Description ?? {};
  return [Runtimes?.join(), Ingress?.Kind, Tunnel !== undefined].join(' ');
};

/** The nodes that are to have a block. */
const hostsOf = (view: View, network: Network): ReadonlySet<string> =>
  new Set(
    isAttachable(network) && isAllocated(network)
      ? view.list('nodes').flatMap((node) => (canHaveGuests(network, node) ? [node.ID] : []))
      : [],
  );

function nodesOn(view: View, network: Network): ReadonlySet<string> {
  const nodes = new Set<string>();
  for (const { holders } of view.addressesOf(network.ID).values()) {
    for (const { kind, id } of holders) {
      const task = kind === 'task' ? view.get('tasks', id) : undefined;
      if (task?.NodeID !== undefined && isOnNode(task) && view.get('nodes', task.NodeID)) nodes.add(task.NodeID);
    }
  }
  return nodes;
}

/** One in each subnet, or none. */
function gatewaysFor(network: Network, rooms: Rooms): readonly string[] | undefined {
  const pools = poolsOf(network);
  const addresses: string[] = [];
  for (const pool of pools) {
    const address = rooms.take(network, pool);
    if (address === undefined) {
      for (const one of addresses) rooms.giveBack(network, one);
      return undefined;
    }
    addresses.push(address);
  }
  return addresses.length > 0 ? addresses : undefined;
}
