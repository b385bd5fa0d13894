import { ClusterError, delay } from '@swarmctl/shared/kit';
import {
  checkNetworkDrivers,
  completeNetworkSpec,
  fromTimestamp,
  ingressNetwork,
  isLocalNetwork,
  isPredefinedNetwork,
  isTerminal,
  mtuOption,
  type Network,
  NetworkCreateRequest,
  normalise,
  parseDurationMs,
  parseJson,
  placeName,
  predefinedNetworks,
  type Service,
  type ServiceSpec,
  type Task,
} from '@swarmctl/shared/model';
import type { FastifyInstance } from 'fastify';
import { guestsOn } from '../store/guests.ts';
import type { View } from '../store/types.ts';
import { type ApiContext, leading, readView } from './context.ts';
import type { EngineRoom } from './docker-host/engines.ts';
import type { DockerHost } from './docker-host/host.ts';
import { containersOn } from './docker-host/network-containers.ts';
import { hasIngress, removeIngress, restoreIngress, showIngress } from './ingress-network.ts';
import { type Shown, showNetwork, showPredefined, showStatus, showUse } from './network-shown.ts';
import type { ManagerAccess } from './ports.ts';
import { type Filters, filtersOf, lookUp, passes, passesLabels, type Query, single, strictFlag } from './query.ts';
import type { Turns } from './turns.ts';
import { minorOf, networkAsOf, networkShownTo } from './version.ts';

// Networks: the cluster's overlay networks, those that each engine makes by itself, and the three that every engine has.

/** How long a removal waits for tasks of services that are gone or left the network: `docker stack rm` asks for it right behind theirs. */
const leavingMs = 60_000;
const leavingPollMs = 50;

const listFilters = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type'];

export function networkRoutes(app: FastifyInstance, context: ApiContext, turns: Turns, { room }: DockerHost): void {
  app.get<{ Querystring: Query }>('/networks', async (request) => {
    const filters = filtersOf(request.query, listFilters);
    checkFilters(filters);
    const view = context.local.manager() && (await readView(context));
    const own = view?.list('networks').map((network) => ({
      shown: showNetwork(network),
      idle: !userOf(view, network) && guestsOn(view, network).length === 0,
    }));
    const given = [
      ...(view && hasIngress(view) ? [showIngress()] : []),
      ...predefinedNetworks.map((name) => showPredefined(name)),
    ];
    const all = [...(own ?? []), ...given.map((shown) => ({ shown, idle: false }))];
    const asked = all.filter(({ shown, idle }) => isListed(filters, shown, idle));
    return asked.map(({ shown }) => networkShownTo(minorOf(request), shown));
  });

  app.get<{ Params: { id: string }; Querystring: Query }>(
    '/networks/:id',
    { config: { leaderOnly: true } },
    async (request) => {
      const { id } = request.params;
      const scope = single(request.query, 'scope') || undefined;
      const isVerbose = strictFlag(request.query, 'verbose');
      const view = context.local.manager() && (await readView(context));
      if (isPredefinedNetwork(id)) return networkShownTo(minorOf(request), showPredefined(id, scope));
      // No network of ours: clients look for it, and services that ask for it are refused.
      if (view && id === ingressNetwork && scope !== 'local' && hasIngress(view)) {
        return networkShownTo(minorOf(request), showIngress());
      }
      if (!view || (scope ?? 'swarm') !== 'swarm') throw new ClusterError('not-found', `network ${id} not found`);
      const network = findNetwork(view, id);
      const status = showStatus(view, network);
      const use = isVerbose && showUse(view, network);
      // Who asks for the scope wants to put a service on it.
      const there = scope === undefined ? await containersOn(room, view, network) : [];
      const Containers = Object.fromEntries(there.map(({ containerId, shown }) => [containerId, shown]));
      return networkShownTo(minorOf(request), {
        ...showNetwork(network),
        ...(there.length > 0 && { Containers }),
        ...status,
        ...use,
      });
    },
  );

  app.post('/networks/create', { config: { leaderOnly: true } }, async (request, reply) => {
    const given = normalise(NetworkCreateRequest, parseJson(request.body as Buffer) ?? {});
    const isPlain = isForContainers(given);
    const asOverlay = isPlain ? { ...given, Driver: 'overlay', Attachable: true } : given;
    const asked = networkAsOf(minorOf(request), asOverlay);
    const spec = asked.Ingress ? undefined : completeNetworkSpec(asked);
    if (!context.local.manager()) {
      throw new ClusterError(
        'permission-denied',
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
      );
    }
    const manager = await leading(context);
    if (!spec) {
      const Id = await turns.take(() => restoreIngress(manager, asked));
      return reply.status(201).send({ Id, Warning: '' });
    }
    const id = context.newId();
    const Warning = await turns.take(async () => {
      const view = manager.view();
      if (view.networkByName(spec.Name)) {
        throw new ClusterError('already-exists', `network with name ${spec.Name} already exists`);
      }
      const conflict = manager.networkConflict(view, spec);
      if (conflict) {
        throw new ClusterError('invalid-argument', `rpc error: code = InvalidArgument desc = ${conflict}`);
      }
      const AskedDriver = isPlain && ({ AskedDriver: 'bridge' } as const);
      const object = { ID: id, Spec: spec, ...AskedDriver, IPAM: { Configs: [] }, Gateways: {} };
      await manager.propose([{ op: 'create', table: 'networks', object }]);
      return manager.networkWarning(view, object) ?? '';
    });
    return reply.status(201).send({ Id: id, Warning });
  });

  app.delete<{ Params: { id: string } }>('/networks/:id', { config: { leaderOnly: true } }, async (request, reply) => {
    const { id } = request.params;
    if (isPredefinedNetwork(id)) {
      throw new ClusterError('permission-denied', `${id} is a pre-defined network and cannot be removed`);
    }
    if (!context.local.manager()) throw new ClusterError('not-found', `network ${id} not found`);
    const manager = await leading(context);
    if (id === ingressNetwork) {
      await turns.take(() => removeIngress(manager));
      return reply.status(204).send();
    }
    const end = context.clock.now() + leavingMs;
    while (!(await turns.take(() => removed(manager, room, id, context.clock.now() < end)))) {
      await delay(context.clock, leavingPollMs);
    }
    return reply.status(204).send();
  });

  app.post<{ Querystring: Query }>('/networks/prune', { config: { leaderOnly: true } }, async (request) => {
    const filters = filtersOf(request.query, ['label', 'label!', 'node', 'until']);
    const before = untilOf(filters, context.clock.now());
    // The cluster's networks are on no node more than on another.
    if (!context.local.manager() || filters.get('node')?.size) return { NetworksDeleted: null };
    const manager = await leading(context);
    return turns.take(async () => {
      const view = manager.view();
      const unused = view
        .list('networks')
        .filter(
          (network) =>
            passesLabels(filters, 'label', network.Spec.Labels) &&
            !(filters.get('label!')?.size && passesLabels(filters, 'label!', network.Spec.Labels)) &&
            (before === undefined || fromTimestamp(network.CreatedAt) < before) &&
            !userOf(view, network),
        );
      const guests = await Promise.all(unused.map((network) => guestOn(room, view, network)));
      const doomed = unused.filter((_, at) => guests[at] === undefined);
      if (doomed.length > 0) {
        await manager.propose(doomed.map(({ ID }) => ({ op: 'remove', table: 'networks', id: ID })));
      }
      return { NetworksDeleted: doomed.length > 0 ? doomed.map(({ Spec }) => Spec.Name) : null };
    });
  });
}

