import { ClusterError } from '../kit/errors.ts';
import { type ContainerLabelName, containerLabels, wrongAllowances } from './container-options.ts';
import { parseDurationMs } from './durations.ts';
import { type HttpLabelName, type HttpOptions, httpLabels, httpOptionsOf } from './http-options.ts';
import { formatIp, parseIp } from './ip.ts';
import type { Protocol } from './objects.ts';
import { type ProxyLabelName, type ProxyOptions, proxyLabels, proxyOptionsOf } from './proxy-options.ts';
import { listed, rangesOf, wrongRanges } from './ranges.ts';
import type { PortConfig } from './specs.ts';

// The reserved labels `swarmctl.*` on an object's own Spec.Labels: what Docker has no field for. One registry; an unknown or malformed
// one is refused with the nearest key.

export type LabelKind = 'service' | 'node' | 'cluster' | 'network' | 'secret' | 'config';

interface LabelDefinition {
  readonly kind: LabelKind | readonly LabelKind[];
  /** True when a change of it replaces the service's tasks. */
  readonly redeploys: boolean;
  /** True when it may be given for one published port alone, which then counts instead: `<label>.<published>/<protocol>`. */
  readonly perPort?: boolean;
  readonly what: string;
  /** Undefined when the value is right, else what would be. */
  readonly check: (value: string) => string | undefined;
}

const duration = (value: string) =>
  parseDurationMs(value) === undefined ? 'a duration such as 30s or 1m30s' : undefined;
const among =
  (...values: string[]) =>
  (value: string) =>
    values.includes(value) ? undefined : `one of ${values.join(', ')}`;

/**
 * How a client's address reaches the task: `keep` where that can be (else masqueraded, and said), `masquerade` always, `proxy-v1` and
 * `proxy-v2` by a PROXY header from the userspace proxy.
 */
export type ClientAddress = 'keep' | 'masquerade' | 'proxy-v1' | 'proxy-v2';
const clientAddresses = ['keep', 'masquerade', 'proxy-v1', 'proxy-v2'] as const satisfies readonly ClientAddress[];

const yesOrNo = among('true', 'false');

/** Each is a published port's. */
const ofPorts = Object.fromEntries(
  Object.entries({ ...proxyLabels, ...httpLabels }).map(([name, { what, check }]) => [
    name,
    { kind: 'service', redeploys: false, perPort: true, what, check },
  ]),
) as unknown as Readonly<Record<ProxyLabelName | HttpLabelName, LabelDefinition>>;

/** Each makes another container. */
const ofContainers = Object.fromEntries(
  Object.entries(containerLabels).map(([name, { what, check }]) => [
    name,
    { kind: 'service', redeploys: true, what, check },
  ]),
) as unknown as Readonly<Record<ContainerLabelName, LabelDefinition>>;

export const labelRegistry = {
  'swarmctl.drain-timeout': {
    kind: 'service',
    redeploys: false,
    what: 'how long connections in flight may go on after a task left the load balancer, before it is told to stop (10s)',
    check: duration,
  },
  'swarmctl.runtime': {
    kind: 'service',
    redeploys: true,
    what: 'the runtime that runs the tasks: docker or process (docker)',
    check: among('docker', 'process'),
  },
  'swarmctl.ready-check': {
    kind: 'service',
    redeploys: false,
    what: 'whether a task without a healthcheck must accept connections on its ingress ports before it is used: connect or none (connect)',
    check: among('connect', 'none'),
  },
  'swarmctl.ingress.address': {
    kind: 'service',
    redeploys: false,
    perPort: true,
    what: 'addresses of nodes that published ports answer on, separated by commas (every address)',
    check: wrongAddresses,
  },
  'swarmctl.ingress.allow': {
    kind: 'service',
    redeploys: false,
    perPort: true,
    what: 'ranges whose clients reach published ports, separated by commas (everybody)',
    check: wrongRanges,
  },
  'swarmctl.ingress.client-address': {
    kind: 'service',
    redeploys: false,
    perPort: true,
    what: "how a client's address reaches the task: keep, masquerade, or in a PROXY header by proxy-v1 or proxy-v2 (keep)",
    check: among(...clientAddresses),
  },
  ...ofPorts,
  'swarmctl.pin': {
    kind: 'service',
    redeploys: false,
    what: 'whether a manager replaces the tag of the image by its digest: try, or strict to refuse what it cannot pin (clients do it, if anybody)',
    check: among('try', 'strict'),
  },
  ...ofContainers,
  'swarmctl.allow': {
    kind: 'cluster',
    redeploys: false,
    what: 'which labels swarmctl.container.* services may have, as NAME or NAME=VALUE, separated by commas (none)',
    check: wrongAllowances,
  },
  'swarmctl.publish-not-ready': {
    kind: 'service',
    redeploys: false,
    what: "whether the service's names lead to tasks that are not ready as well: true or false (false)",
    check: yesOrNo,
  },
  'swarmctl.stable-address': {
    kind: 'service',
    redeploys: false,
    what: "whether a slot's next task gets the address of the one before, unless both run at once as in start-first updates: true or false (false)",
    check: yesOrNo,
  },
  'swarmctl.builder': {
    kind: 'node',
    redeploys: false,
    what: 'whether the node is to build with BuildKit: true before all others, or false for never (workers first)',
    check: yesOrNo,
  },
  'swarmctl.version.of': {
    kind: ['secret', 'config'],
    redeploys: false,
    what: 'the name that this is a later version of; its own is that with .v2 or higher',
    check: (value) => (value === '' ? 'the name of a secret or a config' : undefined),
  },
} as const satisfies Record<string, LabelDefinition>;

export type ReservedLabel = keyof typeof labelRegistry;

