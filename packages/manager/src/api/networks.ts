import { ClusterError, delay } from '@swarmctl/shared/kit';
import {
  bareAddress,
  checkNetworkDrivers,
  completeNetworkSpec,
  fromTimestamp,
  ingressNetwork,
  isInRanges,
  isLocalNetwork,
  isPredefinedNetwork,
  isTerminal,
  type Network,
  NetworkCreateRequest,
  normalise,
  type PredefinedNetwork,
  parseDurationMs,
  parseJson,
  placeName,
  predefinedNetworks,
  type Service,
  type ServiceSpec,
  subnetUse,
  type Task,
  taskName,
  vxlanIdOption,
} from '@swarmctl/shared/model';
import type { FastifyInstance } from 'fastify';
import { guestsOn } from '../store/guests.ts';
import type { View } from '../store/types.ts';
import { type ApiContext, leading, readView } from './context.ts';
import { hasIngress, removeIngress, restoreIngress, showIngress } from './ingress-network.ts';
import type { ManagerAccess } from './ports.ts';
import { type Filters, filtersOf, flag, lookUp, passes, passesLabels, type Query, single } from './query.ts';
import type { Turns } from './turns.ts';
import { minorOf, networkAsOf, networkShownTo } from './version.ts';

// Networks: the cluster's overlay networks, those that each engine makes by itself, and the three that every engine has.

/** How long a removal waits for tasks of services that are gone or left the network: `docker stack rm` asks for it right behind theirs. */
const leavingMs = 60_000;
const leavingPollMs = 50;

const listFilters = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type'];

export function networkRoutes(app: FastifyInstance, context: ApiContext, turns: Turns): void {
  app.get<{ Querystring: Query }>('/networks', async (request) => {
    const filters = filtersOf(request.query, listFilters);
    checkFilters(filters);
    const view = context.local.manager() && (await readView(context));
    const own = view
      ?.list('networks')
      .map((network) => ({ shown: showNetwork(network), idle: !userOf(view, network) }));
    const given = [
      ...(view && hasIngress(view) ? [showIngress()] : []),
      ...predefinedNetworks.map((name) => showPredefined(name)),
    ];
    const all = [...(own ?? []), ...given.map((shown) => ({ shown, idle: false }))];
    const asked = all.filter(({ shown, idle }) => isListed(filters, shown, idle));
    return asked.map(({ shown }) => networkShownTo(minorOf(request), shown));
  });

  app.get<{ Params: { id: string }; Querystring: Query }>('/networks/:id', async (request) => {
    const { id } = request.params;
    const scope = single(request.query, 'scope') || undefined;
    const view = context.local.manager() && (await readView(context));
    if (isPredefinedNetwork(id)) return networkShownTo(minorOf(request), showPredefined(id, scope));
    // No network of ours: clients look for it, and services that ask for it are refused.
    if (view && id === ingressNetwork && scope !== 'local' && hasIngress(view)) {
      return networkShownTo(minorOf(request), showIngress());
    }
    if (!view || scope === 'local') throw new ClusterError('not-found', `network ${id} not found`);
    const network = findNetwork(view, id);
    const status = showStatus(view, network);
    const use = flag(request.query, 'verbose') && showUse(view, network);
    return networkShownTo(minorOf(request), {
      ...showNetwork(network),
      ...showGuests(view, network),
      ...status,
      ...use,
    });
  });

  app.post('/networks/create', { config: { leaderOnly: true } }, async (request, reply) => {
    const given = normalise(NetworkCreateRequest, parseJson(request.body as Buffer) ?? {});
    const asked = networkAsOf(minorOf(request), withDriver(given));
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
      const object = { ID: id, Spec: spec, IPAM: { Configs: [] }, Gateways: {} };
      await manager.propose([{ op: 'create', table: 'networks', object }]);
      return manager.networkWarning(view, spec) ?? '';
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
    while (!(await turns.take(() => removed(manager, id, context.clock.now() < end)))) {
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
      const doomed = view
        .list('networks')
        .filter(
          (network) =>
            passesLabels(filters, 'label', network.Spec.Labels) &&
            !(filters.get('label!')?.size && passesLabels(filters, 'label!', network.Spec.Labels)) &&
            (before === undefined || fromTimestamp(network.CreatedAt) < before) &&
            !userOf(view, network),
        );
      if (doomed.length > 0) {
        await manager.propose(doomed.map(({ ID }) => ({ op: 'remove', table: 'networks', id: ID })));
      }
      return { NetworksDeleted: doomed.length > 0 ? doomed.map(({ Spec }) => Spec.Name) : null };
    });
  });
}

