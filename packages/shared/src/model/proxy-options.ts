import { parseDurationMs } from './durations.ts';
import type { Protocol } from './objects.ts';

// What only the userspace proxy does for a published port, and the labels that ask for it. A port with any of it is answered by the proxy on
// every node, also where the kernel answers the others.

export interface ProxyOptions {
  /** Absent: round-robin. */
  readonly balance?: 'least-connections';
  /** Open at a time on a node; what is beyond is refused at once. For UDP: clients heard of lately. */
  readonly mostConnections?: number;
  readonly mostPerClient?: number;
  /** A backend that does not take a connection within it is passed over. */
  readonly connectMs?: number;
  /** Connections without any data for so long are ended. */
  readonly idleMs?: number;
  readonly health?: ProxyHealth;
}

/** Backends are connected to now and then. */
export interface ProxyHealth {
  readonly everyMs: number;
  readonly timeoutMs: number;
  /** Failures in a row until a backend is passed over, successes in a row until it is back. */
  readonly fall: number;
  readonly rise: number;
}

interface ProxyLabel {
  readonly what: string;
  /** Undefined when the value is right, else what would be. */
  readonly check: (value: string) => string | undefined;
  readonly protocols: readonly Protocol[];
}

const whole = (most: number, what: string) => (value: string) =>
  /^[1-9]\d*$/.test(value) && Number(value) <= most ? undefined : `a number of ${what} from 1 to ${most}`;
const within = (least: string, most: string) => (value: string) => {
  const [ms = Number.NaN, from = 0, to = 0] = [value, least, most].map(parseDurationMs);
  return ms >= from && ms <= to ? undefined : `a duration from ${least} to ${most}`;
};
const balances = ['round-robin', 'least-connections'];
const mostConnections = 1_000_000;

export const proxyLabels = {
  'swarmctl.ingress.balance': {
    what: 'whose turn it is behind published ports: round-robin, or least-connections by the proxy (round-robin)',
    check: (value) => (balances.includes(value) ? undefined : `one of ${balances.join(', ')}`),
    protocols: ['tcp', 'udp'],
  },
  'swarmctl.ingress.max-connections': {
    what: 'how many clients of a published port each node lets in at a time; by the proxy (no limit)',
    check: whole(mostConnections, 'connections'),
    protocols: ['tcp', 'udp'],
  },
  'swarmctl.ingress.max-connections-per-client': {
    what: 'the same for each address that clients come from; by the proxy (no limit)',
    check: whole(mostConnections, 'connections'),
    protocols: ['tcp', 'udp'],
  },
  'swarmctl.ingress.connect-timeout': {
    what: 'how long a task may take to accept a connection until another is asked; by the proxy (3s)',
    check: within('10ms', '1m'),
    protocols: ['tcp'],
  },
  'swarmctl.ingress.idle-timeout': {
    what: 'how long nothing may come until a connection, or the trace of a UDP client, is ended; by the proxy (never; UDP 30s)',
    check: within('1s', '168h'),
    protocols: ['tcp', 'udp'],
  },
  'swarmctl.ingress.health-interval': {
    what: 'how often each node connects to the tasks behind a published port to see whether they are well; by the proxy (never)',
    check: within('100ms', '1h'),
    protocols: ['tcp'],
  },
  'swarmctl.ingress.health-timeout': {
    what: 'how long a task may take to accept such a connection (2s)',
    check: within('10ms', '1m'),
    protocols: ['tcp'],
  },
  'swarmctl.ingress.health-retries': {
    what: 'how many such connections in a row must fail until a task is passed over (3)',
    check: whole(100, 'failures'),
    protocols: ['tcp'],
  },
} as const satisfies Record<string, ProxyLabel>;

export type ProxyLabelName = keyof typeof proxyLabels;

const rise = 2;

/** Of labels that were checked; undefined: nothing that the kernel would not do as well. */
export function proxyOptionsOf(label: (name: ProxyLabelName) => string | undefined): ProxyOptions | undefined {
  const count = (name: ProxyLabelName) => (label(name) === undefined ? undefined : Number(label(name)));
  const ms = (name: ProxyLabelName) => parseDurationMs(label(name) ?? '');
  const everyMs = ms('swarmctl.ingress.health-interval');
  const wished = {
    balance: label('swarmctl.ingress.balance') === 'least-connections' ? ('least-connections' as const) : undefined,
    mostConnections: count('swarmctl.ingress.max-connections'),
    mostPerClient: count('swarmctl.ingress.max-connections-per-client'),
    connectMs: ms('swarmctl.ingress.connect-timeout'),
    idleMs: ms('swarmctl.ingress.idle-timeout'),
    health: everyMs && {
      everyMs,
      timeoutMs: ms('swarmctl.ingress.health-timeout') ?? 2_000,
      fall: count('swarmctl.ingress.health-retries') ?? 3,
      rise,
    },
  };
  const given = Object.entries(wished).filter(([, value]) => value !== undefined);
  return given.length === 0 ? undefined : (Object.fromEntries(given) as ProxyOptions);
}
