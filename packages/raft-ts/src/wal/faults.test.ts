import { describe, expect, it } from 'vitest';
import type { Entry } from '../core/types.ts';
import { testSealer } from '../host/test-cluster.ts';
import { extentPath } from './extent.ts';
import { readAll } from './file-system.ts';
import { holdsLog, LogStore, type LogStoreEnv } from './log-store.ts';
import { type CrashMode, MemoryFileSystem } from './memory-file-system.ts';
import type { SnapshotHeader } from './snapshot-header.ts';
import { snapshotDir } from './snapshot-store.ts';
import { walDir } from './wal.ts';
import type { WalError } from './wal-error.ts';

// Tables of faults over a member's whole folder: every byte damaged, every file lost, every operation failing, the power gone after
// each. A start must find all that was acknowledged or refuse with a file and an offset.

const dir = '/member';
const segmentBytes = 1024;
const tableMs = 120_000;

const envOf = (fileSystem: MemoryFileSystem): LogStoreEnv => ({ fileSystem, dir, sealer: testSealer, segmentBytes });

const entry = (index: number, term: number, bytes = 60): Entry => ({
  type: 'normal',
  term,
  index,
  data: Buffer.from(`${index} of ${term} `.padEnd(bytes, 'x')),
});

const header = (index: number, term: number): SnapshotHeader => ({
  meta: {
    index,
    term,
    confState: { voters: [1, 2, 3], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false },
  },
  addresses: new Map([[1, 'a']]),
  removed: [],
});

/** What a member was told is durable. */
interface Told {
  made: boolean;
  term: number;
  vote: number;
  /** Of the newest entry; entries of a term that is newer replace. */
  last: { index: number; term: number };
  snapshot: number;
}

const nothingTold = (): Told => ({ made: false, term: 0, vote: 0, last: { index: 0, term: 0 }, snapshot: 0 });

/**
 * The life of a log with everything that it does: appends, votes, replaced entries, a record longer than a segment, snapshots taken and installed,
 * segments removed and used again. `told` grows with it, so that it holds also what was told before a failure.
 */
async function live(fileSystem: MemoryFileSystem, told: Told): Promise<LogStore> {
  const store = await LogStore.create(envOf(fileSystem), { member: 1, log: 10 }, [], { term: 0, vote: 0, commit: 0 });
  told.made = true;
  await store.peers.identify(2, 20);
  const save = async (entries: readonly Entry[], term: number, vote: number, commit: number): Promise<void> => {
    await store.save(entries, { term, vote, commit });
    Object.assign(told, { term, vote });
    const last = entries.at(-1);
    if (last !== undefined) told.last = { index: last.index, term: last.term };
  };
  const snapshot = async (index: number, term: number): Promise<void> => {
    await store.snapshots.write(header(index, term), content(index));
    await store.recordSnapshot(header(index, term), 3);
    told.snapshot = index;
  };
  await save([], 1, 2, 0);
  for (let i = 1; i <= 12; i++) await save([entry(i, 1)], 1, 2, i - 1);
  await snapshot(8, 1);
  await save([entry(12, 2), entry(13, 2)], 2, 3, 11);
  await save([entry(14, 2, 3 * segmentBytes)], 2, 3, 13);
  await store.settle();
  for (let i = 15; i <= 30; i++) await save([entry(i, 2)], 2, 3, i - 1);
  await snapshot(20, 2);
  await snapshot(28, 2);
  const incoming = await store.snapshots.receive(header(60, 3));
  for await (const chunk of content(60)) await incoming.add(chunk);
  await store.install(await incoming.finish(), { term: 3, vote: 0, commit: 60 });
  Object.assign(told, { term: 3, vote: 0, snapshot: 60, last: { index: 60, term: 3 } });
  for (let i = 61; i <= 66; i++) await save([entry(i, 3)], 3, 1, i - 1);
  return store;
}

async function* content(index: number): AsyncGenerator<Uint8Array> {
  yield Buffer.from(`the state at ${index}`);
}

