import { describe, expect, it } from 'vitest';
import type { Entry } from '../core/types.ts';
import { testSealer } from '../host/test-cluster.ts';
import { LogStore, type LogStoreEnv } from './log-store.ts';
import { MemoryFileSystem } from './memory-file-system.ts';
import type { SnapshotHeader } from './snapshot-header.ts';

const entry = (index: number, term = 1): Entry => ({ type: 'normal', term, index, data: Buffer.from(`${index}`) });
const run = (from: number, to: number, term = 1): Entry[] =>
  Array.from({ length: to - from + 1 }, (_, i) => entry(from + i, term));

const header = (index: number, term = 1): SnapshotHeader => ({
  meta: {
    index,
    term,
    confState: { voters: [1, 2], votersOutgoing: [], learners: [3], learnersNext: [], autoLeave: false },
  },
  addresses: new Map([
    [1, 'a'],
    [2, 'b'],
  ]),
  removed: [9],
});

async function* chunks(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text);
}

async function setUp(): Promise<{
  fileSystem: MemoryFileSystem;
  env: LogStoreEnv;
  store: LogStore;
  warnings: string[];
}> {
  const fileSystem = new MemoryFileSystem();
  const warnings: string[] = [];
  const warn = (_: object, text: string) => warnings.push(text);
  const env = { fileSystem, dir: '/member', sealer: testSealer, segmentBytes: 2048, warn };
  return {
    fileSystem,
    env,
    store: await LogStore.create(env, { member: 1, log: 10 }, [], { term: 0, vote: 0, commit: 0 }),
    warnings,
  };
}

/** One write for each ten, so that there are segments to cut. */
async function saveRun(store: LogStore, from: number, to: number): Promise<void> {
  for (let at = from; at <= to; at += 10) await store.save(run(at, Math.min(to, at + 9)));
}

async function snapshotAt(store: LogStore, index: number, keep = 5): Promise<void> {
  await store.snapshots.write(header(index), chunks('the ', 'state ', `${index}`));
  await store.recordSnapshot(header(index), keep);
}

async function contentOf(store: LogStore): Promise<string> {
  const reader = await store.snapshots.open(store.latest!.meta);
  let text = '';
  for await (const chunk of reader.chunks()) text += Buffer.from(chunk).toString();
  return text;
}

