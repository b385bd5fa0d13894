import { randomBytes } from 'node:crypto';
import { ClusterError } from '@swarmctl/shared/kit';
import { nodeMeets, parseConstraints, parseJson } from '@swarmctl/shared/model';
import type { FastifyInstance } from 'fastify';
import { filtersOf, type Query } from '../query.ts';
import { minorOf } from '../version.ts';
import { filterText, queryText, unlessAway, warn } from './containers.ts';
import { type Away, asError, type Engine, hostnameOf, missingOf, warningOf, workMs } from './engines.ts';
import { type DockerHost, searchOf, versionIn } from './host.ts';
import { sumOfPrune } from './image-routes.ts';
import { pruneVolumes } from './volume-prune.ts';
import { constraintsLabel, constraintsText } from './wishes.ts';

// Volumes of all nodes. A name means the volumes that have it, one a node: made on every node, since nobody knows yet where a container will use it,
// shown once with the names of its nodes, removed everywhere.

const leaderOnly = { config: { leaderOnly: true } };
type One = { Params: { name: string }; Querystring: Query };

export interface Volume {
  readonly Name: string;
  readonly Labels?: Readonly<Record<string, string>> | null;
  readonly Status?: Readonly<Record<string, unknown>> | null;
}

export function volumeRoutes(app: FastifyInstance, host: DockerHost): void {
  const { room } = host;

  app.get<{ Querystring: Query }>('/volumes', leaderOnly, async (request, reply) => {
    const filters = filtersOf(request.query, ['dangling', 'driver', 'label', 'name', 'node']);
    const engines = await room.engines(filters.get('node'));
    const query = queryText(request.query, { filters: filterText(filters, 'node') });
    const each = await room.each(engines.all, 'GET', `/volumes${query}`);
    warn(reply, warningOf(missingOf(engines.away, each)));
    const { values } = each;
    const lists = values.map(({ engine, value }) => ({ engine, volumes: (value.json?.Volumes ?? []) as Volume[] }));
    const Warnings = values.flatMap(({ value }) => (value.json?.Warnings ?? []) as string[]);
    return { Volumes: mergeVolumes(lists), Warnings: Warnings.length > 0 ? Warnings : null };
  });

  app.get<One>('/volumes/:name', leaderOnly, async (request) => {
    const { having, volumes } = await findVolume(host, request.params.name);
    return mergeVolumes(having.map((engine, at) => ({ engine, volumes: volumes.slice(at, at + 1) })))[0];
  });

  app.post('/volumes/create', leaderOnly, async (request, reply) => {
    const given = (parseJson(request.body as Buffer) ?? {}) as {
      Name?: string;
      Labels?: Record<string, unknown> | null;
    };
    // One name everywhere, also where the engines would choose it.
    const body = { ...given, Name: given.Name || randomBytes(32).toString('hex') };
    const texts = constraintsText(given.Labels?.[constraintsLabel])
      .split(',')
      .filter((text) => text.trim() !== '');
    const constraints = parseConstraints(texts);
    const { all, away } = await room.engines();
    const eligible = all.filter(({ nodes }) => nodes.some((node) => nodeMeets(node, constraints)));
    if (eligible.length === 0) throw new ClusterError('unavailable', `no suitable node${unlessAway(away)}`);
    const path = `${versionIn(request)}/volumes/create`;
    const { values, failures } = await room.each(eligible, 'POST', path, { body, timeoutMs: workMs });
    if (failures.length > 0) throw asError(failures);
    warn(reply, warningOf(away));
    const lists = values.map(({ engine, value }) => ({ engine, volumes: [value.json as Volume] }));
    return reply.status(201).send(mergeVolumes(lists)[0]);
  });

  app.delete<One>('/volumes/:name', leaderOnly, async (request, reply) => {
    const { name } = request.params;
    const { having } = await findVolume(host, name);
    const path = `/volumes/${encodeURIComponent(name)}${searchOf(request.raw)}`;
    const { failures } = await room.each(having, 'DELETE', path, { also: [404], timeoutMs: workMs });
    if (failures.length > 0) throw asError(failures, 'conflict');
    return reply.status(204).send();
  });

  app.post<{ Querystring: Query }>('/volumes/prune', leaderOnly, async (request, reply) => {
    const filters = filtersOf(request.query, ['all', 'label', 'label!', 'node']);
    const engines = await room.engines(filters.get('node'));
    const each = await room.eachBy(engines.all, (engine) => pruneVolumes(room, engine, filters, minorOf(request)));
    return sumOfPrune(each, engines.away, 'VolumesDeleted', reply);
  });
}

/** One of a name, with where it is. */
export function mergeVolumes(
  lists: readonly { readonly engine: Engine; readonly volumes: readonly Volume[] }[],
): Volume[] {
  const byName = new Map<string, { readonly volume: Volume; readonly nodes: string[] }>();
  for (const { engine, volumes } of lists) {
    for (const volume of volumes) {
      const known = byName.get(volume.Name);
      if (known) known.nodes.push(hostnameOf(engine.node));
      else byName.set(volume.Name, { volume, nodes: [hostnameOf(engine.node)] });
    }
  }
  return [...byName.values()]
    .map(({ volume, nodes }) => ({ ...volume, Status: { ...volume.Status, Nodes: nodes.sort() } }))
    .sort((a, b) => (a.Name < b.Name ? -1 : 1));
}

async function findVolume(
  host: DockerHost,
  name: string,
): Promise<{ having: readonly Engine[]; volumes: readonly Volume[] }> {
  const { all, away } = await host.room.engines();
  const path = `/volumes/${encodeURIComponent(name)}`;
  const { values, failures } = await host.room.each(all, 'GET', path, { also: [404] });
  const found = values.filter(({ value }) => value.status === 200);
  const missing: readonly Away[] = [...away, ...failures];
  if (found.length === 0) throw new ClusterError('not-found', `get ${name}: no such volume${unlessAway(missing)}`);
  return { having: found.map(({ engine }) => engine), volumes: found.map(({ value }) => value.json as Volume) };
}