export const drainTimeoutMsOf = (labels: Readonly<Record<string, string>>): number =>
  parseDurationMs(labels['swarmctl.drain-timeout'] ?? '10s') ?? 10_000;

export const runtimeOf = (labels: Readonly<Record<string, string>>): 'docker' | 'process' =>
  labels['swarmctl.runtime'] === 'process' ? 'process' : 'docker';

export const readyCheckOf = (labels: Readonly<Record<string, string>>): 'connect' | 'none' =>
  labels['swarmctl.ready-check'] === 'none' ? 'none' : 'connect';

export const publishesNotReady = (labels: Readonly<Record<string, string>>): boolean =>
  labels['swarmctl.publish-not-ready'] === 'true';

export const hasStableAddress = (labels: Readonly<Record<string, string>>): boolean =>
  labels['swarmctl.stable-address'] === 'true';

/** What labels say of one published port. */
export interface PublishedOptions {
  /** Canonical, each once; empty: every address. */
  readonly addresses: readonly string[];
  /** Canonical, none within another; empty: nobody; absent: everybody. */
  readonly allow?: readonly string[];
  /** Absent: `keep`. */
  readonly clientAddress?: ClientAddress;
  /** Absent: nothing is asked of the proxy. */
  readonly proxy?: ProxyOptions;
  /** Absent: connections are passed on, whatever they carry. */
  readonly http?: HttpOptions;
}

/** Of labels that were checked: a malformed item is left out. */
export function publishedOptionsOf(
  labels: Readonly<Record<string, string>>,
  port: Pick<PortConfig, 'Protocol' | 'PublishedPort'>,
): PublishedOptions {
  const value = (label: ReservedLabel) => labels[portLabel(label, port)] ?? labels[label];
  const allow = value('swarmctl.ingress.allow');
  const wish = value('swarmctl.ingress.client-address');
  const clientAddress = clientAddresses.find((one) => one === wish);
  const proxy = proxyOptionsOf(value);
  const http = httpOptionsOf(value);
  return {
    addresses: addressesOf(value('swarmctl.ingress.address') ?? ''),
    ...(allow !== undefined && { allow: rangesOf(allow) }),
    ...(clientAddress && { clientAddress }),
    ...(proxy && { proxy }),
    ...(http && { http }),
  };
}

/** The form of `label` for one published port. */
export const portLabel = (label: ReservedLabel, port: Pick<PortConfig, 'Protocol' | 'PublishedPort'>): string =>
  `${label}.${portName(port)}`;

/** `8080/tcp`. */
export const portName = (port: Pick<PortConfig, 'Protocol' | 'PublishedPort'>): string =>
  `${port.PublishedPort ?? 0}/${port.Protocol || 'tcp'}`;

export interface LabelName {
  readonly label: ReservedLabel;
  /** Of the form for one port. */
  readonly port?: { readonly Protocol: Protocol; readonly PublishedPort: number };
}

/** What a reserved label's key means; undefined when it means nothing. */
export function labelNamed(key: string): LabelName | undefined {
  if (Object.hasOwn(labelRegistry, key)) return { label: key as ReservedLabel };
  const label = perPortBase(key);
  const match = label && /^([1-9]\d{0,4})\/(tcp|udp|sctp)$/.exec(key.slice(label.length + 1));
  if (!match || Number(match[1]) > 65_535) return undefined;
  return { label, port: { PublishedPort: Number(match[1]), Protocol: match[2] as Protocol } };
}

const perPortBase = (key: string): ReservedLabel | undefined =>
  (Object.keys(labelRegistry) as ReservedLabel[]).find(
    (label) => (labelRegistry[label] as LabelDefinition).perPort && key.startsWith(`${label}.`),
  );

function unknownLabel(key: string): ClusterError {
  const base = perPortBase(key);
  const message = base
    ? `label '${key}': '${key.slice(base.length + 1)}' is not a published port such as 8080/tcp`
    : `unknown label '${key}': the prefix swarmctl. is reserved; did you mean '${nearest(key, Object.keys(labelRegistry))}'?`;
  return new ClusterError('invalid-argument', message, { label: key });
}

const addressesOf = (value: string): string[] => [
  ...new Set(
    listed(value)
      .flatMap((item) => parseIp(item) ?? [])
      .map(formatIp),
  ),
];

function wrongAddresses(value: string): string | undefined {
  const items = listed(value);
  const ips = items.map(parseIp);
  if (items.length === 0 || ips.includes(undefined)) {
    return 'a list of addresses such as 10.0.0.5 or 10.0.0.5,fd00::5';
  }
  return ips.some((ip) => ip?.value === 0n)
    ? 'a list of single addresses; without the label every one answers'
    : undefined;
}

/** Throws `invalid-argument` for the first reserved label that is unknown, malformed or on the wrong kind of object. */
export function checkReservedLabels(kind: LabelKind, labels: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(labels)) {
    if (!key.startsWith('swarmctl.')) continue;
    const name = labelNamed(key);
    if (!name) throw unknownLabel(key);
    const definition: LabelDefinition = labelRegistry[name.label];
    const kinds = [definition.kind].flat();
    if (!kinds.includes(kind)) {
      const right = kinds.map((one) => `a ${one}`).join(' or ');
      throw new ClusterError('invalid-argument', `label '${key}' belongs on ${right}, not on a ${kind}`, {
        label: key,
      });
    }
    const right = definition.check(value);
    if (right) throw new ClusterError('invalid-argument', `label '${key}': '${value}' is not ${right}`, { label: key });
  }
}

/** The candidate with the smallest edit distance. */
export function nearest(word: string, candidates: readonly string[]): string {
  let best = candidates[0] ?? '';
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const distance = editDistance(word, candidate);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, substitution));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
