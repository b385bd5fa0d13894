import {
  ClientRequest,
  ClusterSpec,
  InitRequest,
  JoinRequest,
  NetworkCreateRequest,
  NodeSpec,
  PayloadSpec,
  type Schema,
  ServiceSpec,
  UnlockRequest,
} from '@swarmctl/shared/model';
import { hostOperations } from './host-operations.ts';
import type { Operation } from './operation.ts';

// What the document says of each route: what it does, what its query and body may hold, and how it answers. Bodies are the schemas that requests are
// checked with.

export const schemas = {
  ClientRequest,
  ClusterSpec,
  InitRequest,
  JoinRequest,
  NetworkCreateRequest,
  NodeSpec,
  PayloadSpec,
  ServiceSpec,
  UnlockRequest,
} as const satisfies Readonly<Record<string, Schema>>;

const version = { version: 'integer' } as const;
const logs: Operation['query'] = {
  ...{ details: 'boolean', follow: 'boolean', stdout: 'boolean', stderr: 'boolean', timestamps: 'boolean' },
  ...{ since: 'string', until: 'string', tail: 'string' },
};

/** Secrets and configs, which are handled alike. */
const payload = (kind: 'secret' | 'config'): Readonly<Record<string, Operation>> => ({
  [`GET /${kind}s`]: { summary: `List ${kind}s`, filters: ['id', 'label', 'name', 'names'] },
  [`POST /${kind}s/create`]: { summary: `Create a ${kind}`, body: 'PayloadSpec', success: 201, refusals: [409] },
  [`GET /${kind}s/{id}`]: { summary: `Inspect a ${kind}`, refusals: [404] },
  [`DELETE /${kind}s/{id}`]: { summary: `Remove a ${kind} that nothing uses`, success: 204, refusals: [404] },
  [`POST /${kind}s/{id}/update`]: {
    summary: `Change the labels of a ${kind}`,
    query: version,
    body: 'PayloadSpec',
    refusals: [404],
  },
  [`POST /${kind}s/{id}/rotate`]: {
    summary: `Make a new version of a ${kind}, and roll the services that use it (not in Docker)`,
    query: { roll: 'boolean', dryRun: 'boolean' },
    body: 'PayloadSpec',
    success: 201,
    refusals: [404, 409],
  },
  [`POST /${kind}s/prune`]: { summary: `Remove versions of ${kind}s that nothing uses (not in Docker)` },
});

/** By method and path. */
export const operations: Readonly<Record<string, Operation>> = {
  'HEAD /_ping': { summary: 'As GET, without the body' },
  'GET /_ping': { summary: 'Whether the daemon answers, and its version and state in the headers' },
  'GET /version': { summary: 'Versions of the daemon' },
  'GET /info': { summary: 'This node, and its place in the cluster' },
  'GET /events': {
    summary: 'What happens in the cluster and on the engines of its nodes, one JSON object a line',
    query: { since: 'string', until: 'string' },
    filters: [
      ...['type', 'event', 'scope', 'label', 'node', 'service', 'network', 'secret', 'config', 'task'],
      ...['container', 'image', 'volume', 'plugin', 'daemon'],
    ],
    refusals: [410],
  },
  'GET /openapi.json': { summary: 'This document' },

  'GET /swarm': { summary: 'Inspect the cluster' },
  'POST /swarm/init': { summary: 'Make this node the first manager of a new cluster', body: 'InitRequest' },
  'POST /swarm/join': { summary: 'Let this node join a cluster', body: 'JoinRequest' },
  'POST /swarm/leave': { summary: 'Let this node leave its cluster', query: { force: 'boolean' } },
  'POST /swarm/update': {
    summary: 'Change the settings of the cluster, its tokens and keys',
    query: {
      ...version,
      rotateWorkerToken: 'boolean',
      rotateManagerToken: 'boolean',
      rotateManagerUnlockKey: 'boolean',
      rotateNetworkKeys: 'boolean',
    },
    body: 'ClusterSpec',
  },
  'GET /swarm/unlockkey': { summary: 'The key that unlocks a restarted manager' },
  'POST /swarm/unlock': { summary: 'Unlock this manager', body: 'UnlockRequest', refusals: [409] },
  'POST /swarm/clients': {
    summary: 'Certify a client of the API over TCP (not in Docker)',
    body: 'ClientRequest',
    success: 201,
  },
  'GET /swarm/clients': { summary: 'List certified clients of the API over TCP (not in Docker)' },
  'DELETE /swarm/clients/{client}': {
    summary: 'Take certificates of clients back, by name or serial (not in Docker)',
    success: 204,
    refusals: [404],
  },

  'GET /nodes': {
    summary: 'List nodes',
    filters: ['id', 'label', 'membership', 'name', 'node.label', 'role'],
  },
  'GET /nodes/{id}': { summary: 'Inspect a node', refusals: [404] },
  'POST /nodes/{id}/update': { summary: 'Change a node', query: version, body: 'NodeSpec', refusals: [404] },
  'DELETE /nodes/{id}': { summary: 'Remove a node', query: { force: 'boolean' }, refusals: [404] },

  'GET /services': {
    summary: 'List services',
    query: { insertDefaults: 'boolean', status: 'boolean' },
    filters: ['id', 'label', 'mode', 'name', 'runtime'],
  },
  'POST /services/create': {
    summary: 'Create a service',
    body: 'ServiceSpec',
    success: 201,
    refusals: [403, 404, 409],
  },
  'GET /services/{id}': { summary: 'Inspect a service', query: { insertDefaults: 'boolean' }, refusals: [404] },
  'POST /services/{id}/update': {
    summary: 'Change a service',
    query: { ...version, rollback: 'string', registryAuthFrom: 'string' },
    body: 'ServiceSpec',
    refusals: [403, 404],
  },
  'DELETE /services/{id}': { summary: 'Remove a service', refusals: [404] },
  'GET /services/{id}/logs': { summary: 'Logs of all tasks of a service', query: logs, refusals: [404] },

  'GET /tasks': {
    summary: 'List tasks',
    filters: ['_up-to-date', 'desired-state', 'id', 'label', 'name', 'node', 'runtime', 'service'],
    refusals: [404],
  },
  'GET /tasks/{id}': { summary: 'Inspect a task', refusals: [404] },
  'GET /tasks/{id}/logs': { summary: 'Logs of a task', query: logs, refusals: [404] },

  'GET /distribution/{path}': { summary: 'What the registry says of an image: NAME/json', refusals: [401, 403, 404] },
  'POST /auth': { summary: 'Whether a registry takes credentials', refusals: [401, 403, 404] },

  'GET /networks': {
    summary: 'List networks',
    filters: ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type'],
  },
  'POST /networks/create': {
    summary: 'Create a network',
    body: 'NetworkCreateRequest',
    success: 201,
    refusals: [403, 404, 409],
  },
  'GET /networks/{id}': {
    summary: 'Inspect a network',
    query: { verbose: 'boolean', scope: 'string' },
    refusals: [404],
  },
  'DELETE /networks/{id}': { summary: 'Remove a network that nothing uses', success: 204, refusals: [403, 404] },
  'POST /networks/prune': {
    summary: 'Remove networks that nothing uses',
    filters: ['label', 'label!', 'node', 'until'],
  },

  ...payload('secret'),
  ...payload('config'),

  ...hostOperations,
  'GET /plugins': { summary: 'Always none', filters: ['capability', 'enabled'] },
  'POST /logs': { summary: 'Logs that are followed, of managers among themselves' },
};
