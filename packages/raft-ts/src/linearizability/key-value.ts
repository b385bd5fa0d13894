import type { Model, Operation, Verdict } from './checker.ts';

// The model of a key-value store with reads, writes, deletions and compare-and-set. Keys do not touch one another.

export type KeyValueInput =
  | { readonly kind: 'get'; readonly key: string }
  | { readonly kind: 'put'; readonly key: string; readonly value: string }
  | { readonly kind: 'delete'; readonly key: string }
  /** `from` null: only when there is none. */
  | { readonly kind: 'cas'; readonly key: string; readonly from: string | null; readonly to: string };

/** Of a get: the value, null for none. Of a cas: whether it swapped. Of the others: nothing to say, true. */
export type KeyValueOutput = string | null | boolean;

export type KeyValueOperation = Operation<KeyValueInput, KeyValueOutput>;

/** The value of one key; null for none. */
export const keyValueModel: Model<string | null, KeyValueInput, KeyValueOutput> = {
  init: () => null,
  step: (state, input, output) => {
    switch (input.kind) {
      case 'get':
        return output === undefined || output === state ? state : undefined;
      case 'put':
        return input.value;
      case 'delete':
        return null;
      case 'cas': {
        const swaps = state === input.from;
        if (output !== undefined && output !== swaps) return undefined;
        return swaps ? input.to : state;
      }
      default:
        return input satisfies never;
    }
  },
  key: (state) => (state === null ? '' : `=${state}`),
  partition: (history) => {
    const byKey = new Map<string, KeyValueOperation[]>();
    for (const operation of history) {
      // A read that nobody saw the answer of says nothing.
      if (operation.input.kind === 'get' && operation.output === undefined) continue;
      const part = byKey.get(operation.input.key);
      if (part) part.push(operation);
      else byKey.set(operation.input.key, [operation]);
    }
    return [...byKey.values()];
  },
};

/** For people: the order that was right, and where it could not go on. */
export function explain(verdict: Verdict<KeyValueInput, KeyValueOutput>): string {
  if (verdict.result !== 'not-linearizable') return verdict.result;
  const { part, longest, stuck } = verdict;
  return [
    `not linearizable: key ${part[0]?.input.key}, ${part.length} operations`,
    `the longest right order has ${longest.length}; its end:`,
    ...longest.slice(-8).map((operation) => `  ${show(operation)}`),
    'none of these can follow:',
    ...stuck.slice(0, 12).map((operation) => `  ${show(operation)}`),
  ].join('\n');
}

function show({ client, call, end, input, output }: KeyValueOperation): string {
  const { kind, key, ...rest } = input;
  return `client ${client} ${kind} ${JSON.stringify(rest)} -> ${JSON.stringify(output)} [${call}, ${end ?? 'open'}]`;
}
