import { createHash } from 'node:crypto';
import { familyOf } from '../address.ts';
import { everyAddress, type HttpBackend, type HttpListener, type HttpPlan, type HttpServer, routeKey } from './plan.ts';

// HAProxy's configuration, of HAProxy 2.6 or later. Hosts and paths are looked up in one map a listener, whose longest beginning counts: first
// with the host itself, then with a star for its first label, then for any host. A worker that a newer one replaced hands the requests that
// still come on its connections over to that, by a socket in `handoverFolder`: it hears no more of tasks. Pure.

export interface ConfigAround {
  readonly mostConnections: number;
  /** Who HAProxy is to be once it has its sockets; absent: who it is. */
  readonly user?: { readonly uid: number; readonly gid: number };
  readonly hasIpv6: boolean;
  /** The file of a certificate by the names of its secrets; undefined: it is not to be had. */
  readonly certificate: (names: readonly string[]) => string | undefined;
}

export interface HttpConfig {
  /** By name, beside one another. */
  readonly files: ReadonlyMap<string, string>;
  /** Differs when something else than the servers does. */
  readonly shape: string;
}

export const configFile = 'haproxy.cfg';
export const handoverFolder = 'next';

/** The longest that a process which was replaced stays for the connections that it has. */
const oldMs = 3_600_000;
const tunnelMs = 86_400_000;
const tlsOptions = 'ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets';

const errors: readonly (readonly [number, string])[] = [
  [400, 'the request is malformed'],
  [403, 'clients from your address are not let in'],
  [408, 'the request did not come in time'],
  [500, 'the ingress failed'],
  [502, "the service's answer is malformed, or ended early"],
  [503, 'no task of the service can be reached'],
  [504, 'the service did not answer in time'],
];

export function renderConfig(plan: HttpPlan, around: ConfigAround): HttpConfig {
  const files = new Map<string, string>();
  for (const { name, routes, certificates } of plan.listeners) {
    files.set(mapFile(name), lines(routes.map(({ route, backend }) => `${routeKey(route)} ${backend}`)));
    if (!certificates) continue;
    // The first is shown to clients that ask for none, or for another.
    const sorted = [...certificates].sort((a, b) => Number(a.hosts.length > 0) - Number(b.hosts.length > 0));
    const found = sorted.flatMap(({ names, hosts }) => {
      const path = around.certificate(names);
      return path === undefined ? [] : [[path, ...hosts].join(' ')];
    });
    files.set(certificateFile(name), lines(found));
  }
  const render = (serversOf: (backend: HttpBackend) => readonly HttpServer[]) =>
    lines([
      '# Written by swarmd, which overwrites it.',
      ...global(around),
      ...plan.listeners.flatMap((listener) => frontend(listener, around)),
      ...[...plan.backends.values()].flatMap((one) => backend(one, serversOf(one))),
    ]);
  const hash = createHash('sha256').update(render(() => []));
  for (const [name, text] of files) hash.update(`\n${name}\n${text}`);
  files.set(
    configFile,
    render(({ servers }) => servers),
  );
  return { files, shape: hash.digest('hex') };
}

/** The least configuration that has a certificate in it, to be checked alone. */
export const certificateCheck = (certificate: string): string =>
  lines([
    'global',
    `  ${tlsOptions}`,
    'defaults',
    '  mode http',
    '  timeout client 60s',
    'frontend check',
    `  bind unix@check.sock ssl crt ${certificate}`,
  ]);

const lines = (all: readonly string[]): string => all.map((line) => `${line}\n`).join('');
const handoverName = (listener: string) => `${listener}.${handoverFolder}`;
export const isHandover = (backend: string): boolean => backend.endsWith(`.${handoverFolder}`);
const mapFile = (name: string) => `${name}.map`;
const certificateFile = (name: string) => `${name}.certs`;

function global({ mostConnections, user }: ConfigAround): string[] {
  return [
    'global',
    `  maxconn ${mostConnections}`,
    ...(user ? [`  uid ${user.uid}`, `  gid ${user.gid}`] : []),
    `  hard-stop-after ${oldMs}ms`,
    `  ${tlsOptions}`,
    'defaults',
    '  mode http',
    // Attempts at a connection; what was sent is not sent again.
    '  retries 3',
    '  option redispatch 1',
    '  option clitcpka',
    '  option srvtcpka',
    // A client may be sending on a connection that looks idle when the configuration changes.
    '  option idle-close-on-response',
    '  timeout connect 3s',
    '  timeout server 60s',
    '  timeout client 60s',
    '  timeout http-request 10s',
    '  timeout http-keep-alive 60s',
    `  timeout tunnel ${tunnelMs}ms`,
    ...errors.map(
      ([status, text]) => `  http-error status ${status} content-type text/plain string "${status}: ${text}\\n"`,
    ),
    'backend nobody',
    '  http-request return status 404 content-type text/plain string "404: no service answers to this host and path\\n"',
  ];
}

