import { ClusterError } from '../kit/errors.ts';

// The reserved labels `swarmctl.*` on an object's own Spec.Labels: what Docker has no field for. One registry; an unknown or malformed
// one is refused with the nearest key.

export type LabelKind = 'service' | 'node' | 'cluster';

interface LabelDefinition {
  readonly kind: LabelKind;
  /** True when a change of it replaces the service's tasks. */
  readonly redeploys: boolean;
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
} as const satisfies Record<string, LabelDefinition>;

export type ReservedLabel = keyof typeof labelRegistry;

export const drainTimeoutMsOf = (labels: Readonly<Record<string, string>>): number =>
  parseDurationMs(labels['swarmctl.drain-timeout'] ?? '10s') ?? 10_000;

export const runtimeOf = (labels: Readonly<Record<string, string>>): 'docker' | 'process' =>
  labels['swarmctl.runtime'] === 'process' ? 'process' : 'docker';

export const readyCheckOf = (labels: Readonly<Record<string, string>>): 'connect' | 'none' =>
  labels['swarmctl.ready-check'] === 'none' ? 'none' : 'connect';

/** Throws `invalid-argument` for the first reserved label that is unknown, malformed or on the wrong kind of object. */
export function checkReservedLabels(kind: LabelKind, labels: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(labels)) {
    if (!key.startsWith('swarmctl.')) continue;
    const definition: LabelDefinition | undefined = Object.hasOwn(labelRegistry, key)
      ? labelRegistry[key as ReservedLabel]
      : undefined;
    if (!definition) {
      throw new ClusterError(
        'invalid-argument',
        `unknown label '${key}': the prefix swarmctl. is reserved; did you mean '${nearest(key, Object.keys(labelRegistry))}'?`,
        { label: key },
      );
    }
    if (definition.kind !== kind) {
      throw new ClusterError('invalid-argument', `label '${key}' belongs on a ${definition.kind}, not on a ${kind}`, {
        label: key,
      });
    }
    const right = definition.check(value);
    if (right) throw new ClusterError('invalid-argument', `label '${key}': '${value}' is not ${right}`, { label: key });
  }
}

/** Go-style durations (`1h30m`, `500ms`, `0`); undefined when malformed. */
export function parseDurationMs(text: string): number | undefined {
  if (text === '0') return 0;
  const units: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
  if (!/^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, number, , unit] of text.matchAll(/(\d+(\.\d+)?)(ns|us|µs|ms|s|m|h)/g))
    total += Number(number) * (units[unit ?? ''] ?? 0);
  return total;
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
