import { ClusterError } from '@swarmctl/shared/kit';
import { editDistance, parseDurationMs } from '@swarmctl/shared/model';

// Values as people write them on a command line, and as they read them in a table.

const wrong = (flag: string, value: string, right: string) =>
  new ClusterError('invalid-argument', `invalid argument ${JSON.stringify(value)} for "--${flag}": ${right}`);

/** `10s`, `1m30s`, `500ms` to nanoseconds. */
export function durationNs(flag: string, value: string): number {
  const ms = parseDurationMs(value);
  if (ms === undefined) throw wrong(flag, value, 'expected a duration such as 10s, 1m30s or 500ms');
  return Math.round(ms * 1e6);
}

const factors: Record<string, number> = { '': 1, b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 };

/** `512m`, `1.5G`, `1GiB` to bytes. */
export function bytes(flag: string, value: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?$/i.exec(value.trim());
  const factor = factors[match?.[2]?.toLowerCase() ?? ''];
  if (!match || factor === undefined) throw wrong(flag, value, 'expected a size such as 512m or 1g');
  return Math.round(Number(match[1]) * factor);
}

/** `0.5` CPUs to billionths. */
export function nanoCpus(flag: string, value: string): number {
  const cpus = Number(value);
  if (value.trim() === '' || !Number.isFinite(cpus) || cpus < 0)
    throw wrong(flag, value, 'expected a number of CPUs such as 0.5');
  return Math.round(cpus * 1e9);
}

export function uint(flag: string, value: string): number {
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(Number(value))) throw wrong(flag, value, 'expected a whole number');
  return Number(value);
}

export function oneOf<const T extends string>(flag: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === value);
  if (found === undefined) throw wrong(flag, value, `expected one of ${allowed.join(', ')}`);
  return found;
}

/** "3 minutes", as Docker's tables say it. */
export function ago(fromMs: number, nowMs: number): string {
  const seconds = Math.max(0, Math.floor((nowMs - fromMs) / 1000));
  const plural = (n: number, unit: string) => `${n} ${unit}${n === 1 ? '' : 's'}`;
  if (seconds < 1) return 'less than a second';
  if (seconds < 60) return plural(seconds, 'second');
  const minutes = Math.floor(seconds / 60);
  if (minutes === 1) return 'about a minute';
  if (minutes < 60) return plural(minutes, 'minute');
  const hours = Math.round(seconds / 3600);
  if (hours === 1) return 'about an hour';
  if (hours < 48) return plural(hours, 'hour');
  if (hours < 24 * 14) return plural(Math.floor(hours / 24), 'day');
  if (hours < 24 * 60) return plural(Math.floor(hours / 24 / 7), 'week');
  if (hours < 24 * 365 * 2) return plural(Math.floor(hours / 24 / 30), 'month');
  return plural(Math.floor(hours / 24 / 365), 'year');
}

/** "10s", "1m30s": nanoseconds as Go prints durations. */
export function showNs(ns: number): string {
  if (ns === 0) return '0s';
  if (ns < 1e9) return `${ns / 1e6}ms`;
  let rest = Math.round(ns / 1e6) / 1000;
  let text = '';
  for (const [unit, size] of [
    ['h', 3600],
    ['m', 60],
  ] as const) {
    const count = Math.floor(rest / size);
    if (count > 0 || text !== '') text += `${count}${unit}`;
    rest -= count * size;
  }
  return `${text}${Math.round(rest * 1000) / 1000}s`;
}

export function showBytes(value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let size = value;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${Math.round(size * 100) / 100}${units[unit]}`;
}

export const capital = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1);

/** The candidate nearest to `word`, when it is near enough to be what was meant. */
export function suggestion(word: string, candidates: readonly string[]): string | undefined {
  const ranked = candidates
    .map((candidate) => ({ candidate, distance: editDistance(word, candidate) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best && best.distance <= Math.max(2, Math.floor(word.length / 3)) ? best.candidate : undefined;
}
