import {
  type Endpoint,
  type PortConfig,
  publishedOptionsOf,
  routeName,
  type Service,
  specEquals,
} from '@swarmctl/shared/model';
import type { View } from '../../store/types.ts';

// Published ports: which are taken, and which a service without a wish is given. A port belongs to one service, also where labels bind it
// to some addresses, or to several that share it by the hosts and paths of HTTP.

export const dynamicPorts = { first: 30_000, last: 32_767 } as const;

type Spec = Pick<Service['Spec'], 'EndpointSpec'> & Partial<Pick<Service['Spec'], 'Labels'>>;

const protocolOf = (port: PortConfig) => port.Protocol || 'tcp';
const isHost = (port: PortConfig) => port.PublishMode === 'host';
const portKey = (port: PortConfig) => `${protocolOf(port)}/${port.PublishedPort}`;

/** The message to refuse `spec` with when one of its published ports is taken by another service than `selfId`. */
export function portConflict(view: View, spec: Spec, selfId?: string): string | undefined {
  const wanted = { ingress: new Set<string>(), host: new Set<string>() };
  for (const port of spec.EndpointSpec?.Ports ?? []) {
    if (port.PublishedPort) wanted[isHost(port) ? 'host' : 'ingress'].add(portKey(port));
  }
  if (wanted.ingress.size + wanted.host.size === 0) return undefined;
  for (const service of view.list('services')) {
    if (service.ID === selfId) continue;
    for (const port of publishedBy(service)) {
      const key = portKey(port);
      // Host ports of several services may be the same: the scheduler keeps them on different nodes.
      if (wanted.ingress.has(key) || (!isHost(port) && wanted.host.has(key))) {
        const http = wanted.ingress.has(key) && !wanted.host.has(key) ? sharing(spec, service, port) : 'apart';
        if (http === 'shared') continue;
        if (http !== 'apart') return http;
        const bound = isBound(spec, port) || isBound(service.Spec, port);
        return `${conflictMessage(port, service)}${bound ? "; a port is one service's, on whatever addresses" : ''}`;
      }
    }
  }
  return undefined;
}

/**
 * Whether two services share an ingress port; else `apart`, when it is not one of HTTP for both, or the message to refuse the first with.
 */
function sharing(spec: Spec, other: Service, port: PortConfig): string {
  if (isHost(port)) return 'apart';
  const [mine, theirs] = [spec.Labels, other.Spec.Labels].map((labels) => publishedOptionsOf(labels ?? {}, port));
  const owner = `service '${other.Spec.Name}' (${other.ID})`;
  if (!mine?.http || !theirs?.http) {
    if (!mine?.http && !theirs?.http) return 'apart';
    const [which, lacks] = mine?.http ? ['has no', owner] : ['has', owner];
    return `${conflictMessage(port, other)}; a port is shared by services that all have the label swarmctl.http.route for it, and ${lacks} ${which} such`;
  }
  const apart =
    mine.addresses.length > 0 &&
    theirs.addresses.length > 0 &&
    !mine.addresses.some((address) => theirs.addresses.includes(address));
  const taken = new Set(theirs.http.routes.map(routeName));
  const route = apart ? undefined : mine.http.routes.map(routeName).find((name) => taken.has(name));
  return route === undefined
    ? 'shared'
    : `route '${route}' of port '${port.PublishedPort}' is already in use by ${owner}`;
}

const isBound = (spec: Spec, port: PortConfig): boolean =>
  !isHost(port) && publishedOptionsOf(spec.Labels ?? {}, port).addresses.length > 0;

const conflictMessage = (port: PortConfig, service: Service): string =>
  `port '${port.PublishedPort}' is already in use by service '${service.Spec.Name}' (${service.ID}) as ${isHost(port) ? 'a host-published' : 'an ingress'} port`;

function* publishedBy(service: Service): Generator<PortConfig> {
  for (const port of service.Spec.EndpointSpec?.Ports ?? []) if (port.PublishedPort) yield port;
  for (const port of service.Endpoint.Ports ?? []) if (port.PublishedPort) yield port;
}

export type Allocation =
  | { readonly ok: true; readonly endpoint: Endpoint }
  | { readonly ok: false; readonly conflict: string };

/** The endpoint that the service's spec asks for. What it holds already stays: a dynamic port is stable across updates. */
export function allocateEndpoint(view: View, service: Service): Allocation {
  const spec = service.Spec.EndpointSpec;
  if (!spec) return { ok: true, endpoint: { Spec: {} } };
  if (!spec.Ports?.length) return { ok: true, endpoint: { Spec: spec } };
  const taken = takenByOthers(view, service.ID);
  const held = [...(service.Endpoint.Ports ?? [])];
  const ports: PortConfig[] = [];
  for (const wish of spec.Ports) {
    const port: PortConfig = { ...wish, Protocol: protocolOf(wish), PublishMode: isHost(wish) ? 'host' : 'ingress' };
    if (isHost(port)) {
      ports.push({ ...port, PublishedPort: wish.PublishedPort ?? 0 });
      continue;
    }
    const number = wish.PublishedPort || heldFor(port, held, taken) || lowestFree(port, taken, spec.Ports);
    if (number === undefined) return { ok: false, conflict: 'no dynamic port from 30000 to 32767 is free' };
    const given = { ...port, PublishedPort: number };
    for (const owner of taken.get(portKey(given)) ?? []) {
      const http = owner === service ? 'apart' : sharing(service.Spec, owner, given);
      if (http === 'shared') continue;
      return { ok: false, conflict: http === 'apart' ? conflictMessage(given, owner) : http };
    }
    ports.push(given);
    taken.set(portKey(given), [service]);
  }
  return { ok: true, endpoint: { Spec: spec, Ports: ports } };
}

function takenByOthers(view: View, selfId: string): Map<string, Service[]> {
  const taken = new Map<string, Service[]>();
  for (const other of view.list('services')) {
    if (other.ID === selfId) continue;
    for (const port of other.Endpoint.Ports ?? [])
      if (!isHost(port) && port.PublishedPort) taken.set(portKey(port), [...(taken.get(portKey(port)) ?? []), other]);
  }
  return taken;
}

/** The port that the service was given before for the same target; each is given once. */
function heldFor(port: PortConfig, held: PortConfig[], taken: ReadonlyMap<string, unknown>): number | undefined {
  const at = held.findIndex(
    (one) =>
      !isHost(one) &&
      one.TargetPort === port.TargetPort &&
      protocolOf(one) === protocolOf(port) &&
      (one.PublishedPort ?? 0) >= dynamicPorts.first &&
      (one.PublishedPort ?? 0) <= dynamicPorts.last &&
      !taken.has(portKey(one)),
  );
  return at < 0 ? undefined : held.splice(at, 1)[0]?.PublishedPort;
}

function lowestFree(
  port: PortConfig,
  taken: ReadonlyMap<string, unknown>,
  wishes: readonly PortConfig[],
): number | undefined {
  const wished = new Set(wishes.map(portKey));
  for (let number = dynamicPorts.first; number <= dynamicPorts.last; number++) {
    const key = portKey({ ...port, PublishedPort: number });
    if (!taken.has(key) && !wished.has(key)) return number;
  }
  return undefined;
}

/** The endpoint is that of the service's present spec, so tasks may take its ports. */
export const endpointMatches = (service: Service): boolean =>
  specEquals(service.Endpoint.Spec, service.Spec.EndpointSpec ?? {}) &&
  (service.Spec.EndpointSpec?.Ports?.length ?? 0) === (service.Endpoint.Ports?.length ?? 0);