describe('a member’s folder', () => {
  it('has entries, hard state and configuration again', async () => {
    const { env, store } = await setUp();
    await store.save(run(1, 50), { term: 1, vote: 2, commit: 0 });
    await store.save([], { term: 1, vote: 2, commit: 40 });
    await snapshotAt(store, 30);
    expect(store.firstIndex()).toBe(26);
    await store.close();
    const again = await LogStore.load(env, 1);
    expect(again.initialState()).toEqual({
      hardState: { term: 1, vote: 2, commit: 40 },
      confState: header(30).meta.confState,
    });
    expect([again.firstIndex(), again.lastIndex(), again.term(25)]).toEqual([26, 50, 1]);
    expect(again.latest).toEqual(header(30));
    expect(await contentOf(again)).toBe('the state 30');
  });

  it('does not write for a commit index alone, and never forgets a vote', async () => {
    const { fileSystem, env, store } = await setUp();
    await store.save(run(1, 3), { term: 2, vote: 1, commit: 0 });
    let syncs = 0;
    fileSystem.fault = (operation) => {
      if (operation === 'datasync') syncs++;
    };
    await store.save([], { term: 2, vote: 1, commit: 3 });
    expect(syncs).toBe(0);
    await store.save([], { term: 3, vote: 2, commit: 3 });
    expect(syncs).toBe(1);
    fileSystem.crash('lose');
    const again = await LogStore.load(env, 1);
    expect(again.initialState().hardState).toEqual({ term: 3, vote: 2, commit: 3 });
  });

  it('writes much at once in parts, none of which a crash can leave inconsistent', async () => {
    for (let failAt = 0; ; failAt++) {
      const { fileSystem, env, store } = await setUp();
      await store.save(run(1, 2), { term: 1, vote: 0, commit: 2 });
      const long = run(3, 6, 2).map((one) => ({ ...one, data: new Uint8Array(300 << 10).fill(1) }));
      let operations = 0;
      fileSystem.fault = () => {
        if (operations++ >= failAt) throw new Error('power');
      };
      const done = await store.save(long, { term: 2, vote: 3, commit: 6 }).then(
        () => true,
        () => false,
      );
      fileSystem.fault = () => {};
      fileSystem.crash('keep');
      const again = await LogStore.load(env, 1);
      const { hardState } = again.initialState();
      expect(hardState.commit).toBeLessThanOrEqual(again.lastIndex());
      expect(hardState.term).toBeGreaterThanOrEqual(again.term(again.lastIndex()));
      if (!done) continue;
      expect([again.lastIndex(), hardState]).toEqual([6, { term: 2, vote: 3, commit: 6 }]);
      return;
    }
  });

  it('keeps two snapshots and the log from the older one on', async () => {
    const { fileSystem, store } = await setUp();
    await saveRun(store, 1, 300);
    for (const index of [100, 200, 300]) await snapshotAt(store, index);
    expect((await fileSystem.readdir('/member/snap')).length).toBe(2);
    expect(store.firstIndex()).toBe(296);
    expect(await fileSystem.readdir('/member/wal')).not.toContain('0000000000000001.wal');
  });

  it('falls back to an older snapshot when the newest is damaged, and refuses when the log does not reach back', async () => {
    const { fileSystem, env, store, warnings } = await setUp();
    await saveRun(store, 1, 300);
    await snapshotAt(store, 100);
    await snapshotAt(store, 200);
    await store.close();
    const newest = store.snapshots.path({ index: 200, term: 1 });
    fileSystem.edit(newest, (bytes) => {
      bytes[bytes.length - 20]! ^= 1;
      return bytes;
    });
    const again = await LogStore.load(env, 1);
    expect(again.latest?.meta.index).toBe(100);
    expect([again.firstIndex(), again.lastIndex()]).toEqual([101, 300]);
    expect(warnings).toContain('the newest snapshot is damaged: an older one is used');
    await again.close();
    await fileSystem.unlink(store.snapshots.path({ index: 100, term: 1 }));
    // The log still has everything from its first entry on.
    const fromStart = await LogStore.load(env, 1);
    expect([fromStart.latest, fromStart.firstIndex()]).toEqual([undefined, 1]);
    await fromStart.save([]);
    await fromStart.close();
  });

  it('refuses a damaged snapshot that nothing makes up for', async () => {
    const { fileSystem, env, store } = await setUp();
    await saveRun(store, 1, 300);
    for (const index of [100, 200, 300]) await snapshotAt(store, index);
    await store.close();
    for (const index of [200, 300]) {
      fileSystem.edit(store.snapshots.path({ index, term: 1 }), (bytes) => bytes.subarray(0, bytes.length - 30));
    }
    await expect(LogStore.load(env, 1)).rejects.toMatchObject({ code: 'corrupt' });
  });

  it('begins anew behind a snapshot that was received', async () => {
    const { env, store } = await setUp();
    await store.save(run(1, 20));
    const incoming = await store.snapshots.receive(header(500, 4));
    await incoming.add(Buffer.from('theirs'));
    await store.install(await incoming.finish(), { term: 4, vote: 0, commit: 500 });
    expect([store.firstIndex(), store.lastIndex(), store.term(500)]).toEqual([501, 500, 4]);
    await store.save(run(501, 503, 4));
    await store.close();
    const again = await LogStore.load(env, 1);
    expect([again.firstIndex(), again.lastIndex()]).toEqual([501, 503]);
    expect(again.initialState().hardState.commit).toBe(500);
    expect(await contentOf(again)).toBe('theirs');
  });

  it('installs one while another is taken, and has the installed one', async () => {
    for (let steps = 0; steps < 30; steps++) {
      const { env, store } = await setUp();
      await store.save(run(1, 50), { term: 1, vote: 1, commit: 50 });
      const incoming = await store.snapshots.receive(header(500, 4));
      await incoming.add(Buffer.from('theirs'));
      const received = await incoming.finish();
      const taken = snapshotAt(store, 40);
      for (let step = 0; step < steps; step++) await Promise.resolve();
      await store.install(received, { term: 4, vote: 0, commit: 500 });
      await taken;
      expect(await contentOf(store)).toBe('theirs');
      await store.close();
      const again = await LogStore.load(env, 1);
      expect(await contentOf(again)).toBe('theirs');
      expect(again.lastIndex()).toBe(500);
    }
  });

  it('survives a crash at any step of taking and of installing a snapshot', async () => {
    for (const kind of ['take', 'install'] as const) {
      for (let failAt = 0; ; failAt++) {
        const { fileSystem, env, store } = await setUp();
        await store.save(run(1, 50), { term: 1, vote: 1, commit: 50 });
        await snapshotAt(store, 20);
        let operations = 0;
        fileSystem.fault = () => {
          if (operations++ >= failAt) throw new Error('power');
        };
        const work = async (): Promise<void> => {
          if (kind === 'take') return snapshotAt(store, 40);
          const incoming = await store.snapshots.receive(header(500, 4));
          await incoming.add(Buffer.from('theirs'));
          await store.install(await incoming.finish(), { term: 4, vote: 0, commit: 500 });
        };
        const done = await work().then(
          () => true,
          () => false,
        );
        fileSystem.fault = () => {};
        fileSystem.crash(failAt % 2 === 0 ? 'lose' : 'keep');
        const again = await LogStore.load(env, 1);
        const { index } = again.latest!.meta;
        expect(kind === 'take' ? [20, 40] : [20, 500]).toContain(index);
        expect(again.lastIndex()).toBe(index === 500 ? 500 : 50);
        expect(await contentOf(again)).toBe(index === 500 ? 'theirs' : `the state ${index}`);
        await again.close();
        if (done) break;
      }
    }
  });

  it('is known by its member', async () => {
    const { env, store } = await setUp();
    await store.close();
    await expect(LogStore.load(env, 2)).rejects.toMatchObject({ code: 'foreign' });
    await expect(
      LogStore.create(env, { member: 1, log: 10 }, [], { term: 0, vote: 0, commit: 0 }),
    ).rejects.toMatchObject({
      code: 'log-exists',
    });
  });
});

