import { ClusterError } from '@swarmctl/shared/kit';
import { type Node, parseJson } from '@swarmctl/shared/model';
import type { FastifyReply } from 'fastify';
import type { Filters } from '../query.ts';
import {
  type Away,
  type Each,
  type Engine,
  type EngineAnswer,
  type EngineRoom,
  type Engines,
  hostnameOf,
  missingOf,
} from './engines.ts';

// Which containers there are, and on which node. They are all containers of the engines but those of another cluster that shares an engine.

export const clusterLabel = 'swarmctl.cluster.id';
export const nodeLabel = 'swarmctl.node';
export const swarmNodeLabel = 'com.docker.swarm.node.id';
export const taskLabel = 'com.docker.swarm.task.id';

export interface Row {
  readonly Id: string;
  readonly Names: readonly string[];
  readonly Created: number;
  readonly State: string;
  readonly Labels: Readonly<Record<string, string>>;
  readonly SizeRw?: number;
  readonly Ports?: readonly { readonly IP?: string }[] | null;
  readonly HostConfig?: { readonly NetworkMode?: string };
  readonly NetworkSettings?: { readonly Networks?: Readonly<Record<string, object>> | null };
}

export interface Place {
  readonly engine: Engine;
  /** Of the engine's nodes, the one whose container it is. */
  readonly node: Node;
  readonly row: Row;
}

export interface Listing {
  readonly places: readonly Place[];
  readonly missing: readonly Away[];
}

/** Of all that could be asked. Throws as `missingOf`. */
export async function listAnswered(room: EngineRoom, engines: Engines, query: string): Promise<Listing> {
  const each = await room.each(engines.all, 'GET', `/containers/json${query}`);
  missingOf(engines.away, each);
  return listingOf(engines, each);
}

/** What Swarm's clients know as the node of a container. */
export const shownNode = (node: Node) => ({
  ID: node.ID,
  Name: hostnameOf(node),
  IP: node.Status.Addr ?? '',
  Addr: node.Status.Addr ?? '',
});

/** The same, of none as well. */
export async function listContainers(room: EngineRoom, engines: Engines, query: string): Promise<Listing> {
  return listingOf(engines, await room.each(engines.all, 'GET', `/containers/json${query}`));
}

function listingOf(engines: Engines, { values, failures }: Each<EngineAnswer>): Listing {
  const places = values.flatMap(({ engine, value }) =>
    (value.json as readonly Row[]).flatMap((row) => {
      const cluster = row.Labels?.[clusterLabel];
      if (cluster !== undefined && cluster !== engines.clusterId) return [];
      return [{ engine, node: nodeOf(engine, row), row }];
    }),
  );
  return { places, missing: [...engines.away, ...failures] };
}

const nodeOf = (engine: Engine, row: Pick<Row, 'Labels'>): Node =>
  engine.nodes.find((node) => node.ID === row.Labels?.[swarmNodeLabel]) ?? engine.node;

