// Figures of a benchmark: medians and spreads, printed with what they are compared with.

export const median = (values: readonly number[]): number => quantile(values, 0.5);

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  if (sorted.length === 0) return Number.NaN;
  const at = (sorted.length - 1) * q;
  const [low, high] = [sorted[Math.floor(at)] ?? 0, sorted[Math.ceil(at)] ?? 0];
  return low + (high - low) * (at - Math.floor(at));
}

export const spread = (values: readonly number[]): string =>
  `p50 ${Math.round(median(values))} ms, min ${Math.round(Math.min(...values))}, max ${Math.round(Math.max(...values))} (n=${values.length})`;

export const print = (text: string): void => void process.stdout.write(`${text}\n`);

/** Milliseconds that `action` takes. */
export async function timed(action: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await action();
  return performance.now() - started;
}
