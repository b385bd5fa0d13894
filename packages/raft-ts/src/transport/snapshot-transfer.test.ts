import { describe, expect, it } from 'vitest';
import { message } from '../core/message.ts';
import { streamPair, testSealer } from '../host/test-cluster.ts';
import { MemoryFileSystem } from '../wal/memory-file-system.ts';
import type { SnapshotHeader } from '../wal/snapshot-header.ts';
import { SnapshotStore } from '../wal/snapshot-store.ts';
import { receiveSnapshot, sendSnapshot } from './snapshot-transfer.ts';

const header: SnapshotHeader = {
  meta: {
    index: 9,
    term: 2,
    confState: { voters: [1, 2], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false },
  },
  addresses: new Map([[1, 'here']]),
  removed: [],
};
const snap = message({
  type: 'snap',
  to: 2,
  from: 1,
  term: 2,
  snapshot: { meta: header.meta, data: new Uint8Array(0) },
});

interface Over {
  readonly to?: number;
  /** By which logs sender and receiver know each other. */
  readonly knows?: (peer: number, logId: number) => boolean;
}

function setUp(chunks: () => AsyncGenerator<Uint8Array>, over: Over = {}) {
  const identify = over.knows ?? ((peer: number, logId: number) => logId === peer * 10);
  const fileSystem = new MemoryFileSystem();
  const store = new SnapshotStore({ fileSystem, dir: '/snap', sealer: testSealer });
  const [mine, theirs] = streamPair();
  for (const stream of [mine, theirs]) stream.on('error', () => {});
  const progress = () => {};
  const sending = sendSnapshot(mine, {
    self: 1,
    logId: 10,
    identify,
    known: () => new Map(),
    peer: 2,
    message: snap,
    header,
    chunks: chunks(),
    progress,
  });
  const delivered: unknown[] = [];
  const receiving = receiveSnapshot(theirs, {
    self: over.to ?? 2,
    logId: 20,
    identify,
    known: () => new Map(),
    peer: 1,
    begin: (got) => store.receive(got),
    deliver: async (m, snapshot) => {
      delivered.push(m);
      await snapshot.commit();
    },
    progress,
  }).finally(() => theirs.destroy());
  return { fileSystem, store, mine, theirs, delivered, outcomes: Promise.allSettled([sending, receiving]) };
}

describe('a snapshot on its way', () => {
  it('arrives whole, with its chunks as they were', async () => {
    const sent = [Buffer.alloc(1 << 20, 'a'), Buffer.alloc(0), Buffer.alloc(700 << 10, 'b'), Buffer.from('c')];
    const { store, delivered, outcomes } = setUp(async function* () {
      yield* sent;
    });
    expect(await outcomes).toMatchObject([{ status: 'fulfilled' }, { status: 'fulfilled' }]);
    expect(delivered).toMatchObject([{ type: 'snap', from: 1, term: 2 }]);
    const reader = await store.open({ index: 9, term: 2 });
    expect(reader.header).toEqual(header);
    const got: Uint8Array[] = [];
    for await (const chunk of reader.chunks()) got.push(chunk);
    expect(got.map((chunk) => Buffer.from(chunk).equals(sent[got.indexOf(chunk)]!))).toEqual([true, true, true, true]);
  });

  it('leaves nothing behind when the stream breaks, and both sides know', async () => {
    const parts = setUp(async function* () {
      yield Buffer.alloc(100);
      await new Promise((resolve) => setImmediate(resolve));
      parts.mine.destroy();
      yield Buffer.alloc(100);
    });
    expect(await parts.outcomes).toMatchObject([{ status: 'rejected' }, { status: 'rejected' }]);
    expect(parts.delivered).toEqual([]);
    expect(await parts.fileSystem.readdir('/snap')).toEqual([]);
  });

  it('fails for both when what is sent cannot be read', async () => {
    const parts = setUp(async function* () {
      yield Buffer.alloc(100);
      parts.mine.end();
      throw new Error('damaged');
    });
    expect(await parts.outcomes).toMatchObject([{ reason: { message: 'damaged' } }, { status: 'rejected' }]);
    expect(await parts.fileSystem.readdir('/snap')).toEqual([]);
  });

  it('is refused by one it is not meant for', async () => {
    const parts = setUp(
      async function* () {
        yield Buffer.alloc(10);
      },
      { to: 3 },
    );
    expect(await parts.outcomes).toMatchObject([{ status: 'rejected' }, { status: 'rejected' }]);
    expect(parts.delivered).toEqual([]);
  });

  it.each([
    ['sender', 1],
    ['receiver', 2],
  ])('does not pass when the %s has another log than it is known by', async (_, stranger) => {
    const parts = setUp(
      async function* () {
        yield Buffer.alloc(10);
      },
      { knows: (peer) => peer !== stranger },
    );
    const outcomes = await parts.outcomes;
    expect(outcomes[stranger === 1 ? 1 : 0]).toMatchObject({
      reason: { message: expect.stringContaining(`member ${stranger} has another log`) },
    });
  });

  it('goes no faster than it is stored', async () => {
    let made = 0;
    const parts = setUp(async function* () {
      for (; made < 200; made++) yield Buffer.alloc(100 << 10);
    });
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    parts.fileSystem.fault = () => {};
    const write = parts.store.receive.bind(parts.store);
    parts.store.receive = async (got) => {
      const incoming = await write(got);
      return {
        ...incoming,
        add: async (chunk) => {
          await held;
          await incoming.add(chunk);
        },
      };
    };
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(made).toBeLessThan(20);
    release();
    expect(await parts.outcomes).toMatchObject([{ status: 'fulfilled' }, { status: 'fulfilled' }]);
  });
});
