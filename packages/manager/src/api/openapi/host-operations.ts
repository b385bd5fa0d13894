import type { Operation, QueryType } from './operation.ts';

// What the document says of the cluster as one Docker host: requests that go on to the engine of a node. Their bodies are the engine's, which checks them.

const ofContainer = (
  method: string,
  path: string,
  summary: string,
  query: Readonly<Record<string, QueryType>> = {},
  more: Partial<Operation> = {},
): Readonly<Record<string, Operation>> => ({
  [`${method} /containers/{id}${path}`]: { summary, query, refusals: [403, 404, 409], ...more },
});

const done = { success: 204 } as const;
const json = { engineBody: 'json' } as const;
const tar = { engineBody: 'tar' } as const;
const streams = { logs: 'boolean', stream: 'boolean', stdin: 'boolean', stdout: 'boolean', stderr: 'boolean' } as const;
const size = { h: 'integer', w: 'integer' } as const;
const stop = { signal: 'string', t: 'integer' } as const;
const pruned = ['label', 'label!', 'node', 'until'];
const refusals = [403, 404, 409] as const;
/** The filter may name a node. */
const ofNodes = { refusals: [404] } as const;

const containers: Readonly<Record<string, Operation>> = {
  'GET /containers/json': {
    summary: 'List containers of all nodes',
    query: { all: 'boolean', limit: 'integer', size: 'boolean' },
    filters: [
      ...['ancestor', 'before', 'expose', 'exited', 'health', 'id', 'is-task', 'label', 'name', 'network', 'node'],
      ...['publish', 'since', 'status', 'volume'],
    ],
    ...ofNodes,
  },
  'POST /containers/create': {
    summary: 'Create a container, on a node that the scheduler chooses',
    ...{ query: { name: 'string', platform: 'string' }, ...json, success: 201, refusals },
  },
  'POST /containers/prune': { summary: 'Remove containers that do not run', filters: pruned, ...ofNodes },
  ...ofContainer('GET', '/json', 'Inspect a container', { size: 'boolean' }),
  ...ofContainer('GET', '/top', 'List its processes', { ps_args: 'string' }),
  ...ofContainer('GET', '/logs', 'Its log', {
    ...{ follow: 'boolean', stdout: 'boolean', stderr: 'boolean', since: 'string', until: 'string' },
    ...{ timestamps: 'boolean', tail: 'string', details: 'boolean' },
  }),
  ...ofContainer('GET', '/changes', 'What it has changed in its files'),
  ...ofContainer('GET', '/export', 'Its files, as an archive'),
  ...ofContainer('GET', '/stats', 'What it uses, again and again', { stream: 'boolean', 'one-shot': 'boolean' }),
  ...ofContainer('POST', '/resize', 'Tell its terminal a size', size),
  ...ofContainer('POST', '/start', 'Start it', { detachKeys: 'string' }, done),
  ...ofContainer('POST', '/stop', 'Stop it', stop, done),
  ...ofContainer('POST', '/restart', 'Stop and start it', stop, done),
  ...ofContainer('POST', '/kill', 'Send it a signal', { signal: 'string' }, done),
  ...ofContainer('POST', '/update', 'Change its limits', {}, json),
  ...ofContainer('POST', '/rename', 'Give it another name', { name: 'string' }, done),
  ...ofContainer('POST', '/pause', 'Freeze it', {}, done),
  ...ofContainer('POST', '/unpause', 'Let it go on', {}, done),
  ...ofContainer('POST', '/attach', 'Join its streams', { ...streams, detachKeys: 'string' }, { success: 101 }),
  ...ofContainer('GET', '/attach/ws', 'Join its streams, by a WebSocket', streams, { success: 101 }),
  ...ofContainer('POST', '/wait', 'Wait for its end', { condition: 'string' }),
  ...ofContainer('DELETE', '', 'Remove it', { v: 'boolean', force: 'boolean', link: 'boolean' }, done),
  ...ofContainer('GET', '/archive', 'Files of it, as an archive', { path: 'string' }),
  ...ofContainer('HEAD', '/archive', 'What there is at a path of it, in a header', { path: 'string' }),
  ...ofContainer(
    'PUT',
    '/archive',
    'Unpack an archive in it',
    { path: 'string', noOverwriteDirNonDir: 'string', copyUIDGID: 'string' },
    tar,
  ),
  ...ofContainer('POST', '/exec', 'Prepare a command in it', {}, { ...json, success: 201 }),
  'POST /exec/{id}/start': { summary: 'Run a prepared command', ...json, refusals },
  'POST /exec/{id}/resize': { summary: 'Tell the terminal of a command a size', query: size, refusals },
  'GET /exec/{id}/json': { summary: 'Inspect a command', refusals },
};

