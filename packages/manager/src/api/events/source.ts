import type { Duplex } from 'node:stream';
import { linesOf } from '@swarmctl/shared/kit';
import type { Node } from '@swarmctl/shared/model';
import type { ApiContext } from '../context.ts';
import { clusterLabel, queryText, swarmNodeLabel } from '../docker-host/containers.ts';
import { type EngineRoom, hostnameOf } from '../docker-host/engines.ts';
import { answerOver, textOf } from '../docker-host/over-stream.ts';
import { forwardedBy } from '../forward.ts';
import { apiVersion } from '../version.ts';
import { engineTypes, nodeAttribute, nodeIdAttribute } from './event-filter.ts';
import { eventIn, revisionField, type ToldEvent } from './told-event.ts';

// Where the events of engines come from: to the leader from each node, to a follower from the leader.

export interface Source {
  readonly key: string;
  readonly name: string;
  /** Longer nobody waits for its first answer. */
  readonly patienceMs: number;
  /** Which engine it is; several nodes may share one. */
  engine(): Promise<string>;
  /** Its clock, in ms since the epoch. */
  now(): Promise<{ readonly least: number; readonly most: number }>;
  open(signal: AbortSignal): Promise<Duplex>;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** As it is told here; undefined: it is none of this cluster's. */
  told(event: ToldEvent): ToldEvent | undefined;
}

const nodePatienceMs = 2_000;
/** It waits for the nodes itself. */
const leaderPatienceMs = 4_000;
/** Labels of containers are in there. */
const mostLineBytes = 256 * 1024;

export function sourcesOf(context: ApiContext, room: EngineRoom): readonly Source[] {
  const manager = context.local.manager();
  if (!manager) return [];
  if (manager.isLeader()) return room.nodes().map((node) => nodeSource(context, room, node));
  const leader = manager.leader();
  if (!leader || leader.nodeId === context.local.info().nodeId) return [];
  return [
    {
      ...{ key: `leader ${leader.nodeId} ${leader.addr}`, name: 'the leader', patienceMs: leaderPatienceMs },
      engine: async () => 'all',
      now: async () => ({ least: context.clock.now(), most: context.clock.now() }),
      open: async (signal) => {
        const stream = await manager.dialLeader(signal);
        if (stream === 'here') throw new Error('it is this manager that leads now');
        return stream;
      },
      query: { filters: JSON.stringify({ scope: ['local'] }) },
      headers: { [forwardedBy]: context.local.info().nodeId },
      told: (event) => event,
    },
  ];
}

function nodeSource(context: ApiContext, room: EngineRoom, node: Node): Source {
  return {
    ...{ key: `node ${node.ID}`, name: hostnameOf(node), patienceMs: nodePatienceMs },
    engine: async () => (await room.lately(node)).ID,
    now: () => room.now(node),
    open: () => room.dial(node.ID),
    told: (event) => {
      // What happens in the cluster, and at which revision, no node has a say about.
      if (!engineTypes.includes(event.Type)) return undefined;
      const { [revisionField]: _, ...more } = event.more;
      const { Attributes } = event.Actor;
      const view = context.local.manager()?.view();
      const cluster = Attributes[clusterLabel];
      if (cluster !== undefined && cluster !== view?.cluster()?.ID) return undefined;
      // Of several nodes on an engine, the one whose task it is; a node has no say about others, whatever its engine's labels are.
      const named = view?.get('nodes', Attributes[swarmNodeLabel] ?? '');
      const { ID, Description } = named && room.shareEngine(named.ID, node.ID) ? named : node;
      const where = { [nodeIdAttribute]: ID, [nodeAttribute]: Description?.Hostname || ID };
      return { ...event, more, scope: 'local', Actor: { ...event.Actor, Attributes: { ...Attributes, ...where } } };
    },
  };
}

/** Ends when the source ends it. Rejects with what the source says against it, or the signal's reason. */
export async function* readEvents(
  source: Source,
  query: Readonly<Record<string, string>>,
  signal: AbortSignal,
  onBegun: () => void = () => {},
): AsyncGenerator<ToldEvent> {
  const stream = await source.open(signal);
  try {
    signal.throwIfAborted();
    const answer = await answerOver(stream, {
      path: `/v${apiVersion}/events${queryText({ ...source.query, ...query })}`,
      headers: source.headers ?? {},
      signal,
    });
    if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}: ${(await textOf(answer)).trim()}`);
    onBegun();
    for await (const line of linesOf(answer, { maxBytes: mostLineBytes, longer: 'skip' })) {
      const event = eventIn(line);
      const told = event && source.told(event);
      if (told) yield told;
    }
  } finally {
    stream.destroy();
  }
}
