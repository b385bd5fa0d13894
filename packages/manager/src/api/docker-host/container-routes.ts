import { ClusterError } from '@swarmctl/shared/kit';
import { parseDurationMs } from '@swarmctl/shared/model';
import type { FastifyInstance } from 'fastify';
import { bodyOfHijacked, isHijacked } from '../hijack.ts';
import { type Filters, filtersOf, flag, passesLabels, type Query, single } from '../query.ts';
import { Turns } from '../turns.ts';
import { createContainer } from './container-create.ts';
import {
  bodyObject,
  checkName,
  filterText,
  findContainer,
  listAnswered,
  listContainers,
  nodeLabel,
  type Place,
  queryText,
  shownNames,
  shownNode,
  taskLabel,
  warn,
} from './containers.ts';
import { asError, hostnameOf, warningOf, workMs } from './engines.ts';
import { type DockerHost, searchOf, versionIn } from './host.ts';
import { engineNamesOf, withClusterNetworks } from './network-names.ts';
import { bindingsOf, portsOf } from './published.ts';

// Containers on whichever node: listed together, found by id, name or the beginning of the id; all else is passed on to their node.

const leaderOnly = { config: { leaderOnly: true } };
const hijacks = { config: { leaderOnly: true, hijacks: true } };
type One = { Params: { id: string }; Querystring: Query };

const listFilters = [
  ...['ancestor', 'before', 'exited', 'expose', 'health', 'id', 'is-task', 'isolation', 'label', 'name', 'network'],
  ...['node', 'publish', 'since', 'status', 'volume'],
];

