// Is a history of concurrent operations linearizable? The search of Wing and Gong (1993) with Lowe's memo of configurations that were seen before
// (2017), on parts of the history that do not touch one another (Horn and Kroening's P-compositionality, 2015).

export interface Operation<I, O> {
  readonly client: number | string;
  /** When it was called, on the clock of whoever recorded the history. */
  readonly call: number;
  /** When it returned; undefined when nobody knows: it may take effect at any time after its call, or never. */
  readonly end: number | undefined;
  readonly input: I;
  /** Undefined when nobody knows. */
  readonly output: O | undefined;
}

export interface Model<S, I, O> {
  init(): S;
  /** The state after the operation; undefined when it cannot have given that output here. An undefined output is any. */
  step(state: S, input: I, output: O | undefined): S | undefined;
  /** Equal texts for equal states. */
  key(state: S): string;
  /** Parts that may be checked one by one; the whole when absent. */
  partition?(history: readonly Operation<I, O>[]): readonly (readonly Operation<I, O>[])[];
}

export type Verdict<I, O> =
  | { readonly result: 'linearizable' }
  /** The steps were not enough. */
  | { readonly result: 'unknown' }
  | {
      readonly result: 'not-linearizable';
      /** The smallest part of which no order is right. */
      readonly part: readonly Operation<I, O>[];
      /** The longest order of operations that is, and the operations that it could not go on with. */
      readonly longest: readonly Operation<I, O>[];
      readonly stuck: readonly Operation<I, O>[];
    };

const defaultSteps = 20_000_000;

/** Checks each part; `steps` bounds the work on each. */
export function checkLinearizable<S, I, O>(
  history: readonly Operation<I, O>[],
  model: Model<S, I, O>,
  steps = defaultSteps,
): Verdict<I, O> {
  const parts = [...(model.partition?.(history) ?? [history])].sort((a, b) => a.length - b.length);
  let unknown = false;
  for (const part of parts) {
    const verdict = checkPart(part, model, steps);
    if (verdict.result === 'not-linearizable') return verdict;
    unknown ||= verdict.result === 'unknown';
  }
  return { result: unknown ? 'unknown' : 'linearizable' };
}

/** The events of a part in the order of time, as a list from which operations are lifted out and put back. */
class Events {
  /** Two an operation: 2i is the call of operation i, 2i + 1 its end. */
  readonly next: Int32Array;
  readonly previous: Int32Array;
  readonly head: number;

  constructor(part: readonly Operation<unknown, unknown>[]) {
    const at = (event: number): number => {
      const operation = part[event >> 1]!;
      return event % 2 === 0 ? operation.call : (operation.end ?? Number.POSITIVE_INFINITY);
    };
    // What ends as another begins is taken to overlap it.
    const order = Array.from({ length: part.length * 2 }, (_, event) => event).sort(
      (a, b) => compare(at(a), at(b)) || (a % 2) - (b % 2) || a - b,
    );
    this.head = order.length;
    this.next = new Int32Array(order.length + 1);
    this.previous = new Int32Array(order.length + 1);
    let last = this.head;
    for (const event of [...order, this.head]) {
      this.next[last] = event;
      this.previous[event] = last;
      last = event;
    }
  }

  lift(operation: number): void {
    for (const event of [2 * operation, 2 * operation + 1]) {
      this.next[this.previous[event]!] = this.next[event]!;
      this.previous[this.next[event]!] = this.previous[event]!;
    }
  }

  putBack(operation: number): void {
    for (const event of [2 * operation + 1, 2 * operation]) {
      this.next[this.previous[event]!] = event;
      this.previous[this.next[event]!] = event;
    }
  }
}

const compare = (a: number, b: number): number => (a < b ? -1 : a > b ? 1 : 0);

function checkPart<S, I, O>(part: readonly Operation<I, O>[], model: Model<S, I, O>, steps: number): Verdict<I, O> {
  const events = new Events(part);
  const done = new Done(part.length);
  const seen = new Set<string>();
  const order: { readonly operation: number; readonly before: S }[] = [];
  let state = model.init();
  let longest: number[] = [];
  let at = events.next[events.head]!;
  let left = steps;
  // Operations without an end may never have happened: all others in order is enough.
  let mustEnd = part.filter(({ end }) => end !== undefined).length;
  while (mustEnd > 0) {
    if (left-- === 0) return { result: 'unknown' };
    const operation = at >> 1;
    const isCall = at !== events.head && at % 2 === 0;
    const after = isCall ? model.step(state, part[operation]!.input, part[operation]!.output) : undefined;
    if (after !== undefined && done.add(operation, seen, model.key(after))) {
      order.push({ operation, before: state });
      state = after;
      events.lift(operation);
      if (part[operation]!.end !== undefined) mustEnd--;
      if (order.length > longest.length) longest = order.map((one) => one.operation);
      at = events.next[events.head]!;
    } else if (isCall) {
      at = events.next[at]!;
    } else {
      // The end of an operation that has no place yet: the last choice was wrong.
      const last = order.pop();
      if (last === undefined) return failure(part, longest);
      state = last.before;
      done.remove(last.operation);
      if (part[last.operation]!.end !== undefined) mustEnd++;
      events.putBack(last.operation);
      at = events.next[2 * last.operation]!;
    }
  }
  return { result: 'linearizable' };
}

/** Which operations have their place, as bits. */
class Done {
  readonly #words: Uint16Array;

  constructor(count: number) {
    this.#words = new Uint16Array((count >> 4) + 1);
  }

  /** False when this set was seen with that state before. */
  add(operation: number, seen: Set<string>, state: string): boolean {
    this.#flip(operation);
    const key = `${String.fromCharCode(...this.#words)}${state}`;
    if (!seen.has(key)) {
      seen.add(key);
      return true;
    }
    this.#flip(operation);
    return false;
  }

  remove(operation: number): void {
    this.#flip(operation);
  }

  #flip(operation: number): void {
    this.#words[operation >> 4]! ^= 1 << (operation & 15);
  }
}

function failure<I, O>(part: readonly Operation<I, O>[], longest: readonly number[]): Verdict<I, O> {
  const placed = new Set(longest);
  const rest = part.filter((_, i) => !placed.has(i));
  const firstEnd = Math.min(...rest.map(({ end }) => end ?? Number.POSITIVE_INFINITY));
  return {
    result: 'not-linearizable',
    part,
    longest: longest.map((i) => part[i]!),
    stuck: rest.filter(({ call }) => call <= firstEnd),
  };
}
