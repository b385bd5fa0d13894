import { describe, expect, it } from 'vitest';
import type { Sealer } from '../host/types.ts';
import type { LogItem } from './log-items.ts';
import { MemoryFileSystem } from './memory-file-system.ts';
import { segmentPath } from './segments.ts';
import { Wal, type WalEnv } from './wal.ts';

const sealer: Sealer = {
  keyId: 'test',
  seal: (plain) => Uint8Array.from([7, ...plain.map((byte) => byte ^ 0x5a)]),
  open: (sealed) => {
    if (sealed[0] !== 7) throw new Error('unknown key');
    return sealed.subarray(1).map((byte) => byte ^ 0x5a);
  },
};

const dir = '/member/wal';
const segmentBytes = 4096;

function setUp(random?: () => number): { fileSystem: MemoryFileSystem; env: WalEnv } {
  const fileSystem = new MemoryFileSystem(random);
  return { fileSystem, env: { fileSystem, dir, sealer, segmentBytes } };
}

const entry = (index: number, text = `entry ${index}`, term = 1): LogItem => ({
  kind: 'entry',
  entry: { type: 'normal', term, index, data: new TextEncoder().encode(text) },
});

async function entriesOf(env: WalEnv): Promise<string[]> {
  const { wal, state } = await Wal.load(env);
  await wal.close();
  return state.entries.map(({ data }) => new TextDecoder().decode(data));
}

describe('the log', () => {
  it('comes back with what was written, and goes on', async () => {
    const { env } = setUp();
    const wal = await Wal.create(env, { member: 7, log: 70 });
    await Promise.all([wal.write([entry(1)]), wal.write([entry(2), entry(3)])]);
    await wal.write([{ kind: 'hard-state', hardState: { term: 3, vote: 2, commit: 1 } }]);
    await wal.close();
    const loaded = await Wal.load(env);
    expect(loaded.state).toMatchObject({ member: 7, hardState: { term: 3, vote: 2, commit: 1 } });
    await loaded.wal.write([entry(4)]);
    await loaded.wal.close();
    expect(await entriesOf(env)).toEqual(['entry 1', 'entry 2', 'entry 3', 'entry 4']);
  });

  it('replaces entries from a conflicting one on', async () => {
    const { env } = setUp();
    const wal = await Wal.create(env, { member: 7, log: 70 });
    await wal.write([entry(1), entry(2), entry(3)]);
    await wal.write([entry(2, 'other', 2)]);
    await wal.close();
    expect(await entriesOf(env)).toEqual(['entry 1', 'other']);
  });

  it('puts what is appended together into one write and one sync', async () => {
    const { fileSystem, env } = setUp();
    const wal = await Wal.create(env, { member: 7, log: 70 });
    const operations: string[] = [];
    fileSystem.fault = (operation) => operations.push(operation);
    await Promise.all(Array.from({ length: 50 }, (_, i) => wal.write([entry(i + 1, 'x')])));
    expect(operations).toEqual(['write', 'datasync']);
    await wal.close();
  });

  it('keeps its content from those who read the disk', async () => {
    const { fileSystem, env } = setUp();
    const wal = await Wal.create(env, { member: 7, log: 70 }, [entry(1, 'secret')]);
    await wal.write([entry(2, 'another secret')]);
    await wal.close();
    fileSystem.edit(segmentPath(dir, 1), (bytes) => {
      expect(bytes.includes('secret')).toBe(false);
      return bytes;
    });
  });

  it('cuts segments, repeats the state in each, and removes those behind a snapshot', async () => {
    const { fileSystem, env } = setUp();
    const wal = await Wal.create(env, { member: 7, log: 70 });
    await wal.write([{ kind: 'hard-state', hardState: { term: 5, vote: 1, commit: 0 } }]);
    for (let i = 1; i <= 40; i++) await wal.write([entry(i, 'x'.repeat(400))]);
    const before = (await fileSystem.readdir(dir)).filter((name) => name.endsWith('.wal')).length;
    expect(before).toBeGreaterThan(4);
    const [snapshot, cut] = [
      { index: 35, term: 1 },
      { index: 30, term: 1 },
    ];
    await wal.write([{ kind: 'compacted', snapshot, before: cut }]);
    await wal.release(30);
    await wal.close();
    expect((await fileSystem.readdir(dir)).filter((name) => name.endsWith('.wal')).length).toBeLessThan(before - 2);
    const { wal: again, state } = await Wal.load(env);
    await again.close();
    expect(state).toMatchObject({ hardState: { term: 5 }, snapshot, before: cut });
    expect(state.entries[0]!.index).toBeLessThanOrEqual(31);
    expect(state.entries.at(-1)!.index).toBe(40);
  });

  it('takes a record that is longer than a segment', async () => {
    const { env } = setUp();
    const wal = await Wal.create(env, { member: 7, log: 70 });
    const long = 'y'.repeat(3 * segmentBytes);
    await wal.write([entry(1, 'x'), entry(2, long)]);
    await wal.write([entry(3, 'z')]);
    await wal.close();
    expect(await entriesOf(env)).toEqual(['x', long, 'z']);
  });

  it('is there wholly or not at all when the power goes while it is made', async () => {
    for (let failAt = 0; ; failAt++) {
      const { fileSystem, env } = setUp();
      let operations = 0;
      fileSystem.fault = () => {
        if (operations++ === failAt) throw new Error('power');
      };
      const made = await Wal.create(env, { member: 7, log: 70 }, [entry(1)]).then(
        () => true,
        () => false,
      );
      fileSystem.fault = () => {};
      fileSystem.crash('lose');
      const found = await entriesOf(env).catch((error: { code: string }) => error.code);
      if (made) {
        expect(found).toEqual(['entry 1']);
        return;
      }
      // Nobody was told of it, and it may be there wholly.
      if (found !== 'no-log') expect(found).toEqual(['entry 1']);
    }
  });
});