export function containerRoutes(app: FastifyInstance, host: DockerHost): void {
  const { room } = host;
  const turns = new Turns();

  app.get<{ Querystring: Query }>('/containers/json', leaderOnly, async (request, reply) => {
    const { query } = request;
    const filters = filtersOf(query, listFilters);
    const engines = await room.engines(filters.get('node'));
    const limit = limitOf(query);
    const between = await createdBetween(host, filters);
    const ours = ['node', 'before', 'since'];
    // Which are the last is known only once all are.
    const all = limit > 0 || between || flag(query, 'all') ? '1' : undefined;
    const view = engines.manager.view();
    const passed = new Map(filters);
    const networks = filters.get('network');
    if (networks) passed.set('network', new Set([...networks].flatMap((one) => engineNamesOf(view, one))));
    const text = queryText(query, { filters: filterText(passed, ...ours), limit: undefined, all });
    const { places, missing } = await listAnswered(room, engines, text);
    const fits = between && (await Promise.all(places.map(between)));
    // Of one second, each engine has told its own in their order.
    const asked = places.filter((_, at) => fits?.[at] ?? true).sort((a, b) => b.row.Created - a.row.Created);
    warn(reply, warningOf(missing));
    const namesOf = shownNames(places);
    return (limit > 0 ? asked.slice(0, limit) : asked).map((place) => ({
      ...portsOf(withClusterNetworks(view, place.row), place.node.Status.Addr ?? ''),
      Names: namesOf(place),
      Labels: { ...place.row.Labels, [nodeLabel]: hostnameOf(place.node) },
      Node: shownNode(place.node),
    }));
  });

  app.get<One>('/containers/:id/json', leaderOnly, async (request, reply) => {
    const place = await host.findListed(request.params.id);
    const path = `${versionIn(request)}/containers/${place.row.Id}/json${searchOf(request.raw)}`;
    const { status, json, text } = await room.ask(place.engine.node, 'GET', path);
    if (status !== 200) return reply.status(status).send(json ?? { message: text });
    const shown = bindingsOf(withClusterNetworks(await host.view(), json), place.node.Status.Addr ?? '');
    return { ...shown, Node: shownNode(place.node) };
  });

  // One after the other: a name is free until it is taken.
  app.post<{ Querystring: Query }>('/containers/create', leaderOnly, async (request, reply) => {
    const { status, json, text } = await createContainer(host, request, turns);
    return reply.status(status).send(json ?? { message: text });
  });

  app.post<One>('/containers/:id/rename', leaderOnly, (request, reply) =>
    turns.take(async () => {
      const engines = await room.engines();
      const listing = await listContainers(room, engines, '?all=1');
      const { engine, row } = findContainer(listing, request.params.id);
      checkName(listing, single(request.query, 'name') ?? '', row.Id);
      const path = `/containers/${row.Id}/rename${searchOf(request.raw)}`;
      const { status, json, text } = await room.ask(engine.node, 'POST', path);
      return status < 300 ? reply.status(status).send() : reply.status(status).send(json ?? { message: text });
    }),
  );

  app.post<One>('/containers/:id/update', leaderOnly, async (request, reply) => {
    bodyObject(request.body as Buffer | undefined);
    const { node, id } = await host.find(request.params.id);
    return host.pass(request, reply, node, `/containers/${id}/update`);
  });

  app.post<One>('/containers/:id/exec', leaderOnly, async (request, reply) => {
    const body = bodyObject(request.body as Buffer | undefined);
    const { node, id } = await host.find(request.params.id);
    const path = `${versionIn(request)}/containers/${id}/exec`;
    const { status, json, text } = await room.ask(node, 'POST', path, { body });
    if (typeof json?.Id === 'string') host.madeExec(json.Id, node);
    return reply.status(status).send(json ?? { message: text });
  });

  app.post<{ Querystring: Query }>('/containers/prune', leaderOnly, async (request, reply) => {
    const filters = filtersOf(request.query, ['label', 'label!', 'node', 'until']);
    const before = untilOf(filters, room.clock.now());
    const engines = await room.engines(filters.get('node'));
    const ended = JSON.stringify({ status: ['created', 'exited', 'dead'] });
    const { places, missing } = await listAnswered(room, engines, queryText({ all: '1', size: '1', filters: ended }));
    const doomed = places.filter((place) => isPruned(place, filters, before));
    const removed: Place[] = [];
    const failures = await Promise.all(
      doomed.map(async (place) => {
        const { status, json } = await room.ask(place.engine.node, 'DELETE', `/containers/${place.row.Id}`, {
          timeoutMs: workMs,
        });
        if (status < 300) removed.push(place);
        // One that has gone, or runs again, is none of this.
        return status >= 500 ? [{ node: hostnameOf(place.node), reason: String(json?.message) }] : [];
      }),
    );
    const failed = failures.flat();
    if (failed.length > 0) throw asError(failed);
    warn(reply, warningOf(missing));
    return {
      ContainersDeleted: removed.length > 0 ? removed.map(({ row }) => row.Id) : null,
      SpaceReclaimed: removed.reduce((sum, { row }) => sum + (row.SizeRw ?? 0), 0),
    };
  });
}