function frontend(listener: HttpListener, { hasIpv6, user }: ConfigAround): string[] {
  const { name, addr, port, certificates, timeoutMs } = listener;
  // Whoever asks for another host sees no certificate rather than a wrong one, unless one is for all.
  const strict = certificates?.every(({ hosts }) => hosts.length > 0) ? ' strict-sni' : '';
  const tls = certificates ? ` ssl crt-list ${certificateFile(name)} alpn h2,http/1.1${strict}` : '';
  const all = addr === everyAddress;
  const found = (variable: string) => `var(txn.${variable}),map_beg(${mapFile(name)})`;
  return [
    `frontend ${name}`,
    ...(all || familyOf(addr) === 4 ? [`  bind ipv4@${all ? '' : addr}:${port}${tls}`] : []),
    ...((all ? hasIpv6 : familyOf(addr) === 6) ? [`  bind ipv6@${all ? '::' : addr}:${port} v6only${tls}`] : []),
    `  bind unix@${handoverFolder}/${name} accept-proxy mode 600${user ? ` uid ${user.uid} gid ${user.gid}` : ''}`,
    `  timeout client ${timeoutMs}ms`,
    '  http-request deny deny_status 400 unless { req.fhdr(host) -m reg -i ^[a-z0-9._:\\[\\]-]+$ }',
    '  http-request set-var(txn.path) path',
    '  http-request set-var(txn.host) req.hdr(host),host_only,lower,rtrim(.)',
    '  http-request set-var(txn.domain) var(txn.host),field(2,.,0)',
    '  http-request set-var(txn.exact) var(txn.host),concat(,txn.path,/)',
    '  http-request set-var(txn.below) str(*.),concat(,txn.domain),concat(,txn.path,/)',
    '  http-request set-var(txn.any) str(*),concat(,txn.path,/)',
    `  use_backend ${handoverName(name)} if { stopping }`,
    ...['exact', 'below', 'any'].map((one) => `  use_backend %[${found(one)}] if { ${found(one)} -m found }`),
    '  default_backend nobody',
    `backend ${handoverName(name)}`,
    `  timeout server ${timeoutMs}ms`,
    `  server next unix@${handoverFolder}/${name} send-proxy-v2`,
  ];
}

function backend(one: HttpBackend, servers: readonly HttpServer[]): string[] {
  const { name, options, allow, isTls, port } = one;
  const { trust, timeoutMs } = options;
  const scheme = isTls ? 'https' : 'http';
  // Of the client: what another than a trusted proxy says goes, and where that says nothing we do.
  const set = (header: string, value: string) =>
    `  http-request set-header ${header} ${value}${trust ? ` unless trusted { req.hdr(${header}) -m found }` : ''}`;
  const forwarded = (client: string) =>
    `  http-request add-header Forwarded "for=${client};host=\\"%[req.hdr(host)]\\";proto=${scheme}"`;
  return [
    `backend ${name}`,
    '  balance roundrobin',
    `  timeout server ${timeoutMs}ms`,
    ...(allow ? [`  http-request deny${allow.length > 0 ? ` unless { src ${allow.join(' ')} }` : ''}`] : []),
    ...(trust ? [`  acl trusted src ${trust.join(' ')}`] : []),
    ...['^x[-_]forwarded([-_]|$) -m reg', '^x[-_]real[-_]ip$ -m reg', 'forwarded'].map(
      (header) => `  http-request del-header ${header}${trust ? ' unless trusted' : ''}`,
    ),
    ...['keep-alive', 'proxy-connection', 'proxy'].map((header) => `  http-request del-header ${header}`),
    '  option forwardfor',
    set('X-Forwarded-Proto', scheme),
    set('X-Forwarded-Host', '%[req.hdr(host)]'),
    set('X-Forwarded-Port', String(port)),
    `${forwarded('%[src]')} if { src 0.0.0.0/0 }`,
    `${forwarded('\\"[%[src]]\\"')} unless { src 0.0.0.0/0 }`,
    '  http-response del-header keep-alive',
    ...(options.sticky ? sticky(one) : []),
    ...servers.map((server) => `  server ${server.name} ${serverArguments(server, one)}`),
  ];
}

/** Of HAProxy's `server` and `add server`. */
export const serverArguments = ({ addr, port }: HttpServer, { options }: HttpBackend): string =>
  `${serverAddress(addr)}:${port} pool-purge-delay 2s${options.h2 ? ' proto h2' : ''}`;

export const serverAddress = (addr: string): string => `ipv${familyOf(addr)}@${addr}`;

/** The cookie is the task's id, so that it is the same on every node. It leads nowhere once the task has left. */
function sticky({ serviceId, isTls }: HttpBackend): string[] {
  const cookie = `swarm_${serviceId.slice(0, 12)}`;
  const attributes = `Path=/; HttpOnly; SameSite=Lax${isTls ? '; Secure' : ''}`;
  return [
    `  http-request set-var(txn.sticky) req.cook(${cookie})`,
    '  use-server %[var(txn.sticky)] if { var(txn.sticky) -m found }',
    '  http-response set-var(txn.server) srv_name',
    `  http-response add-header Set-Cookie "${cookie}=%[srv_name]; ${attributes}" unless { var(txn.server),strcmp(txn.sticky) eq 0 }`,
  ];
}