/**
 * Who names no driver, or bridge as Docker's command line does for those who name none, wants a network for containers, on whichever engine they are: an
 * attachable overlay network. What else is said of it may show that one engine's own is meant.
 */
function withDriver(given: NetworkCreateRequest): NetworkCreateRequest {
  const { Driver, Scope, Options = {}, ConfigOnly, ConfigFrom } = given;
  const isPlain = !Scope && !ConfigOnly && !ConfigFrom?.Network && Object.keys(Options).length === 0;
  return isPlain && (!Driver || Driver === 'bridge') ? { ...given, Driver: 'overlay', Attachable: true } : given;
}

/** False when it is to be tried again: no service asks for it, only tasks are left of one, and `isPatient`. Throws ClusterError when it is in use. */
async function removed(manager: ManagerAccess, reference: string, isPatient: boolean): Promise<boolean> {
  const view = manager.view();
  const network = findNetwork(view, reference);
  const user = userOf(view, network);
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
  return { ...spec, TaskTemplate: { ...spec.TaskTemplate, Networks: resolved } };
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

/** What keeps the network from being removed. */
function userOf(view: View, network: Network): NetworkUser | undefined {
  const { ID } = network;
  const service = view
    .list('services')
    .find(({ Spec }) => Spec.TaskTemplate.Networks?.some(({ Target }) => Target === ID));
  if (service) return { ...asUser(service), isLeaving: false };
  const [guest] = guestsOn(view, network);
  if (guest) return { what: `container ${guest.Name} on node ${hostnameOf(view, guest.nodeId)}`, isLeaving: false };
  const holder = isLocalNetwork(network) ? attachedTo(view, ID) : holderOn(view, ID);
  return holder && { ...asUser(holder), isLeaving: true };
}

function asUser(holder: Service | Task): Pick<NetworkUser, 'what' | 'name'> {
  if (!('ServiceID' in holder)) return { what: `service ${holder.ID}`, name: `service ${holder.Spec.Name}` };
  return { what: `task ${holder.ID}`, name: `task ${placeName(holder)}` };
}

const hostnameOf = (view: View, nodeId: string): string => view.get('nodes', nodeId)?.Description?.Hostname ?? nodeId;

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

// --- as the API shows them ---

interface Shown {
  readonly Name: string;
  readonly Id: string;
  readonly Driver: string;
  readonly Scope: string;
  readonly Labels: Readonly<Record<string, string>> | null;
}

function showNetwork(network: Network) {
  const { Spec, VNI, IPAM } = network;
  const options = Spec.DriverConfiguration?.Options ?? {};
  const configs = isLocalNetwork(network)
    ? (Spec.IPAMOptions?.Configs ?? [])
    : IPAM.Configs.map((config) => showConfig(network, config));
  return {
    Name: Spec.Name,
    Id: network.ID,
    Created: network.CreatedAt,
    Scope: 'swarm',
    Driver: Spec.DriverConfiguration?.Name ?? 'overlay',
    EnableIPv4: true,
    EnableIPv6: Spec.IPv6Enabled ?? false,
    IPAM: { Driver: 'default', Options: null, Config: configs },
    Internal: Spec.Internal ?? false,
    Attachable: Spec.Attachable ?? false,
    Ingress: false,
    ConfigFrom: { Network: Spec.ConfigFrom?.Network ?? '' },
    ConfigOnly: false,
    Containers: null,
    Options: { ...options, ...(VNI !== undefined && { [vxlanIdOption]: String(VNI) }) },
    Labels: Object.keys(Spec.Labels).length > 0 ? Spec.Labels : null,
  };
}

function showConfig({ Spec }: Network, { Subnet, Gateway }: Network['IPAM']['Configs'][number]) {
  const range = Spec.IPAMOptions?.Configs?.find((one) => one.Subnet === Subnet)?.IPRange;
  return { Subnet, ...(range && { IPRange: range }), Gateway };
}

const unset = {
  ...{ Created: '1970-01-01T00:00:00Z', EnableIPv4: true, EnableIPv6: false, Internal: false, Attachable: false },
  ...{ ConfigFrom: { Network: '' }, ConfigOnly: false, Containers: {}, Options: {}, Labels: {} },
};

const predefinedDrivers: Readonly<Record<PredefinedNetwork, string>> = { bridge: 'bridge', host: 'host', none: 'null' };

/** An engine's own; for whoever asks for it by the scope swarm, the way to put services on it. */
function showPredefined(name: PredefinedNetwork, scope = 'local') {
  return {
    ...unset,
    Name: name,
    Id: name,
    Scope: scope === 'swarm' ? 'swarm' : 'local',
    Driver: predefinedDrivers[name],
    Ingress: false,
    IPAM: { Driver: 'default', Options: null, Config: name === 'bridge' ? [] : null },
  };
}

/** The containers made by hand, on all nodes, as an engine shows its own; none: as it is shown without. */
function showGuests(view: View, network: Network) {
  const guests = guestsOn(view, network);
  if (guests.length === 0) return {};
  const shown = guests.map(({ ContainerID, Name, MAC, Addresses }) => {
    const [v4, v6] = [4, 6].map((family) => withPrefix(network, Addresses, family as 4 | 6));
    return [ContainerID, { Name, EndpointID: '', MacAddress: MAC, IPv4Address: v4, IPv6Address: v6 }] as const;
  });
  return { Containers: Object.fromEntries(shown) };
}

/** `10.0.1.130/24`; empty without one of the family. */
function withPrefix({ IPAM }: Network, addresses: readonly string[], family: 4 | 6): string {
  const address = addresses.find((one) => one.includes(':') === (family === 6));
  const { Subnet } = IPAM.Configs.find((one) => address && isInRanges([one.Subnet], address)) ?? {};
  return address && Subnet ? `${address}/${Subnet.split('/')[1]}` : '';
}

/** How full its subnets are, as engines say it since API 1.52. */
function showStatus(view: View, network: Network) {
  const guests = guestsOn(view, network).flatMap(({ Addresses }) => Addresses.map((address) => ({ address })));
  const use = subnetUse(network, [...view.addressesOf(network.ID).values(), ...guests]);
  if (use.size === 0) return {};
  const subnets = [...use].map(([subnet, { used, free }]) => [subnet, { IPsInUse: used, DynamicIPsAvailable: free }]);
  return { Status: { IPAM: { Subnets: Object.fromEntries(subnets) } } };
}

/** What `verbose` adds: the services on the network, and the nodes. */
function showUse(view: View, network: Network) {
  const services: Record<string, { VIP: string; Ports: string[]; LocalLBIndex: number; Tasks: object[] }> = {};
  const of = (serviceId: string, name: string) => {
    const vip = view
      .get('services', serviceId)
      ?.Endpoint.VirtualIPs?.find(({ NetworkID }) => NetworkID === network.ID)?.Addr;
    services[name] ??= { VIP: bareAddress(vip ?? ''), Ports: [], LocalLBIndex: 0, Tasks: [] };
    return services[name];
  };
  for (const { address, holders } of view.addressesOf(network.ID).values()) {
    for (const { kind, id } of holders) {
      if (kind === 'service') of(id, view.get('services', id)?.Spec.Name ?? id);
      const task = kind === 'task' ? view.get('tasks', id) : undefined;
      if (!task || isTerminal(task.Status.State)) continue;
      const node = view.get('nodes', task.NodeID ?? '');
      of(task.ServiceID, task.ServiceAnnotations.Name).Tasks.push({
        Name: taskName(task),
        EndpointID: '',
        EndpointIP: address,
        Info: { 'Host IP': node?.Status.Addr ?? '' },
      });
    }
  }
  const peers = Object.keys(network.Gateways).flatMap((id) => {
    const node = view.get('nodes', id);
    return node ? [{ Name: node.Description?.Hostname ?? id, IP: node.Status.Addr }] : [];
  });
  return { Peers: peers, Services: services };
}

// --- filters ---

function checkFilters(filters: Filters): void {
  for (const type of filters.get('type') ?? []) {
    if (type !== 'builtin' && type !== 'custom') {
      throw new ClusterError('invalid-argument', `invalid filter: 'type'='${type}'`);
    }
  }
  for (const value of filters.get('dangling') ?? []) {
    if (!['true', 'false', '1', '0'].includes(value)) {
      throw new ClusterError('invalid-argument', `invalid filter 'dangling=[${value}]'`);
    }
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
  const [text] = filters.get('until') ?? [];
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
