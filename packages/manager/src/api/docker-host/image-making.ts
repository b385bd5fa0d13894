import { ClusterError } from '@swarmctl/shared/kit';
import { parseConstraints, parseJson } from '@swarmctl/shared/model';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { filtersOf, flag, type Query, single } from '../query.ts';
import { queryText, unlessAway, warn } from './containers.ts';
import { asError, type Engine, type Engines, warningOf, workMs } from './engines.ts';
import { type DockerHost, searchOf, versionIn } from './host.ts';
import { copyImages, feed, loadInto } from './image-archives.ts';
import { answerOver, requestOver } from './over-stream.ts';
import { failuresOf, Progress, prefixOf, readProgress, type Telling, untilGone, withPrefix } from './progress.ts';
import { constraintsLabel, constraintsText } from './wishes.ts';

// Images that come to the cluster: pulled and loaded by all nodes; built, imported and committed by one, since each engine would make another of it, and copied
// from there to all others.

const leaderOnly = { config: { leaderOnly: true } };
type Asked = FastifyRequest<{ Querystring: Query }>;

export function commitRoute(app: FastifyInstance, host: DockerHost): void {
  app.post<{ Querystring: Query }>('/commit', leaderOnly, async (request, reply) => {
    const { room } = host;
    const { query } = request;
    const { id, node } = await host.find(single(query, 'container') ?? '');
    const path = `${versionIn(request)}/commit${queryText(query, { container: id })}`;
    const body = parseJson(request.body as Buffer) ?? {};
    const { status, json, text } = await room.ask(node, 'POST', path, { body, timeoutMs: workMs });
    if (status >= 300) return reply.status(status).send(json ?? { message: text });
    const name = nameIn(single(query, 'repo'), single(query, 'tag')) ?? String(json?.Id);
    const engines = await room.engines();
    const from = engines.all.find((engine) => engine.nodes.some(({ ID }) => ID === node.ID));
    const quiet = { signal: untilGone(reply), begin: () => {}, say: () => {}, drained: async () => {} };
    const failures = from ? await copyImages(room, from, others(engines, from), [name], quiet) : [];
    if (failures.length > 0) {
      throw new ClusterError('unknown', `${json?.Id} is made, but not everywhere: ${asError(failures).message}`);
    }
    warn(reply, warningOf(engines.away));
    return reply.status(status).send(json);
  });
}

/** Those whose bodies are streams. */
export function imageStreams(app: FastifyInstance, host: DockerHost): void {
  app.post<{ Querystring: Query }>('/images/create', leaderOnly, (request, reply) =>
    single(request.query, 'fromSrc') ? imported(host, request, reply) : pulled(host, request, reply),
  );

  app.post<{ Querystring: Query }>('/images/load', leaderOnly, async (request, reply) => {
    const { engines, query } = await chosen(host, request);
    const path = `${versionIn(request)}/images/load${query}`;
    const progress = new Progress(reply);
    const headers = { 'content-type': request.headers['content-type'] ?? 'application/x-tar' };
    const failures = await loadInto(host.room, engines.all, request.raw, { path, headers }, progress);
    return progress.end(failures, engines.away);
  });

  app.post<{ Querystring: Query }>('/build', leaderOnly, (request, reply) => built(host, request, reply));
}

/** The nodes that the filter `node` names, or all; and the query without it. */
async function chosen({ room }: DockerHost, { query }: Asked): Promise<{ engines: Engines; query: string }> {
  const engines = await room.engines(filtersOf(query, ['node']).get('node'));
  if (engines.all.length === 0)
    throw new ClusterError('unavailable', `no node for the image${unlessAway(engines.away)}`);
  return { engines, query: queryText(query, { filters: undefined }) };
}

/** To all nodes at once; a line of progress carries its node's name. It fails, at its end, when a node could not. */
async function pulled(host: DockerHost, request: Asked, reply: FastifyReply): Promise<FastifyReply> {
  const { engines, query } = await chosen(host, request);
  const path = `${versionIn(request)}/images/create${query}`;
  const progress = new Progress(reply);
  const auth = request.headers['x-registry-auth'];
  const headers = typeof auth === 'string' ? { 'x-registry-auth': auth } : {};
  const failures = await failuresOf(engines.all, async (engine) => {
    const asked = { method: 'POST', path, headers, signal: progress.signal };
    const answer = await answerOver(await host.room.dial(engine.node.ID), asked);
    const prefix = prefixOf(engine, engines.all);
    const say: Telling['say'] = (line) => progress.say(withPrefix(line, prefix));
    await readProgress(answer, { begin: () => progress.begin(), say, drained: () => progress.drained() });
  });
  return progress.end(failures, engines.away);
}

async function imported(host: DockerHost, request: Asked, reply: FastifyReply): Promise<FastifyReply> {
  const { engines, query } = await chosen(host, request);
  const [first] = engines.all as [Engine];
  const name = nameIn(single(request.query, 'repo'), single(request.query, 'tag'));
  return madeAt(host, request, reply, { engines, first, path: `/images/create${query}`, names: name ? [name] : [] });
}