/** Starts and goes on; throws unless everything told is there. */
async function startAndCheck(fileSystem: MemoryFileSystem, told: Told): Promise<void> {
  const store = await LogStore.load(envOf(fileSystem), 1);
  const { term, vote } = store.initialState().hardState;
  expect(term).toBeGreaterThanOrEqual(told.term);
  if (term === told.term && told.vote !== 0) expect(vote).toBe(told.vote);
  expect(store.latest?.meta.index ?? 0).toBeGreaterThanOrEqual(told.snapshot);
  const newest = { index: store.lastIndex(), term: store.term(store.lastIndex()) };
  expect(newest.term > told.last.term || newest.index >= told.last.index).toBe(true);
  if (store.latest !== undefined) await store.snapshots.verify(store.latest.meta);
  const next = store.lastIndex() + 1;
  await store.save([entry(next, newest.term)]);
  await store.close();
  const again = await LogStore.load(envOf(fileSystem), 1);
  expect(again.lastIndex()).toBe(next);
  await again.close();
}

/** Undefined: it started with everything. */
async function refusal(fileSystem: MemoryFileSystem, told: Told): Promise<WalError | undefined> {
  return startAndCheck(fileSystem, told).then(
    () => undefined,
    (error: unknown) => {
      if ((error as WalError).code === undefined) throw error;
      return error as WalError;
    },
  );
}

const isNamed = (error: WalError): boolean =>
  error.code === 'corrupt' && typeof error.data['file'] === 'string' && typeof error.data['offset'] === 'number';

describe('damage to a log that was closed', () => {
  async function closed() {
    const fileSystem = new MemoryFileSystem();
    const told = nothingTold();
    await (await live(fileSystem, told)).close();
    const names = (await fileSystem.readdir(walDir(dir))).filter((name) => name.endsWith('.wal')).sort();
    const segments = names.map((name) => `${walDir(dir)}/${name}`);
    const snapshots = (await fileSystem.readdir(snapshotDir(dir))).map((name) => `${snapshotDir(dir)}/${name}`);
    expect([segments.length > 1, snapshots.length]).toEqual([true, 1]);
    const others = [extentPath(walDir(dir)), `${dir}/peers`];
    return { fileSystem, told, segments, paths: [...segments, ...snapshots, ...others] };
  }

  const damages: Readonly<Record<string, (bytes: Buffer, at: number) => Buffer>> = {
    'a flipped bit': (bytes, at) => {
      bytes[at]! ^= 1 << (at % 8);
      return bytes;
    },
    'a byte of garbage': (bytes, at) => {
      bytes[at] = (bytes[at]! + 1 + ((at * 131) % 255)) & 0xff;
      return bytes;
    },
    'sixteen bytes of garbage': (bytes, at) => {
      for (let i = at; i < Math.min(bytes.length, at + 16); i++) bytes[i] = (i * 89 + 13) & 0xff;
      return bytes;
    },
    'the file cut': (bytes, at) => Buffer.from(bytes.subarray(0, at)),
    'zeros to the end of the file': (bytes, at) => bytes.fill(0, at),
    'a sector of zeros': (bytes, at) => bytes.fill(0, at - (at % 512), Math.min(bytes.length, at - (at % 512) + 512)),
  };

  for (const [kind, damage] of Object.entries(damages)) {
    it(`${kind}, at every byte: all is there, or the file is named`, { timeout: tableMs }, async () => {
      const { fileSystem, told, paths } = await closed();
      let refused = 0;
      for (const path of paths) {
        let length = 0;
        fileSystem.edit(path, (bytes) => {
          length = bytes.length;
          return bytes;
        });
        for (let at = 0; at < length; at++) {
          const damaged = fileSystem.copy();
          damaged.edit(path, (bytes) => damage(bytes, at));
          const error = await refusal(damaged, told);
          if (error === undefined) continue;
          refused++;
          expect(error, `${path} at ${at}: ${error.message}`).toSatisfy(isNamed);
          expect(error.data['file']).toBe(path);
        }
      }
      expect(refused).toBeGreaterThan(100);
    });
  }

  it('a file that is gone is named, be it the first, one between, the newest, the snapshot, the extent or the peers', async () => {
    const { fileSystem, told, paths } = await closed();
    for (const path of paths) {
      const damaged = fileSystem.copy();
      await damaged.unlink(path);
      const error = await refusal(damaged, told);
      expect(error).toMatchObject({ code: 'corrupt', data: { file: path, offset: 0 } });
    }
  });

  it('all newest files gone, down to any: never a start with an older log', async () => {
    const { fileSystem, told, segments } = await closed();
    for (let kept = 0; kept < segments.length; kept++) {
      const damaged = fileSystem.copy();
      for (const path of segments.slice(kept)) await damaged.unlink(path);
      const error = await refusal(damaged, told);
      expect(error).toMatchObject({ code: 'corrupt', data: { file: segments[kept], offset: 0 } });
    }
  });

  it('an older log beside newer snapshots is refused, and takes none of them away', async () => {
    const fileSystem = new MemoryFileSystem();
    const store = await LogStore.create(envOf(fileSystem), { member: 1, log: 10 }, [], { term: 0, vote: 0, commit: 0 });
    await store.save([entry(1, 1), entry(2, 1)], { term: 1, vote: 1, commit: 2 });
    await store.close();
    const old = fileSystem.copy();
    const again = await LogStore.load(envOf(fileSystem), 1);
    await again.save([entry(3, 1)], { term: 1, vote: 1, commit: 3 });
    await again.snapshots.write(header(3, 1), content(3));
    await again.recordSnapshot(header(3, 1), 3);
    await again.close();
    const path = again.snapshots.path({ index: 3, term: 1 });
    const snapshot = await readAll(fileSystem, path);
    await (await old.open(path, 'create')).write(snapshot, 0);
    await expect(LogStore.load(envOf(old), 1)).rejects.toMatchObject({
      code: 'corrupt',
      data: { file: path, offset: 0 },
    });
    expect(await readAll(old, path)).toEqual(snapshot);
  });

  it('a member whose log and extent are gone is neither begun anew nor unknown', async () => {
    for (const left of ['snapshots', 'peers']) {
      const { fileSystem, told, paths } = await closed();
      const stays = (path: string): boolean => (left === 'peers' ? path.endsWith('peers') : path.endsWith('.snap'));
      for (const path of paths) if (!stays(path)) await fileSystem.unlink(path);
      expect(await holdsLog(fileSystem, dir)).toBe(true);
      const made = LogStore.create(envOf(fileSystem), { member: 1, log: 10 }, [], { term: 0, vote: 0, commit: 0 });
      await expect(made).rejects.toMatchObject({ code: 'log-exists' });
      expect(await refusal(fileSystem, told)).toMatchObject({
        code: 'corrupt',
        data: { file: extentPath(walDir(dir)) },
      });
    }
  });

  it('a log that is gone is not begun anew', async () => {
    const { fileSystem, segments } = await closed();
    for (const path of segments) await fileSystem.unlink(path);
    const made = LogStore.create(envOf(fileSystem), { member: 1, log: 10 }, [], { term: 0, vote: 0, commit: 0 });
    await expect(made).rejects.toMatchObject({ code: 'log-exists' });
  });
});

