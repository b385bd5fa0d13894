// Simulated time: everything that happens is an event of this queue, and after each moment the microtasks run dry.

/** One life of a process: what it began ends with it, and waits while it is paused. */
export class Life {
  readonly member: number;
  dead = false;
  paused = false;
  held: (() => void)[] = [];

  constructor(member: number) {
    this.member = member;
  }
}

interface Event {
  readonly at: number;
  readonly order: number;
  readonly life: Life | undefined;
  readonly label: string;
  readonly run: () => void;
}

const before = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** Everything that is due without waiting has run: ticks of the process and microtasks come before the next turn. */
const idle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class Scheduler {
  now = 0;
  events = 0;
  readonly #heap: Event[] = [];
  #soon: { readonly life: Life; readonly run: () => void }[] = [];
  #order = 0;
  #high = 0x811c9dc5;
  #low = 0x01234567;

  /** Of everything that happened so far, in order. */
  get hash(): string {
    return [this.#high, this.#low].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
  }

  note(text: string): void {
    for (let i = 0; i < text.length; i++) {
      this.#high = Math.imul(this.#high ^ text.charCodeAt(i), 0x01000193);
      this.#low = Math.imul(this.#low ^ this.#high, 0x85ebca6b) + i;
    }
  }

  after(ms: number, life: Life | undefined, label: string, run: () => void): void {
    this.#push({ at: this.now + Math.max(0, Math.round(ms)), order: this.#order++, life, label, run });
  }

  /** Still in this moment. */
  soon(life: Life, run: () => void): void {
    this.#soon.push({ life, run });
  }

  resume(life: Life): void {
    life.paused = false;
    for (const run of life.held.splice(0)) this.after(0, life, 'resumed', run);
  }

  /** All moments up to `until`; `check` is told after each whose members did something. */
  async run(until: number, check: (touched: ReadonlySet<number>) => Promise<void>): Promise<void> {
    await this.#settle(new Set(), check);
    for (let next = this.#heap[0]; next !== undefined && next.at <= until; next = this.#heap[0]) {
      this.now = next.at;
      const touched = new Set<number>();
      while (this.#heap[0]?.at === this.now) this.#happen(this.#pop(), touched);
      await this.#settle(touched, check);
    }
    this.now = until;
  }

  async #settle(touched: Set<number>, check: (touched: ReadonlySet<number>) => Promise<void>): Promise<void> {
    await idle();
    while (this.#soon.length > 0) {
      for (const { life, run } of this.#soon.splice(0)) this.#enter(life, run, touched);
      await idle();
    }
    if (touched.size > 0) await check(touched);
  }

  #happen({ life, label, run }: Event, touched: Set<number>): void {
    this.events++;
    this.note(`${this.now} ${life?.member ?? 0} ${label}\n`);
    if (life === undefined) run();
    else this.#enter(life, run, touched);
  }

  #enter(life: Life, run: () => void, touched: Set<number>): void {
    if (life.dead) return;
    if (life.paused) {
      life.held.push(run);
      return;
    }
    touched.add(life.member);
    run();
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let i = heap.push(event) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!before(event, heap[parent]!)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = event;
  }

  #pop(): Event {
    const heap = this.#heap;
    const top = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
    return top;
  }
}
