import { print } from './stats.ts';

// What `npm run bench:ingress` asks for, and whether it was met.

export interface Outcome {
  readonly what: string;
  readonly found: number;
  readonly limit: number;
  readonly sign: '>=' | '<=';
}

export const atLeast = (what: string, found: number, limit: number): Outcome => ({ what, found, limit, sign: '>=' });
export const atMost = (what: string, found: number, limit: number): Outcome => ({ what, found, limit, sign: '<=' });

/** NaN, of no measurement, is not met. */
export const isMet = ({ found, limit, sign }: Outcome): boolean => (sign === '>=' ? found >= limit : found <= limit);

export function printOutcomes(outcomes: readonly Outcome[]): void {
  const number = (value: number) => (value >= 100 ? value.toFixed(0) : value.toFixed(2));
  for (const outcome of outcomes) {
    const { what, found, limit, sign } = outcome;
    print(`${isMet(outcome) ? 'met   ' : 'MISSED'} ${what}: ${number(found)} (${sign} ${limit})`);
  }
}
