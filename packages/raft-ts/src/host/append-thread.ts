import { isEmptyHardState } from '../core/message.ts';
import type { HardState, Message } from '../core/types.ts';
import type { LogStore } from '../wal/log-store.ts';
import type { UnnamedSnapshot } from '../wal/snapshot-store.ts';

// Works off the core's messages to its append thread, in order: saves are pipelined into the log's group commit, a
// received snapshot goes alone.

export interface AppendThreadEnv {
  readonly store: LogStore;
  readonly claim: (index: number) => UnnamedSnapshot | undefined;
  /** Brings the state machine to an installed snapshot. */
  readonly restore: (received: UnnamedSnapshot) => Promise<void>;
  /** What the message asked for is durable. */
  readonly done: (message: Message) => void;
  readonly failed: (error: unknown) => void;
}

interface Work {
  readonly message: Message;
  readonly received: UnnamedSnapshot | undefined;
}

export class AppendThread {
  readonly #env: AppendThreadEnv;
  #queue: Work[] = [];
  #installing: Promise<void> | undefined;
  #stopped = false;

  constructor(env: AppendThreadEnv) {
    this.#env = env;
  }

  /** A snapshot is being installed until this resolves; it never rejects. */
  get installing(): Promise<void> | undefined {
    return this.#installing;
  }

  push(message: Message): void {
    const { snapshot } = message;
    this.#queue.push({ message, received: snapshot && this.#env.claim(snapshot.meta.index) });
    this.#pump();
  }

  stop(): void {
    this.#stopped = true;
    this.#queue = [];
  }

  #pump(): void {
    while (this.#installing === undefined && !this.#stopped) {
      const work = this.#queue.shift();
      if (work === undefined) return;
      if (work.message.snapshot === undefined) this.#save(work.message);
      else this.#installing = this.#install(work);
    }
  }

  #save(message: Message): void {
    this.#env.store.save(message.entries, hardStateOf(message)).then(
      () => this.#done(message),
      (error: unknown) => this.#failed(error),
    );
  }

  async #install({ message, received }: Work): Promise<void> {
    const { store, restore } = this.#env;
    try {
      if (received === undefined) throw new Error('the core took a snapshot whose content is not here');
      // Saves that were begun before come first.
      await store.save([]);
      await store.install(received, hardStateOf(message) ?? store.initialState().hardState);
      await restore(received);
      await store.save(message.entries);
      this.#installing = undefined;
      this.#done(message);
      this.#pump();
    } catch (error) {
      this.#failed(error);
    }
  }

  #done(message: Message): void {
    if (!this.#stopped) this.#env.done(message);
  }

  #failed(error: unknown): void {
    if (this.#stopped) return;
    this.stop();
    this.#env.failed(error);
  }
}

function hardStateOf({ term, vote, commit }: Message): HardState | undefined {
  const hardState = { term, vote, commit };
  return isEmptyHardState(hardState) ? undefined : hardState;
}