/**
 * Who names no driver, or bridge as Docker's command line does for those who name none, wants a network for containers, on whichever engine they are: an
 * attachable overlay network. What else is said of it, but how large its packets may be, may show that one engine's own is meant.
 */
function isForContainers({
  Driver,
  Scope,
  Options = {},
  ConfigOnly,
  ConfigFrom,
  Ingress,
}: NetworkCreateRequest): boolean {
  const isOther =
    Scope || ConfigOnly || Ingress || ConfigFrom?.Network || Object.keys(Options).some((key) => key !== mtuOption);
  return !isOther && (!Driver || Driver === 'bridge');
}

/** False when it is to be tried again: no service asks for it, only tasks are left of one, and `isPatient`. Throws ClusterError when it is in use. */
async function removed(
  manager: ManagerAccess,
  room: EngineRoom,
  reference: string,
  isPatient: boolean,
): Promise<boolean> {
  const view = manager.view();
  const network = findNetwork(view, reference);
  const user = userOf(view, network) ?? (await guestOn(room, view, network));
  if (user?.isLeaving && isPatient) return false;
  if (user) {
    const names = [`network ${network.Spec.Name}`, ...(user.name === undefined ? [] : [user.name])];
    throw new ClusterError(
      'failed-precondition',
      // Clients know Docker's words; the names behind them are for people.
      `rpc error: code = FailedPrecondition desc = network ${network.ID} is in use by ${user.what} (${names.join(', ')})`,
    );
  }
  await manager.propose([{ op: 'remove', table: 'networks', id: network.ID }]);
  return true;
}

export const findNetwork = (view: View, reference: string): Network =>
  lookUp(
    'network',
    reference,
    (id) => view.get('networks', id),
    view.list('networks'),
    (network) => network.Spec.Name,
  );

/**
 * The spec with ids for names, so that a network of the same name later is another one. Throws ClusterError: what Docker says of an unknown
 * one, and what cannot be had on networks of that driver.
 */
export function withNetworkIds<T extends ServiceSpec>(view: View, spec: T): T {
  const networks = spec.TaskTemplate?.Networks;
  if (!networks?.length) return spec;
  const seen = new Set<string>();
  const own: Network[] = [];
  const resolved = networks.map((attachment) => {
    const target = attachment.Target ?? '';
    const network = isPredefinedNetwork(target) ? undefined : networkNamed(view, target);
    if (network) own.push(network);
    const id = network?.ID ?? target;
    if (seen.has(id)) {
      throw new ClusterError(
        'invalid-argument',
        `rpc error: code = InvalidArgument desc = network ${target} is given twice`,
      );
    }
    seen.add(id);
    return { ...attachment, Target: id };
  });
  checkNetworkDrivers(spec, own);
  const old = spec.Networks && { Networks: resolved };
  return { ...spec, ...old, TaskTemplate: { ...spec.TaskTemplate, Networks: resolved } };
}

