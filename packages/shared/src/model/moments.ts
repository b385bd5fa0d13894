import { parseDurationMs } from './durations.ts';

// Moments to the nanosecond, which a number of milliseconds cannot hold: lines of a log are often closer together.

/** Nanoseconds since the epoch. */
export type Moment = bigint;

/** Docker's form: Unix seconds with nine decimals. */
export type UnixTime = string;

export const momentForms = ['a Unix time', 'RFC 3339', 'a duration before now such as 10m'] as const;

/**
 * A Unix time with an optional fraction, RFC 3339 (also shortened to minutes or the day), or a Go duration before now; undefined for
 * anything else. `zone` is that of times which name none: a client's own, or UTC.
 */
export function parseMoment(text: string, nowMs: number, zone: 'local' | 'utc'): Moment | undefined {
  const unix = /^(-?)(\d{1,12})(?:\.(\d{1,30}))?$/.exec(text);
  if (unix) {
    const value = BigInt(unix[2] ?? 0) * second + fraction(unix[3]);
    return unix[1] ? -value : value;
  }
  const ago = parseDurationMs(text);
  if (ago !== undefined) return BigInt(Math.round(nowMs - ago)) * millisecond;
  return parseDate(text, zone);
}

/** Of a timestamp, e.g. of a line; undefined when it is none. */
export const momentOf = (timestamp: string): Moment | undefined => parseDate(timestamp, 'utc');

export function toUnixTime(moment: Moment): UnixTime {
  const size = moment < 0n ? -moment : moment;
  const digits = (size % second).toString().padStart(9, '0');
  return `${moment < 0n ? '-' : ''}${size / second}.${digits}`;
}

/** Rounded down. */
export const toMs = (moment: Moment): number => Math.floor(Number(moment) / 1e6);

const second = 1_000_000_000n;
const millisecond = 1_000_000n;

const fraction = (digits = ''): bigint => BigInt(digits.slice(0, 9).padEnd(9, '0'));

function parseDate(text: string, zone: 'local' | 'utc'): Moment | undefined {
  const match = /^(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d)(:\d\d)?(?:[.,](\d{1,9}))?)?(Z|[+-]\d\d:\d\d)?$/i.exec(text);
  if (!match) return undefined;
  const [, day, minute = '00:00', seconds = ':00', digits, offset = zone === 'utc' ? 'Z' : ''] = match;
  const ms = Date.parse(`${day}T${minute}${seconds}${offset.toUpperCase()}`);
  return Number.isNaN(ms) ? undefined : BigInt(ms) * millisecond + fraction(digits);
}
