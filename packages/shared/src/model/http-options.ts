import { parseDurationMs } from './durations.ts';
import { listed, rangesOf, wrongRanges } from './ranges.ts';

// What makes a published TCP port one of HTTP, which several services may share by host and path, and the labels that ask for it.

/** Requests to `host` (lower case; `*`: any; `*.` before a domain: one label more) whose path is `path` or below it (empty: any). */
export interface HttpRoute {
  readonly host: string;
  readonly path: string;
}

export interface HttpOptions {
  /** At least one, each once. */
  readonly routes: readonly HttpRoute[];
  /** A client goes on with the task that answered it first, by a cookie. */
  readonly sticky?: true;
  /** Names of secrets that together hold the certificate chain and its key. Absent: no TLS by this service. */
  readonly tls?: readonly string[];
  /** Ranges of proxies whose word on the client is believed. */
  readonly trust?: readonly string[];
  /** Tasks are spoken to in HTTP/2 without TLS. */
  readonly h2?: true;
  /** How long a task may say nothing. */
  readonly timeoutMs: number;
}

interface HttpLabel {
  readonly what: string;
  /** Undefined when the value is right, else what would be. */
  readonly check: (value: string) => string | undefined;
}

const among =
  (...values: string[]) =>
  (value: string) =>
    values.includes(value) ? undefined : `one of ${values.join(', ')}`;

const rightRoutes =
  'a list of hosts with or without a path, such as a.example.com,a.example.org/api,*.example.net or */metrics';
const domain = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/;
/** What a client sends as it is, without a comma. */
const path = /^(\/[A-Za-z0-9._~!$&'()*+;=:@%-]+)*$/;
const mostPath = 1_024;

function routeOf(item: string): HttpRoute | undefined {
  const slash = item.indexOf('/');
  const host = (slash < 0 ? item : item.slice(0, slash)).toLowerCase();
  const below = slash < 0 ? '' : item.slice(slash).replace(/\/$/, '');
  const isHost = host === '*' || domain.test(host.replace(/^\*\./, ''));
  const isPath = path.test(below) && below.length <= mostPath && !/\/\.{1,2}(\/|$)/.test(below);
  return isHost && isPath ? { host, path: below } : undefined;
}

export const routeName = ({ host, path }: HttpRoute): string => `${host}${path}`;

const secretName = /^[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$/;

export const httpLabels = {
  'swarmctl.http.route': {
    what: 'hosts and paths whose HTTP requests to published ports are for the service, separated by commas; such a port may be shared',
    check(value) {
      const routes = listed(value).map(routeOf);
      return routes.length === 0 || routes.includes(undefined) ? rightRoutes : undefined;
    },
  },
  'swarmctl.http.tls': {
    what: 'the secret, or secrets separated by commas, with the certificate chain and the key for these hosts (no TLS)',
    check: (value) =>
      listed(value).length > 0 && listed(value).every((name) => secretName.test(name) && name.length <= 64)
        ? undefined
        : 'a name of a secret, or names separated by commas',
  },
  'swarmctl.http.sticky': {
    what: 'whether a client stays with one task: none, or cookie (none)',
    check: among('none', 'cookie'),
  },
  'swarmctl.http.trust': {
    what: 'ranges of proxies in front whose X-Forwarded and Forwarded headers are kept, separated by commas (nobody)',
    check: wrongRanges,
  },
  'swarmctl.http.protocol': {
    what: 'what the tasks speak: http1, or h2 without TLS, as gRPC does (http1)',
    check: among('http1', 'h2'),
  },
  'swarmctl.http.timeout': {
    what: 'how long a task may say nothing while it has a request (1m)',
    check(value) {
      const ms = parseDurationMs(value) ?? Number.NaN;
      return ms >= 1_000 && ms <= 604_800_000 ? undefined : 'a duration from 1s to 168h';
    },
  },
} as const satisfies Record<string, HttpLabel>;

export type HttpLabelName = keyof typeof httpLabels;

/** Of labels that were checked; undefined: the port is none of HTTP. */
export function httpOptionsOf(label: (name: HttpLabelName) => string | undefined): HttpOptions | undefined {
  const routes = new Map(
    listed(label('swarmctl.http.route') ?? '')
      .flatMap((item) => routeOf(item) ?? [])
      .map((route) => [routeName(route), route]),
  );
  if (routes.size === 0) return undefined;
  const tls = listed(label('swarmctl.http.tls') ?? '');
  const trust = rangesOf(label('swarmctl.http.trust') ?? '');
  return {
    routes: [...routes.values()],
    ...(label('swarmctl.http.sticky') === 'cookie' && { sticky: true }),
    ...(tls.length > 0 && { tls }),
    ...(trust.length > 0 && { trust }),
    ...(label('swarmctl.http.protocol') === 'h2' && { h2: true }),
    timeoutMs: parseDurationMs(label('swarmctl.http.timeout') ?? '') ?? 60_000,
  };
}