/** By the engine's own builder. What BuildKit makes is made where its client's session is. */
async function built(host: DockerHost, request: Asked, reply: FastifyReply): Promise<FastifyReply> {
  const { query } = request;
  const { labels, wish } = withoutConstraints(single(query, 'labels'));
  const names = [query['t'] ?? []].flat().map((tag) => nameIn(tag) ?? tag);
  if (single(query, 'version') !== '2' && !single(query, 'session')) {
    const engines = await host.room.engines();
    const path = `/build${queryText(query, { labels })}`;
    return madeAt(host, request, reply, { engines, first: engineFor(engines, wish), path, names });
  }
  if (wish !== '') {
    throw new ClusterError(
      'invalid-argument',
      `label '${constraintsLabel}': BuildKit builds on one node of the cluster: with DOCKER_BUILDKIT=0 it may be chosen`,
    );
  }
  const { ID } = await host.builder.nodeFor(reply.raw);
  const engines = await host.room.engines();
  const first = engines.all.find(({ nodes }) => nodes.some((node) => node.ID === ID));
  if (!first) throw new ClusterError('unavailable', `the node that builds does not answer${unlessAway(engines.away)}`);
  return madeAt(host, request, reply, { engines, first, path: `/build${searchOf(request.raw)}`, names, needsId: true });
}

/** `--label swarmctl.constraints=…` says where, and is no label of the image. */
function withoutConstraints(text: string | undefined) {
  const given = ((text && parseJson(Buffer.from(text))) || {}) as Record<string, unknown>;
  const { [constraintsLabel]: wish, ...labels } = given;
  return { wish: constraintsText(wish), labels: text === undefined ? undefined : JSON.stringify(labels) };
}

function engineFor(engines: Engines, wish: string): Engine {
  const constraints = wish
    .split(',')
    .map((text) => text.trim())
    .filter((text) => text !== '');
  parseConstraints(constraints);
  const { manager, all } = engines;
  const among = (nodeId: string) => all.some(({ nodes }) => nodes.some(({ ID }) => ID === nodeId));
  const { nodes, why } = manager.nodesForHandMade(manager.view(), { constraints, others: () => 0, among });
  const engine = all.find((one) => one.nodes.some(({ ID }) => ID === nodes[0]?.ID));
  if (!engine)
    throw new ClusterError('unavailable', `no suitable node${why && ` (${why})`}${unlessAway(engines.away)}`);
  return engine;
}

interface Making {
  readonly engines: Engines;
  /** Where it is made. */
  readonly first: Engine;
  readonly path: string;
  /** None: it is known by its id alone. */
  readonly names: readonly string[];
  /** Nothing is made unless an id is said: a build may be of files alone. */
  readonly needsId?: boolean;
}

/** The client's body goes to one engine; what that makes is copied to the others. */
async function madeAt(host: DockerHost, request: Asked, reply: FastifyReply, making: Making): Promise<FastifyReply> {
  const { engines, first, path, names, needsId = false } = making;
  const progress = new Progress(reply);
  const { signal } = progress;
  // Of a quiet build it is all that is said.
  const isQuiet = flag(request.query, 'q');
  let id: string | undefined;
  const failures = await failuresOf([first], async ({ node }) => {
    const stream = await host.room.dial(node.ID);
    const asked = { method: 'POST', path: `${versionIn(request)}${path}`, headers: headersOf(request), signal };
    const { outgoing, answer } = requestOver(stream, asked);
    void feed(request.raw, [outgoing], host.room.clock);
    const say: Telling['say'] = (line) => {
      id = line.aux?.ID ?? idIn(line.status) ?? (isQuiet ? idIn(line.stream) : undefined) ?? id;
      progress.say(line);
    };
    await readProgress(await answer, { begin: () => progress.begin(), say, drained: () => progress.drained() });
  });
  const isMade = id !== undefined || (!needsId && names.length > 0);
  const made = !isMade ? [] : names.length > 0 ? names : [String(id)];
  if (failures.length > 0 || made.length === 0) return progress.end(failures);
  // What it is called was said where it was made.
  const say: Telling['say'] = (line) => line.stream === undefined && progress.say(line);
  const copying = { signal, begin: () => {}, say, drained: () => progress.drained() };
  return progress.end(await copyImages(host.room, first, others(engines, first), made, copying), engines.away);
}

const idIn = (text = ''): string | undefined => /^(sha256:[0-9a-f]{64})\n?$/.exec(text)?.[1];

const headersOf = ({ headers }: Asked): Record<string, string> =>
  Object.fromEntries(
    ['content-type', 'x-registry-config', 'x-registry-auth'].flatMap((name) => {
      const value = headers[name];
      return typeof value === 'string' ? [[name, value]] : [];
    }),
  );

const others = ({ all }: Engines, first: Engine): readonly Engine[] =>
  all.filter(({ info }) => info.ID !== first.info.ID);

/** `repo:tag`; without a tag the engine means `latest`. */
function nameIn(repo: string | undefined, tag?: string): string | undefined {
  if (!repo) return undefined;
  if (tag) return `${repo}:${tag}`;
  return /[:@][^/]*$/.test(repo) ? repo : `${repo}:latest`;
}