const images: Readonly<Record<string, Operation>> = {
  'GET /images/json': {
    summary: 'List images of all nodes',
    query: { all: 'boolean', digests: 'boolean', 'shared-size': 'boolean', manifests: 'boolean' },
    filters: ['before', 'dangling', 'label', 'node', 'reference', 'since', 'until'],
    ...ofNodes,
  },
  'POST /images/create': {
    summary: 'Pull an image on all nodes, or import an archive',
    query: {
      ...{ fromImage: 'string', fromSrc: 'string', repo: 'string', tag: 'string', message: 'string' },
      ...{ changes: 'string', platform: 'string' },
    },
    ...{ ...tar, refusals },
  },
  'POST /images/prune': { summary: 'Remove images that nothing uses', filters: ['dangling', ...pruned], ...ofNodes },
  'POST /images/load': { summary: 'Load images on all nodes', query: { quiet: 'boolean' }, ...tar, refusals },
  'GET /images/get': { summary: 'Save images, as an archive', query: { names: 'string' }, refusals },
  'GET /images/search': {
    summary: 'Search the registry',
    query: { term: 'string', limit: 'integer' },
    filters: ['is-automated', 'is-official', 'stars'],
    refusals,
  },
  'GET /images/{path}': { summary: 'Of an image: NAME/json, NAME/history or NAME/get', refusals },
  'POST /images/{path}': {
    summary: 'NAME/push an image from a node that has it, or NAME/tag it on all',
    ...{ query: { repo: 'string', tag: 'string' }, refusals },
  },
  'DELETE /images/{path}': {
    summary: 'Remove an image from all nodes',
    ...{ query: { force: 'boolean', noprune: 'boolean' }, refusals },
  },
  'POST /commit': {
    summary: 'Make an image of a container',
    query: {
      ...{ container: 'string', repo: 'string', tag: 'string', comment: 'string', author: 'string', pause: 'boolean' },
      changes: 'string',
    },
    ...{ ...json, success: 201, refusals },
  },
  'POST /build': {
    summary: 'Build an image on a node, for all',
    query: { t: 'string', dockerfile: 'string', labels: 'string', version: 'string', session: 'string', q: 'boolean' },
    ...{ ...tar, refusals },
  },
  'POST /build/cancel': { summary: 'Cancel a build', query: { id: 'string' }, refusals },
  'POST /build/prune': {
    summary: 'Remove the cache of builds',
    query: { all: 'boolean' },
    filters: ['node', 'until'],
    ...ofNodes,
  },
  'POST /session': { summary: 'The session of a build, over HTTP/2', success: 101, refusals },
  'POST /grpc': { summary: 'The builder itself, over HTTP/2', success: 101, refusals },
};

const volumes: Readonly<Record<string, Operation>> = {
  'GET /volumes': {
    summary: 'List volumes of all nodes',
    filters: ['dangling', 'driver', 'label', 'name', 'node'],
    ...ofNodes,
  },
  'POST /volumes/create': { summary: 'Create a volume on a node', ...json, success: 201, refusals },
  'GET /volumes/{name}': { summary: 'Inspect a volume', refusals },
  'DELETE /volumes/{name}': { summary: 'Remove a volume', query: { force: 'boolean' }, success: 204, refusals },
  'POST /volumes/prune': {
    summary: 'Remove volumes that nothing uses',
    filters: ['all', 'label', 'label!', 'node'],
    refusals,
  },
};

export const hostOperations: Readonly<Record<string, Operation>> = {
  ...containers,
  ...images,
  ...volumes,
  'POST /networks/{id}/connect': { summary: 'Connect a container to a network', ...json, refusals },
  'POST /networks/{id}/disconnect': { summary: 'Disconnect a container from a network', ...json, refusals },
  'GET /system/df': {
    summary: 'What images, containers and volumes take on the disks',
    query: { type: 'string' },
    filters: ['node'],
    ...ofNodes,
  },
};