describe('a snapshot file', () => {
  it('gives back chunks as they were, also very long and empty ones', async () => {
    const { store } = await setUp();
    const sent = [Buffer.alloc(3 << 20, 'x'), Buffer.alloc(0), Buffer.from('end')];
    await store.snapshots.write(
      header(7),
      (async function* () {
        yield* sent;
      })(),
    );
    const reader = await store.snapshots.open({ index: 7, term: 1 });
    const got: Uint8Array[] = [];
    for await (const chunk of reader.chunks()) got.push(chunk);
    expect(got.map((chunk) => chunk.length)).toEqual(sent.map((chunk) => chunk.length));
    expect(Buffer.concat(got).equals(Buffer.concat(sent))).toBe(true);
  });

  it('is refused when it is cut anywhere', async () => {
    const { fileSystem, store } = await setUp();
    await store.snapshots.write(header(7), chunks('a', 'b'));
    const path = store.snapshots.path({ index: 7, term: 1 });
    let whole: Buffer = Buffer.alloc(0);
    fileSystem.edit(path, (bytes) => {
      whole = Buffer.from(bytes);
      return bytes;
    });
    for (let length = 0; length < whole.length; length++) {
      fileSystem.edit(path, () => whole.subarray(0, length));
      await expect(store.snapshots.verify({ index: 7, term: 1 })).rejects.toMatchObject({ code: 'corrupt' });
    }
  });

  it('leaves nothing when its content fails', async () => {
    const { fileSystem, store } = await setUp();
    const failing = (async function* () {
      yield Buffer.from('x');
      throw new Error('no more');
    })();
    await expect(store.snapshots.write(header(7), failing)).rejects.toThrow('no more');
    expect(await fileSystem.readdir('/member/snap')).toEqual([]);
  });
});