/** The rest: requests and answers as they are, bodies as streams. */
export function containerStreams(app: FastifyInstance, host: DockerHost): void {
  const pass = (method: 'GET' | 'HEAD' | 'POST' | 'PUT', verb: string) =>
    app.route<One>({
      ...{ method, url: `/containers/:id${verb}`, ...leaderOnly },
      handler: async (request, reply) => {
        const { node, id } = await host.find(request.params.id);
        return host.pass(request, reply, node, `/containers/${id}${verb}${searchOf(request.raw)}`);
      },
    });
  for (const verb of ['top', 'logs', 'changes', 'export', 'stats', 'archive']) pass('GET', `/${verb}`);
  for (const verb of ['start', 'stop', 'restart', 'kill', 'pause', 'unpause', 'wait', 'resize']) {
    pass('POST', `/${verb}`);
  }
  pass('HEAD', '/archive');
  pass('PUT', '/archive');
  app.delete<One>('/containers/:id', leaderOnly, async (request, reply) => {
    const { node, id } = await host.find(request.params.id);
    // A link is removed by its own name, NAME/ALIAS.
    const link = request.params.id.replace(/^\//, '');
    const name = flag(request.query, 'link') && link.includes('/') ? link : id;
    return host.pass(request, reply, node, `/containers/${name}${searchOf(request.raw)}`);
  });

  const attach = (method: 'GET' | 'POST', verb: string) =>
    app.route<One>({
      ...{ method, url: `/containers/:id${verb}`, ...hijacks },
      handler: async (request, reply) => {
        if (!isHijacked(request.raw)) {
          throw new ClusterError('invalid-argument', 'attaching by WebSocket needs the header Upgrade: websocket');
        }
        const { node, id } = await host.find(request.params.id);
        return host.passHijacked(request, reply, node, `/containers/${id}${verb}${searchOf(request.raw)}`);
      },
    });
  attach('POST', '/attach');
  attach('GET', '/attach/ws');

  const passExec = (method: 'GET' | 'POST', verb: string) =>
    app.route<One>({
      ...{ method, url: `/exec/:id${verb}`, ...leaderOnly },
      handler: async (request, reply) => {
        const node = await host.findExec(request.params.id);
        return host.pass(request, reply, node, `/exec/${request.params.id}${verb}${searchOf(request.raw)}`);
      },
    });
  passExec('GET', '/json');
  passExec('POST', '/resize');
  app.post<One>('/exec/:id/start', hijacks, async (request, reply) => {
    // As with Docker, a body that is none comes before an exec that there is not.
    bodyObject(bodyOfHijacked(request.raw));
    const node = await host.findExec(request.params.id);
    return host.passHijacked(request, reply, node, `/exec/${request.params.id}/start`);
  });
}

/** Throws as Docker does for what is no number. */
function limitOf(query: Query): number {
  const text = single(query, 'limit') || '-1';
  if (/^[+-]?\d+$/.test(text)) return Number(text);
  throw new ClusterError('unknown', `strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`);
}

/** `before` and `since` name containers, which may be on other nodes than those that they are compared with. */
async function createdBetween(
  host: DockerHost,
  filters: Filters,
): Promise<((place: Place) => Promise<boolean>) | undefined> {
  const named = (key: string) =>
    Promise.all([...(filters.get(key) ?? [])].map((reference) => host.findListed(reference)));
  const [before, since] = [await named('before'), await named('since')];
  if (before.length === 0 && since.length === 0) return undefined;
  return async (place) => {
    for (const one of before) if (!(await isOlder(host, place, one))) return false;
    for (const one of since) if (!(await isOlder(host, one, place))) return false;
    return true;
  };
}

/** Lists tell whole seconds. */
async function isOlder(host: DockerHost, a: Place, b: Place): Promise<boolean> {
  if (a.row.Created !== b.row.Created || a.row.Id === b.row.Id) return a.row.Created < b.row.Created;
  const [first = '', second = ''] = await Promise.all([a, b].map((place) => fractionOf(host, place)));
  return first < second;
}

/** Of the second that it was made in: nine digits. */
async function fractionOf({ room }: DockerHost, { engine, row }: Place): Promise<string> {
  const { json } = await room.ask(engine.node, 'GET', `/containers/${row.Id}/json`);
  return (/\.(\d+)/.exec(String(json?.Created))?.[1] ?? '').padEnd(9, '0');
}

/** A task's container that has not begun is about to. */
const isPruned = ({ row }: Place, filters: Filters, before: number | undefined): boolean =>
  !(row.State === 'created' && row.Labels?.[taskLabel] !== undefined) &&
  (before === undefined || row.Created * 1000 < before) &&
  passesLabels(filters, 'label', row.Labels ?? {}) &&
  ![...(filters.get('label!') ?? [])].some((one) =>
    passesLabels(new Map([['label', new Set([one])]]), 'label', row.Labels ?? {}),
  );

/** ms since the epoch; undefined: no matter when. */
function untilOf(filters: Filters, now: number): number | undefined {
  const [text, ...more] = filters.get('until') ?? [];
  if (text === undefined) return undefined;
  const ago = parseDurationMs(text);
  const at = ago !== undefined ? now - ago : /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text);
  if (more.length > 0 || Number.isNaN(at)) {
    throw new ClusterError('invalid-argument', `until must be one Unix time, RFC 3339 or duration, not '${text}'`);
  }
  return at;
}