function networkNamed(view: View, target: string): Network {
  const network = view.get('networks', target) ?? view.networkByName(target);
  if (!network) throw new ClusterError('unknown', `network ${target} not found`);
  return network;
}

interface NetworkUser {
  /** `service ID`, `task ID`, `container NAME on node HOSTNAME`. */
  readonly what: string;
  /** What people call it, when that is something else. */
  readonly name?: string;
  /** No service asks for the network any more: this is a rest of one that did. */
  readonly isLeaving: boolean;
}

/** What keeps the network from being removed, but for containers made by hand. */
function userOf(view: View, network: Network): NetworkUser | undefined {
  const { ID } = network;
  const service = view
    .list('services')
    .find(({ Spec }) => Spec.TaskTemplate.Networks?.some(({ Target }) => Target === ID));
  if (service) return { ...asUser(service), isLeaving: false };
  const holder = isLocalNetwork(network) ? attachedTo(view, ID) : holderOn(view, ID);
  return holder && { ...asUser(holder), isLeaving: true };
}

function asUser(holder: Service | Task): Pick<NetworkUser, 'what' | 'name'> {
  if (!('ServiceID' in holder)) return { what: `service ${holder.ID}`, name: `service ${holder.Spec.Name}` };
  return { what: `task ${holder.ID}`, name: `task ${placeName(holder)}` };
}

async function guestOn(room: EngineRoom, view: View, network: Network): Promise<NetworkUser | undefined> {
  const guest = (await containersOn(room, view, network)).find(({ taskId }) => taskId === undefined);
  return guest && { what: `container ${guest.shown.Name} on node ${guest.hostname}`, isLeaving: false };
}

/** Nobody has addresses there that the managers know of. */
function attachedTo(view: View, networkId: string): Task | undefined {
  return view
    .list('tasks')
    .find(
      ({ Status, NetworksAttachments }) =>
        !isTerminal(Status.State) && NetworksAttachments?.some(({ Network }) => Network.ID === networkId),
    );
}

function holderOn(view: View, networkId: string): Service | Task | undefined {
  for (const { holders } of view.addressesOf(networkId).values()) {
    for (const { kind, id } of holders) {
      const service = kind === 'service' ? view.get('services', id) : undefined;
      if (service) return service;
      const task = kind === 'task' ? view.get('tasks', id) : undefined;
      if (task && !isTerminal(task.Status.State)) return task;
    }
  }
  return undefined;
}

// --- filters ---

function checkFilters(filters: Filters): void {
  for (const type of filters.get('type') ?? []) {
    if (type !== 'builtin' && type !== 'custom') {
      throw new ClusterError('invalid-argument', `invalid filter: 'type'='${type}'`);
    }
  }
  const dangling = [...(filters.get('dangling') ?? [])];
  const isSaid = [
    ['true', '1'],
    ['false', '0'],
  ].map((words) => dangling.some((one) => words.includes(one)));
  if (filters.has('dangling') && isSaid[0] === isSaid[1]) {
    throw new ClusterError('invalid-argument', `invalid filter 'dangling=[${dangling.join(' ')}]'`);
  }
}

/** Docker takes a regular expression; of those, clients use `^` and `$`. */
const contains = (text: string, pattern: string): boolean => {
  const [, start, part = '', end] = /^(\^?)(.*?)(\$?)$/s.exec(pattern) ?? [];
  if (start && end) return text === part;
  if (start) return text.startsWith(part);
  return end ? text.endsWith(part) : text.includes(part);
};

function isListed(filters: Filters, shown: Shown, idle: boolean): boolean {
  const type = isPredefinedNetwork(shown.Name) ? 'builtin' : 'custom';
  return (
    passes(filters, 'id', (id) => contains(shown.Id, id)) &&
    passes(filters, 'name', (name) => contains(shown.Name, name)) &&
    passes(filters, 'driver', (driver) => shown.Driver === driver) &&
    passes(filters, 'scope', (scope) => shown.Scope === scope) &&
    passes(filters, 'type', (one) => one === type) &&
    passes(filters, 'dangling', (value) => (value === 'true' || value === '1') === idle) &&
    passesLabels(filters, 'label', shown.Labels ?? {})
  );
}

/** ms since the epoch; a duration ago, a Unix time or RFC 3339. */
function untilOf(filters: Filters, now: number): number | undefined {
  const [text, ...more] = filters.get('until') ?? [];
  if (more.length > 0) throw new ClusterError('invalid-argument', 'more than one until filter specified');
  if (text === undefined) return undefined;
  const ago = parseDurationMs(text);
  const at =
    ago === undefined || text === '0'
      ? /^\d+(\.\d+)?$/.test(text)
        ? Number(text) * 1000
        : Date.parse(text)
      : now - ago;
  if (Number.isNaN(at)) throw new ClusterError('invalid-argument', `invalid filter 'until=${text}'`);
  return at;
}
