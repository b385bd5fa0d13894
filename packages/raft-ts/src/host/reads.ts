import { RaftError } from './errors.ts';

// Linearizable reads: those of one turn share a request, which is repeated until it is answered, and then wait until
// what it names is applied here.

interface Read {
  readonly resolve: (index: number) => void;
  readonly reject: (error: Error) => void;
  readonly deadline: number;
}

interface Request {
  readonly context: Uint8Array;
  reads: Read[];
  /** In ticks; undefined: ask at the next occasion. */
  askedAt: number | undefined;
}

const keyOf = (context: Uint8Array): string => Buffer.from(context).toString('latin1');

export class Reads {
  /** Answers to requests of before a restart must not be taken for answers to these. */
  readonly #epoch: number;
  readonly #repeatTicks: number;
  #number = 0;
  #ticks = 0;
  #waiting: Read[] = [];
  readonly #requests = new Map<string, Request>();
  #confirmed: { index: number; reads: Read[] }[] = [];

  constructor(random: () => number, repeatTicks: number) {
    this.#epoch = Math.floor(random() * 2 ** 32);
    this.#repeatTicks = repeatTicks;
  }

  add(deadline: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject, deadline });
    });
  }

  /** Asks what is due; `ask` says whether there was someone to ask. */
  flush(ask: (context: Uint8Array) => boolean): void {
    if (this.#waiting.length > 0) {
      const context = this.#nextContext();
      this.#requests.set(keyOf(context), { context, reads: this.#waiting, askedAt: undefined });
      this.#waiting = [];
    }
    for (const request of this.#requests.values()) {
      if (request.askedAt !== undefined && this.#ticks - request.askedAt < this.#repeatTicks) continue;
      if (ask(request.context)) request.askedAt = this.#ticks;
    }
  }

  /** Reads that wait to be asked for need not be: the leader's lease holds, at this commit index. */
  answerWaiting(commit: number, applied: number): void {
    if (this.#waiting.length === 0) return;
    this.#confirmed.push({ index: commit, reads: this.#waiting });
    this.#waiting = [];
    this.applied(applied);
  }

  get waiting(): boolean {
    return this.#waiting.length > 0;
  }

  #nextContext(): Uint8Array {
    const context = Buffer.alloc(10);
    context.writeUInt32LE(this.#epoch, 0);
    context.writeUIntLE(this.#number++, 4, 6);
    return context;
  }

  /** Another leader: nobody will answer what the last one was asked. */
  askAgain(): void {
    for (const request of this.#requests.values()) request.askedAt = undefined;
  }

  confirm(context: Uint8Array, index: number, applied: number): void {
    const key = keyOf(context);
    const request = this.#requests.get(key);
    if (request === undefined) return;
    this.#requests.delete(key);
    this.#confirmed.push({ index, reads: request.reads });
    this.applied(applied);
  }

  applied(index: number): void {
    if (this.#confirmed.length === 0) return;
    for (const done of this.#confirmed.filter((waiting) => waiting.index <= index)) {
      for (const read of done.reads) read.resolve(done.index);
    }
    this.#confirmed = this.#confirmed.filter((waiting) => waiting.index > index);
  }

  /** True when something is to be asked again. */
  tick(now: number): boolean {
    this.#ticks++;
    const late = (read: Read): boolean => {
      if (read.deadline > now) return false;
      read.reject(new RaftError('no-quorum', 'no quorum confirmed the read in time'));
      return true;
    };
    this.#waiting = this.#waiting.filter((read) => !late(read));
    for (const [key, request] of this.#requests) {
      request.reads = request.reads.filter((read) => !late(read));
      if (request.reads.length === 0) this.#requests.delete(key);
    }
    for (const confirmed of this.#confirmed) confirmed.reads = confirmed.reads.filter((read) => !late(read));
    return this.#requests.size > 0;
  }

  rejectAll(error: Error): void {
    const requests = [...this.#requests.values(), ...this.#confirmed];
    for (const read of [...this.#waiting, ...requests.flatMap(({ reads }) => reads)]) read.reject(error);
    this.#waiting = [];
    this.#requests.clear();
    this.#confirmed = [];
  }
}
