import { afterEach, describe, expect, it } from 'vitest';
import { RaftLog } from '../../../packages/raft-ts/src/core/log/raft-log.ts';
import type { HardState } from '../../../packages/raft-ts/src/core/types.ts';
import { ExtentFile } from '../../../packages/raft-ts/src/wal/extent.ts';
import { LogStore } from '../../../packages/raft-ts/src/wal/log-store.ts';
import { PeerLogs } from '../../../packages/raft-ts/src/wal/peer-logs.ts';
import { Breach } from '../raft/checks.ts';
import { ClusterLife } from './life.ts';
import { KeyValueMachine } from './machine.ts';
import type { Planted } from './world.ts';

// The checkers bite: faults planted from outside in the host, the core or the disk are found within a few seeds.

const steps = 300;

async function firstBreach(seeds: number, planted: Planted = {}): Promise<string | undefined> {
  for (let seed = 1; seed <= seeds; seed++) {
    try {
      await new ClusterLife({ seed, steps, planted }).run();
    } catch (error) {
      if (error instanceof Breach) return error.invariant;
    }
  }
  return undefined;
}

const undo: (() => void)[] = [];

afterEach(() => {
  for (const one of undo.splice(0)) one();
});

/** Puts another method in the place of one, until the test ends. */
function patch<T extends object, K extends keyof T>(prototype: T, name: K, make: (original: T[K]) => T[K]): void {
  const original = prototype[name];
  prototype[name] = make(original);
  undo.push(() => {
    prototype[name] = original;
  });
}

/** What the state is said to be when it is saved. */
function patchSaved(change: (hardState: HardState) => HardState): void {
  patch(
    LogStore.prototype,
    'save',
    (save) =>
      function (this: LogStore, entries, hardState) {
        return save.call(this, entries, hardState === undefined ? undefined : change(hardState));
      },
  );
}

describe('faults of whole members', () => {
  it('a disk that says it has synced, and has not', async () => {
    expect(await firstBreach(5, { sync: 'never' })).toBeDefined();
  });

  it('acknowledgements before the sync', async () => {
    expect(await firstBreach(5, { sync: 'early' })).toMatch(/durable/);
  });

  it('a vote that is not stored', async () => {
    patchSaved((hardState) => ({ ...hardState, vote: 0 }));
    expect(await firstBreach(5)).toMatch(/acknowledged is durable|vote/);
  });

  it('a term that is forgotten at a restart', async () => {
    patch(
      LogStore,
      'load',
      (load) =>
        async function (this: typeof LogStore, ...args) {
          const store = await load.apply(this, args);
          const { hardState, confState } = store.initialState();
          store.initialState = () => ({ confState, hardState: { ...hardState, term: hardState.term - 1, vote: 0 } });
          return store;
        },
    );
    expect(await firstBreach(5)).toMatch(/term/);
  });

  it('a read that no quorum confirmed', async () => {
    const planted: Planted = {
      node: (node) =>
        new Proxy(node, {
          get: (target, name) => {
            if (name === 'readIndex') return async () => target.status().applied;
            const value: unknown = Reflect.get(target, name);
            return typeof value === 'function' ? value.bind(target) : value;
          },
        }),
    };
    expect(await firstBreach(20, planted)).toBe('linearizable');
  });

  it('a snapshot that lacks its last entry', async () => {
    patch(
      KeyValueMachine.prototype,
      'snapshot',
      (snapshot) =>
        function (this: KeyValueMachine) {
          const { index, hash } = this;
          this.index = Math.max(0, index - 1);
          this.hash = `of before ${hash}`;
          const encode = snapshot.call(this);
          this.index = index;
          this.hash = hash;
          return encode;
        },
    );
    expect(await firstBreach(5)).toMatch(/snapshot equals replay|equal state/);
  });

  it('appends without the check of the entry before', async () => {
    patch(
      RaftLog.prototype,
      'maybeAppend',
      (maybeAppend) =>
        function (this: RaftLog, prev, entries, commit) {
          const beyond = prev.index > this.lastIndex() || prev.index < this.firstIndex();
          return maybeAppend.call(this, beyond ? prev : { ...prev, term: this.term(prev.index) ?? 0 }, entries, commit);
        },
    );
    expect(await firstBreach(20)).toBeDefined();
  });

  it('a start that does not ask how far its log must reach', async () => {
    patch(ExtentFile, 'open', (open) => async (...args) => {
      const file = await open.apply(ExtentFile, args);
      if (file === undefined) return undefined;
      const { first } = file.extent;
      return Object.defineProperty(file, 'extent', { value: { ...file.extent, last: first, sequence: 0 } });
    });
    expect(await firstBreach(60)).toMatch(/damage is refused|what is durable can be read/);
  });

  it('a member that is heard again after its disk was wiped', async () => {
    patch(
      PeerLogs.prototype,
      'identify',
      (identify) =>
        function (this: PeerLogs, peer, log) {
          return identify.call(this, peer, log) || true;
        },
    );
    expect(await firstBreach(40)).toBeDefined();
  });
});
