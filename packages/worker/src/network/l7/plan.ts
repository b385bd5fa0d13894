import type { HttpRoute } from '@swarmctl/shared/model';
import type { HttpOptions, IngressEntry } from '@swarmctl/shared/wire';
import { familyOf } from '../address.ts';
import { isPort, type Target, targetOf } from '../plan.ts';

// What HAProxy is to do for the ports of HTTP in the ingress table. Pure.

export interface HttpServer extends Target {
  /** The task's id. */
  readonly name: string;
}

/** One service behind one published port. */
export interface HttpBackend {
  readonly name: string;
  readonly options: HttpOptions;
  readonly serviceName: string;
  readonly serviceId: string;
  readonly port: number;
  readonly allow?: readonly string[];
  readonly isTls: boolean;
  readonly servers: readonly HttpServer[];
}

/** A certificate, for clients that ask for one of these hosts; none: for all. */
export interface CertificateUse {
  readonly names: readonly string[];
  readonly hosts: readonly string[];
}

/** One published port on one address. */
export interface HttpListener {
  readonly name: string;
  /** `*`: every local one. */
  readonly addr: string;
  readonly port: number;
  /** Of the entries that have a part in it. */
  readonly keys: readonly string[];
  /** Absent: no TLS. */
  readonly certificates?: readonly CertificateUse[];
  readonly routes: readonly { readonly route: HttpRoute; readonly backend: string }[];
  /** The longest of its services. */
  readonly timeoutMs: number;
}

export interface HttpPlan {
  /** By name. */
  readonly backends: ReadonlyMap<string, HttpBackend>;
  readonly listeners: readonly HttpListener[];
  /** By the key of the entry. */
  readonly problems: ReadonlyMap<string, string>;
}

export interface PlanAround {
  readonly nodeId: string;
  /** Empty: every local address. */
  readonly addresses: readonly string[];
}

export const everyAddress = '*';

export function planHttp(entries: Iterable<IngressEntry>, around: PlanAround): HttpPlan {
  const problems = new Map<string, string>();
  const isHere = ({ address }: IngressEntry) =>
    address === undefined || around.addresses.length === 0 || around.addresses.includes(address);
  // The order decides between routes that are the same, on every node alike.
  const http = [...entries]
    .filter((entry) => entry.http && isHere(entry))
    .sort((a, b) => (a.serviceId < b.serviceId ? -1 : a.serviceId > b.serviceId ? 1 : 0));
  const tlsPorts = new Set(http.filter((entry) => entry.http?.tls).map((entry) => entry.publishedPort));
  const backends = new Map<string, HttpBackend>();
  for (const entry of http) {
    const isTls = tlsPorts.has(entry.publishedPort);
    if (isPort(entry.publishedPort)) backends.set(backendName(entry), backendOf(entry, isTls, around.nodeId, problems));
    else problems.set(entry.key, `no requests can be taken on port ${entry.publishedPort}`);
  }
  const listeners = [...placesOf(http, around.addresses)].map(([name, { addr, port }]) => {
    const here = http.filter(
      (entry) => entry.publishedPort === port && (entry.address === undefined || entry.address === addr),
    );
    return listenerOf(name, addr, port, here, problems);
  });
  return { backends, listeners, problems };
}

const backendName = ({ serviceId, publishedPort }: IngressEntry): string => `${serviceId}.${publishedPort}`;

/** Each address and port that is to be listened on. */
function placesOf(entries: readonly IngressEntry[], addresses: readonly string[]) {
  const places = new Map<string, { readonly addr: string; readonly port: number }>();
  for (const { address, publishedPort: port } of entries) {
    if (!isPort(port)) continue;
    for (const addr of address === undefined ? (addresses.length > 0 ? addresses : [everyAddress]) : [address])
      places.set(`${addr.replaceAll(':', '_').replace('*', 'every')}.${port}`, { addr, port });
  }
  return places;
}

function backendOf(entry: IngressEntry, isTls: boolean, nodeId: string, problems: Map<string, string>): HttpBackend {
  const servers: HttpServer[] = [];
  for (const backend of entry.backends) {
    const { addr, port } = targetOf(backend, nodeId);
    if (familyOf(addr) && isPort(port)) servers.push({ name: backend.taskId, addr, port });
    else problems.set(entry.key, `task ${backend.taskId} is left out: ${addr}:${port} is no IP endpoint`);
  }
  return {
    name: backendName(entry),
    options: entry.http as HttpOptions,
    serviceName: entry.serviceName,
    serviceId: entry.serviceId,
    port: entry.publishedPort,
    ...(entry.allow && { allow: entry.allow }),
    isTls,
    servers,
  };
}

function listenerOf(
  name: string,
  addr: string,
  port: number,
  entries: readonly IngressEntry[],
  problems: Map<string, string>,
): HttpListener {
  const owners = new Map<string, IngressEntry>();
  const routes: { route: HttpRoute; backend: string }[] = [];
  const certificates: CertificateUse[] = [];
  const certified = new Set<string>();
  for (const entry of entries) {
    for (const route of entry.http?.routes ?? []) {
      const key = routeKey(route);
      const owner = owners.get(key);
      // Refused by the managers; a rollback may bring it about all the same.
      if (owner && owner.serviceId !== entry.serviceId)
        problems.set(entry.key, `requests to ${route.host}${route.path} go to service ${owner.serviceName}`);
      if (owner) continue;
      owners.set(key, entry);
      routes.push({ route, backend: backendName(entry) });
    }
    const { tls, routes: own = [] } = entry.http ?? {};
    if (!tls) continue;
    const hosts = [...new Set(own.map(({ host }) => host))].filter((host) => !certified.has(host));
    for (const host of hosts) certified.add(host);
    if (hosts.length > 0) certificates.push({ names: tls, hosts: hosts.includes('*') ? [] : hosts });
  }
  return {
    ...{ name, addr, port, routes, keys: entries.map(({ key }) => key) },
    ...(entries.some(({ http }) => http?.tls) && { certificates }),
    timeoutMs: Math.max(60_000, ...entries.map(({ http }) => http?.timeoutMs ?? 0)),
  };
}

/** What a request's host, path and a slash must begin with. */
export const routeKey = ({ host, path }: HttpRoute): string => `${host}${path}/`;