/** Its own names, without those that others link to it by. */
export const namesOf = (row: Pick<Row, 'Names'>): readonly string[] =>
  (row.Names ?? []).map((name) => name.replace(/^\//, '')).filter((name) => !name.includes('/'));

/** The node, by name or id, and the container of NODE/NAME. */
const ofNode = /^([^/]+)\/(.+)$/s;

/** A reference without its node, as that node's engine knows it. */
export const withoutNode = (reference: string): string => ofNode.exec(withoutSlash(reference))?.[2] ?? reference;

const withoutSlash = (name: string): string => name.replace(/^\//, '');

/**
 * By whole id, then name, then unique beginning of the id; of one node's as NODE/ and one of these. A name by which another is linked to it is one of its
 * names, too. Throws as Docker says it.
 */
export function findContainer({ places, missing }: Listing, reference: string): Place {
  const name = withoutSlash(reference);
  const [, node, rest] = ofNode.exec(name) ?? [];
  const linked = rest === undefined ? undefined : places.find(({ row }) => row.Names?.includes(`/${name}`));
  if (linked) return linked;
  if (node === undefined) return findAmong({ places, missing }, name, reference);
  const isIt = (one: Node) => one.ID === node || hostnameOf(one) === node;
  const there = places.filter(({ engine }) => engine.nodes.some(isIt));
  return findAmong({ places: there, missing }, rest ?? '', reference);
}

function findAmong({ places, missing }: Listing, name: string, reference: string): Place {
  const exact = places.find(({ row }) => row.Id === name);
  if (exact) return exact;
  const named = places.filter(({ row }) => namesOf(row).includes(name));
  const [first] = named;
  if (first && named.length === 1) return first;
  if (first) {
    const where = named.map(({ node, row }) => `${row.Id.slice(0, 12)} on ${hostnameOf(node)}`).join(', ');
    throw new ClusterError(
      'invalid-argument',
      `several containers are called ${name}: ${where}; name one by its id, or as NODE/${name}`,
    );
  }
  const begun = /^[0-9a-f]+$/.test(name) ? places.filter(({ row }) => row.Id.startsWith(name)) : [];
  const [only] = begun;
  if (only && begun.length === 1) return only;
  if (only) throw new ClusterError('invalid-argument', `Multiple IDs found with provided prefix: ${name}`);
  throw new ClusterError('not-found', `No such container: ${reference}${unlessAway(missing)}`);
}

/** What was not looked at. */
export const unlessAway = (missing: readonly Away[]): string =>
  missing.length === 0 ? '' : ` (not asked: ${missing.map(({ node, reason }) => `${node}: ${reason}`).join('; ')})`;

/** As they are shown: one that several nodes have a container of, with its node, so that it can be given back. */
export function shownNames(places: readonly Place[]): (place: Place) => readonly string[] {
  const counts = new Map<string, number>();
  for (const { row } of places) for (const name of row.Names ?? []) counts.set(name, (counts.get(name) ?? 0) + 1);
  return ({ node, row }) =>
    (row.Names ?? []).map((name) => ((counts.get(name) ?? 0) > 1 ? `/${hostnameOf(node)}${name}` : name));
}

/** Throws when the name is another container's, on whichever node. */
export function checkName({ places }: Listing, name: string, selfId?: string): void {
  const plain = name.replace(/^\//, '');
  const holder = places.find(({ row }) => row.Id !== selfId && namesOf(row).includes(plain));
  if (!holder) return;
  const renaming = selfId === undefined ? '' : 'Error when allocating new name: ';
  throw new ClusterError(
    'conflict',
    `${renaming}Conflict. The container name "/${plain}" is already in use by container "${holder.row.Id}". You have to remove (or rename) that container to be able to reuse that name.`,
  );
}

/** The object that a body is. Throws `invalid-argument` for any other. */
export function bodyObject(body: Buffer | undefined): object {
  const given = parseJson(body) ?? {};
  if (typeof given === 'object' && !Array.isArray(given)) return given;
  throw new ClusterError('invalid-argument', 'invalid JSON: the body must be an object');
}

/** The filters without those that are ours, as an engine takes them. */
export function filterText(filters: Filters, ...ours: readonly string[]): string | undefined {
  const rest = [...filters].filter(([key]) => !ours.includes(key));
  return rest.length === 0
    ? undefined
    : JSON.stringify(Object.fromEntries(rest.map(([key, some]) => [key, [...some]])));
}

/** `?a=b&filters=…` out of what is asked, with other filters. */
export function queryText(
  query: Readonly<Record<string, string | readonly string[] | undefined>>,
  set: Readonly<Record<string, string | undefined>> = {},
): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries({ ...query, ...set })) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined) search.append(key, one);
  }
  return search.size > 0 ? `?${search}` : '';
}

export const warn = (reply: FastifyReply, warning: string | undefined): FastifyReply =>
  warning === undefined ? reply : reply.header('Warning', warning);