describe('after a crash', () => {
  /** A log of three records that was closed or killed, and where the last one lies. */
  async function threeRecords(end: 'closed' | 'killed' = 'closed') {
    const { fileSystem, env } = setUp();
    const wal = await Wal.create(env, { member: 7, log: 70 });
    const ends: number[] = [];
    for (const i of [1, 2, 3]) {
      await wal.write([entry(i, `${i}`.repeat(40))]);
      fileSystem.edit(segmentPath(dir, 1), (bytes) => {
        ends.push(bytes.findLastIndex((byte) => byte !== 0) + 1);
        return bytes;
      });
    }
    if (end === 'closed') await wal.close();
    else fileSystem.kill();
    return { fileSystem, env, path: segmentPath(dir, 1), from: ends[1]!, to: ends[2]!, middle: ends[0]! };
  }

  it('cuts off a last record that is torn at any byte', async () => {
    const { fileSystem: before, env: given, path, from, to } = await threeRecords('killed');
    for (let at = from; at < to; at++) {
      const fileSystem = before.copy();
      const env = { ...given, fileSystem };
      fileSystem.edit(path, (bytes) => bytes.fill(0, at));
      const { wal, state } = await Wal.load(env);
      expect(state.entries).toHaveLength(2);
      // The log goes on in the torn one's place.
      await wal.write([entry(3, 'again')]);
      await wal.close();
      expect((await entriesOf(env)).at(-1)).toBe('again');
    }
  });

  it('refuses a file that was cut, wherever, and says where it ends', async () => {
    const { fileSystem, env, path } = await threeRecords();
    let whole: Buffer = Buffer.alloc(0);
    fileSystem.edit(path, (bytes) => {
      whole = Buffer.from(bytes);
      return bytes;
    });
    for (let length = 0; length < whole.length; length += length < 700 ? 1 : 101) {
      fileSystem.edit(path, () => Buffer.from(whole.subarray(0, length)));
      await expect(Wal.load(env)).rejects.toMatchObject({ code: 'corrupt', data: { file: path } });
    }
  });

  it('comes back when entries were replaced from one on whose segment is gone', async () => {
    const { env } = setUp();
    const wal = await Wal.create(env, { member: 7, log: 70 });
    for (let i = 1; i <= 12; i++) await wal.write([entry(i, `${i} `.padEnd(400, 'x'))]);
    // The last of these lie in the second segment; another leader replaces them from one on that lies in the first.
    for (let i = 5; i <= 20; i++) await wal.write([entry(i, `${i} of another term`.padEnd(300, 'x'), 2)]);
    const id = { index: 10, term: 2 };
    await wal.write([{ kind: 'compacted', snapshot: id, before: id }]);
    await wal.release(10);
    await wal.close();
    const { wal: again, state } = await Wal.load(env);
    await again.close();
    expect(state.entries.at(-1)).toMatchObject({ index: 20, term: 2 });
    expect(state.entries.find(({ index }) => index === 11)).toMatchObject({ term: 2 });
  });

  it('uses a released segment again, and nothing of what was in it', async () => {
    const { fileSystem, env } = setUp();
    const wal = await Wal.create(env, { member: 7, log: 70 });
    let most = 0;
    for (let i = 1; i <= 400; i++) {
      await wal.write([entry(i, `${i} `.padEnd(400, 'x'))]);
      if (i % 20 !== 0) continue;
      const id = { index: i, term: 1 };
      await wal.write([{ kind: 'compacted', snapshot: id, before: id }]);
      await wal.release(i);
      most = Math.max(most, (await fileSystem.readdir(dir)).length);
    }
    await wal.close();
    // What is open, the next one, a spare, and what the last twenty entries take.
    expect(most).toBeLessThanOrEqual(6);
    const { wal: again, state } = await Wal.load(env);
    await again.close();
    expect(state).toMatchObject({ snapshot: { index: 400 } });
    expect(state.entries.every(({ index }) => index > 360)).toBe(true);
  });

  it('refuses a flipped bit anywhere, also in the last record', async () => {
    const { fileSystem, env, path, to } = await threeRecords();
    for (let at = 0; at < to; at++) {
      let isPadding = false;
      fileSystem.edit(path, (bytes) => {
        isPadding = bytes[at] === 0;
        bytes[at]! ^= 0x10;
        return bytes;
      });
      const outcome = await entriesOf(env).catch((error: { code: string; data: object }) => error);
      // Padding, which nothing is read from, may be anything.
      if (!(isPadding && Array.isArray(outcome))) {
        expect(outcome).toMatchObject({ code: 'corrupt', data: { file: path } });
      }
      fileSystem.edit(path, (bytes) => {
        bytes[at]! ^= 0x10;
        return bytes;
      });
    }
  });

  it('refuses a hole in the middle', async () => {
    const { fileSystem, env, path, from, middle } = await threeRecords();
    fileSystem.edit(path, (bytes) => bytes.fill(0, middle, from));
    await expect(Wal.load(env)).rejects.toMatchObject({ code: 'corrupt', data: { file: path, offset: middle } });
  });

  it('refuses a missing segment, and one of another log', async () => {
    const { fileSystem, env } = setUp();
    const wal = await Wal.create(env, { member: 7, log: 70 });
    for (let i = 1; i <= 30; i++) await wal.write([entry(i, 'x'.repeat(400))]);
    await wal.close();
    let second: Buffer = Buffer.alloc(0);
    fileSystem.edit(segmentPath(dir, 2), (bytes) => {
      second = bytes;
      return bytes;
    });
    await fileSystem.unlink(segmentPath(dir, 2));
    await expect(Wal.load(env)).rejects.toMatchObject({ code: 'corrupt' });
    await fileSystem.open(segmentPath(dir, 2), 'create');
    await expect(Wal.load(env)).rejects.toMatchObject({ code: 'corrupt' });
    fileSystem.edit(segmentPath(dir, 2), () => second);
    expect(await entriesOf(env)).toHaveLength(30);
  });

  it('refuses what the sealer cannot open', async () => {
    const { env } = await threeRecords();
    const other: Sealer = {
      ...sealer,
      open: () => {
        throw new Error('unknown key');
      },
    };
    await expect(Wal.load({ ...env, sealer: other })).rejects.toMatchObject({ code: 'corrupt' });
  });

  it('has all that was acknowledged, however unsynced writes are torn', async () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = generator(seed);
      const { fileSystem, env } = setUp(random);
      let wal = await Wal.create(env, { member: 7, log: 70 });
      let acknowledged = 0;
      for (let life = 0; life < 4; life++) {
        // The power goes before some operation; what was not acknowledged until then may be there or not.
        let left = Math.floor(random() * 60);
        fileSystem.fault = () => {
          if (left-- <= 0) throw new Error('power');
        };
        try {
          for (let i = acknowledged + 1; ; i++) {
            await wal.write([entry(i, 'z'.repeat(Math.floor(random() * 2000)))]);
            acknowledged = i;
          }
        } catch {
          fileSystem.fault = () => {};
          fileSystem.crash((['lose', 'keep', 'tear'] as const)[Math.floor(random() * 3)]!);
        }
        const loaded = await Wal.load(env);
        wal = loaded.wal;
        const last = loaded.state.entries.at(-1);
        expect(last?.index ?? 0, `seed ${seed}`).toBeGreaterThanOrEqual(acknowledged);
        acknowledged = last?.index ?? 0;
      }
    }
  });
});

describe('a failing disk', () => {
  it('is the end: what waits and what comes is rejected, and nothing is tried again', async () => {
    const { fileSystem, env } = setUp();
    const wal = await Wal.create(env, { member: 7, log: 70 });
    await wal.write([entry(1)]);
    fileSystem.fault = (operation) => {
      if (operation === 'datasync') throw Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO' });
    };
    const waiting = [wal.write([entry(2)]), wal.write([entry(3)])];
    for (const write of waiting) await expect(write).rejects.toMatchObject({ code: 'io' });
    fileSystem.fault = () => {};
    await expect(wal.write([entry(4)])).rejects.toMatchObject({ code: 'io' });
    expect(wal.failure?.message).toContain('EIO');
    await wal.close();
  });
});

function generator(seed: number): () => number {
  return () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
}