describe('a disk that fails', () => {
  const powers: readonly CrashMode[] = ['lose', 'keep', 'tear', 'tear', 'tear'];

  /** Runs a life whose operation number `failAt` fails; false when there are not so many. */
  async function failing(failAt: number, code: string, lasting: boolean, then: CrashMode | 'kill'): Promise<boolean> {
    const fileSystem = new MemoryFileSystem(generator(failAt));
    const told = nothingTold();
    let operations = 0;
    let hit = false;
    fileSystem.fault = (operation, path) => {
      const number = operations++;
      if (number !== failAt && !(lasting && number > failAt)) return;
      hit = true;
      throw Object.assign(new Error(`${code}: ${operation} ${path}`), { code });
    };
    const store = await live(fileSystem, told).catch(() => undefined);
    fileSystem.fault = () => {};
    // A member whose disk failed ends: nothing is closed in good order.
    fileSystem.kill();
    if (then !== 'kill') fileSystem.crash(then);
    const where = `${code} at operation ${failAt}, ${lasting ? 'and ever after, ' : ''}then ${then}`;
    if (told.made) {
      expect(await refusal(fileSystem, told), where).toBeUndefined();
      // What only the page cache had must have been written again.
      fileSystem.crash('lose');
      expect(await refusal(fileSystem, told), where).toBeUndefined();
    }
    expect(store === undefined || !hit || told.snapshot === 60, where).toBe(true);
    return hit;
  }

  for (const code of ['EIO', 'ENOSPC']) {
    it(`${code} at any operation, once or lasting: nothing acknowledged is lost`, { timeout: tableMs }, async () => {
      for (let failAt = 0; ; failAt++) {
        const mode = (['kill', 'lose', 'keep', 'tear'] as const)[failAt % 4]!;
        const once = await failing(failAt, code, false, mode);
        const lasting = await failing(failAt, code, true, mode);
        if (!once && !lasting) break;
        expect(failAt).toBeLessThan(2000);
      }
    });
  }

  it('the power goes after any operation, and unsynced sectors and names are lost, kept or mixed', {
    timeout: tableMs,
  }, async () => {
    for (const [i, mode] of powers.entries()) {
      for (let failAt = 0; ; failAt++) {
        const random = generator(failAt * 7 + i);
        const fileSystem = new MemoryFileSystem(random);
        const told = nothingTold();
        let operations = 0;
        fileSystem.fault = () => {
          if (operations++ >= failAt) throw new Error('power');
        };
        const done = await live(fileSystem, told).then(
          () => true,
          () => false,
        );
        fileSystem.fault = () => {};
        fileSystem.crash(mode);
        if (told.made) expect(await refusal(fileSystem, told), `${mode} after ${failAt}`).toBeUndefined();
        if (done) break;
      }
    }
  });

  it('a sync that failed does not let a later start count what only the page cache has', async () => {
    const fileSystem = new MemoryFileSystem();
    const store = await LogStore.create(envOf(fileSystem), { member: 1, log: 10 }, [], { term: 0, vote: 0, commit: 0 });
    fileSystem.fault = (operation) => {
      if (operation === 'datasync') throw new Error('EIO');
    };
    await expect(store.save([entry(1, 1)])).rejects.toMatchObject({ code: 'io' });
    fileSystem.fault = () => {};
    fileSystem.kill();
    const seen = await LogStore.load(envOf(fileSystem), 1);
    expect(seen.lastIndex()).toBe(1);
    fileSystem.crash('lose');
    const again = await LogStore.load(envOf(fileSystem), 1);
    expect(again.lastIndex()).toBe(1);
  });

  it('a removal of segments that fails is the end, like a write', async () => {
    const fileSystem = new MemoryFileSystem();
    const store = await live(fileSystem, nothingTold());
    for (let i = 67; i < 90; i++) await store.save([entry(i, 3)]);
    for (const index of [80, 85]) await store.snapshots.write(header(index, 3), content(index));
    await store.recordSnapshot(header(80, 3), 0);
    fileSystem.fault = (operation, path) => {
      if (['rename', 'unlink'].includes(operation) && path.endsWith('.wal')) throw new Error('EIO: i/o error');
    };
    await expect(store.recordSnapshot(header(85, 3), 0)).rejects.toMatchObject({ code: 'io' });
    fileSystem.fault = () => {};
    await expect(store.save([entry(90, 3)])).rejects.toMatchObject({ code: 'io' });
  });
});

describe('the disk it takes', () => {
  it('is bounded, however much is written', async () => {
    const fileSystem = new MemoryFileSystem();
    const store = await LogStore.create(envOf(fileSystem), { member: 1, log: 10 }, [], { term: 0, vote: 0, commit: 0 });
    let most = 0;
    let written = 0;
    for (let i = 1; written < 400 * segmentBytes; i++) {
      // Now and then one that is longer than a segment.
      const one = entry(i, 1, i % 50 === 0 ? 3 * segmentBytes : 200);
      await store.save([one], { term: 1, vote: 1, commit: i });
      written += one.data.length;
      if (i % 20 === 0) {
        await store.snapshots.write(header(i, 1), content(i));
        await store.recordSnapshot(header(i, 1), 5);
      }
      most = Math.max(most, fileSystem.size);
    }
    await store.close();
    // Two runs between snapshots, each of twenty entries of which one may be long; the open, the prepared and the spare segment.
    expect(most).toBeLessThan(30 * segmentBytes);
  });
});

function generator(seed: number): () => number {
  return () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
}
