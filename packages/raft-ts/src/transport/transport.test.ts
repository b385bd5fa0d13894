import type { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { message } from '../core/message.ts';
import type { Message } from '../core/types.ts';
import { streamPair } from '../host/test-cluster.ts';
import type { Channel } from '../host/types.ts';
import { encodeFrame, FrameDecoder, frameKind, removed } from './frames.ts';
import { encodeHello } from './hello.ts';
import { decodeMessage, encodeMessage } from './message-codec.ts';
import { Transport, type TransportEnv } from './transport.ts';

interface Seen {
  readonly messages: Message[];
  readonly unreachable: number[];
  removed: number;
  otherLog: number;
  readonly logged: string[];
}

/** `silent`: who is dialed does not say who it is. */
function setUp(over: Partial<TransportEnv> = {}, silent = false) {
  const seen: Seen = { messages: [], unreachable: [], removed: 0, otherLog: 0, logged: [] };
  const dialed: { channel: Channel; stream: Duplex }[] = [];
  const timers: { ms: number; callback: () => void; stopped: boolean }[] = [];
  let arrived = () => {};
  const transport = new Transport({
    self: 1,
    logId: 10,
    identify: (_, logId) => logId === 20,
    known: () => new Map(),
    dial: async (_, channel) => {
      const [mine, theirs] = streamPair();
      dialed.push({ channel, stream: theirs });
      if (!silent) theirs.write(hello(channel));
      return mine;
    },
    tickMs: 50,
    random: () => 0.5,
    after: (ms, callback) => {
      const timer = { ms, callback, stopped: false };
      timers.push(timer);
      return () => {
        timer.stopped = true;
      };
    },
    log: (_level, fields, text) => seen.logged.push(`${text}: ${fields['reason']}`),
    address: () => 'somewhere',
    isRemoved: () => false,
    receive: () => Promise.reject(new Error('no snapshots here')),
    events: {
      message: (m) => {
        seen.messages.push(m);
        arrived();
      },
      unreachable: (peer) => {
        seen.unreachable.push(peer);
        arrived();
      },
      removed: () => {
        seen.removed++;
        arrived();
      },
      otherLog: () => {
        seen.otherLog++;
        arrived();
      },
      snapshotSent: () => {},
      snapshotReceived: () => {},
    },
    ...over,
  });
  const event = () =>
    new Promise<void>((resolve) => {
      arrived = resolve;
    });
  return { transport, seen, dialed, timers, event };
}

const hello = (channel: Channel, from = 2, to = 1, logId = 20, others: readonly [number, number][] = []) =>
  encodeFrame(frameKind.hello, encodeHello({ self: from, logId, known: () => new Map(others) }, to, channel));
const heartbeat = message({ type: 'heartbeat', to: 1, from: 2, term: 1 });
const frameOf = (m: Message) => encodeFrame(frameKind.message, encodeMessage(m).take());
const closed = (stream: Duplex) => new Promise<void>((resolve) => stream.once('close', () => resolve()));

describe('a stream that a peer opened', () => {
  const intake = () => {
    const parts = setUp();
    const [mine, theirs] = streamPair();
    theirs.on('error', () => {}).resume();
    // As one is left whose first bytes were read by somebody else.
    mine.pause();
    parts.transport.accept(2, 'control', mine);
    return { ...parts, theirs };
  };

  it('brings messages, however they are cut', async () => {
    const { seen, theirs, event } = intake();
    const bytes = Buffer.concat([hello('control'), frameOf(heartbeat), frameOf(heartbeat)]);
    for (const byte of bytes.subarray(0, -1)) theirs.write(Buffer.from([byte]));
    const last = event();
    theirs.write(bytes.subarray(-1));
    while (seen.messages.length < 2) await last;
    expect(seen.messages.map(({ type }) => type)).toEqual(['heartbeat', 'heartbeat']);
  });

  it.each([
    ['garbage', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['a frame beyond the cap', Buffer.concat([hello('control'), Buffer.from([0xff, 0xff, 0xff, 0x7f, 2])])],
    ['a message before hello', frameOf(heartbeat)],
    ['hello for another member', hello('control', 2, 5)],
    ['hello of another member', hello('control', 3, 1)],
    ['hello for another channel', hello('append')],
    ['a message of someone else', Buffer.concat([hello('control'), frameOf({ ...heartbeat, from: 3 })])],
    [
      'a message that cannot be read',
      Buffer.concat([hello('control'), encodeFrame(frameKind.message, Buffer.alloc(3, 200))]),
    ],
    ['an unknown frame', Buffer.concat([hello('control'), Buffer.from([0, 0, 0, 0, 99])])],
  ])('is closed on %s', async (_, bytes) => {
    const { seen, theirs } = intake();
    const end = closed(theirs);
    theirs.write(bytes);
    await end;
    expect(seen.messages).toEqual([]);
    expect(seen.logged).toHaveLength(1);
  });

  it('carries the answers, so that no address is needed', async () => {
    const { transport, theirs, dialed, event } = intake();
    const arrived = event();
    theirs.write(Buffer.concat([hello('control'), frameOf(heartbeat)]));
    await arrived;
    const decoder = new FrameDecoder(1 << 20);
    const answer = new Promise<number>((resolve) => {
      theirs.on('data', (chunk: Buffer) => {
        for (const { kind } of decoder.push(chunk)) resolve(kind);
      });
    });
    transport.send(message({ type: 'heartbeat-resp', to: 2, from: 1 }));
    transport.flush();
    expect(await answer).toBe(frameKind.message);
    expect(dialed).toEqual([]);
  });

  it.each([
    ['', 1],
    [', also when it takes this member for another that had its address', 5],
  ])('is answered with the news when the peer was removed%s', async (_, called) => {
    const { transport, seen } = setUp({ isRemoved: () => true });
    const [mine, theirs] = streamPair();
    transport.accept(2, 'control', mine);
    const kinds: number[] = [];
    const decoder = new FrameDecoder(1 << 20);
    theirs.on('data', (chunk: Buffer) => {
      for (const { kind } of decoder.push(chunk)) kinds.push(kind);
    });
    theirs.write(Buffer.concat([hello('control', 2, called), frameOf(heartbeat)]));
    await closed(theirs);
    expect(kinds).toEqual([frameKind.removed]);
    expect(seen.messages).toEqual([]);
  });

  it('is told so, and not heard, when it has another log than it is known by', async () => {
    const { seen, theirs } = intake();
    const kinds: number[] = [];
    const decoder = new FrameDecoder(1 << 20);
    theirs.on('data', (chunk: Buffer) => {
      for (const { kind } of decoder.push(chunk)) kinds.push(kind);
    });
    theirs.write(Buffer.concat([hello('control', 2, 1, 21), frameOf(heartbeat)]));
    await closed(theirs);
    expect(kinds).toEqual([frameKind.hello, frameKind.otherLog]);
    expect(seen.messages).toEqual([]);
  });

  it('is heard once its log is noted', async () => {
    let noted = (_: boolean) => {};
    const parts = setUp({
      identify: () =>
        new Promise((resolve) => {
          noted = resolve;
        }),
    });
    const [mine, theirs] = streamPair();
    theirs.on('error', () => {}).resume();
    parts.transport.accept(2, 'control', mine);
    theirs.write(Buffer.concat([hello('control'), frameOf(heartbeat)]));
    await new Promise((resolve) => setImmediate(resolve));
    expect(parts.seen.messages).toEqual([]);
    const arrived = parts.event();
    noted(true);
    await arrived;
    expect(parts.seen.messages.map(({ term }) => term)).toEqual([1]);
  });

  it('says by which logs it knows others, which are noted before it is heard', async () => {
    const known = new Map([[4, 40]]);
    const noted: (() => void)[] = [];
    const asked: number[][] = [];
    const identify = (peer: number, logId: number) => {
      asked.push([peer, logId]);
      return peer === 2 || new Promise<boolean>((resolve) => noted.push(() => resolve(true)));
    };
    const { transport, seen, event } = setUp({ identify, known: () => known });
    const [mine, theirs] = streamPair();
    transport.accept(2, 'control', mine);
    const others: [number, number][] = [
      [1, 11],
      [3, 30],
      [4, 41],
    ];
    theirs.write(hello('control', 2, 1, 20, others));
    theirs.write(frameOf(heartbeat));
    await new Promise((resolve) => setImmediate(resolve));
    // Neither of itself, nor of whom it knows already.
    expect(asked).toEqual([
      [2, 20],
      [3, 30],
    ]);
    expect(seen.messages).toEqual([]);
    const heard = event();
    noted[0]?.();
    await heard;
    expect(seen.messages).toMatchObject([{ type: 'heartbeat' }]);
    await transport.close();
  });

  it('is closed after long silence', async () => {
    const { transport, theirs } = intake();
    theirs.write(hello('control'));
    const end = closed(theirs);
    for (let tick = 0; tick < 62; tick++) transport.tick();
    await end;
  });
});

const entry = { type: 'normal', term: 1, index: 1, data: new Uint8Array(1) } as const;

describe('sending', () => {
  const app = message({ type: 'app', to: 2, from: 1, term: 1, entries: [entry] });

  it('opens a stream per kind of message, and keeps what waits for it', async () => {
    const { transport, dialed } = setUp();
    transport.send(message({ type: 'heartbeat', to: 2, from: 1, term: 1 }));
    transport.send(app);
    transport.send(app);
    await new Promise((resolve) => setImmediate(resolve));
    expect(dialed.map(({ channel }) => channel)).toEqual(['control', 'append']);
    const decoder = new FrameDecoder(1 << 20);
    const kinds = [...decoder.push(dialed[1]!.stream.read() as Buffer)].map(({ kind }) => kind);
    expect(kinds).toEqual([frameKind.hello, frameKind.message, frameKind.message]);
  });

  it('reports a peer that cannot be reached, and tries again after a while', async () => {
    let attempts = 0;
    const dial = () => {
      attempts++;
      return Promise.reject(new Error('refused'));
    };
    const { transport, seen, event } = setUp({ dial });
    const first = event();
    transport.send(app);
    await first;
    expect(seen.unreachable).toEqual([2]);
    const second = event();
    transport.send(app);
    await second;
    expect([attempts, seen.unreachable.length]).toEqual([1, 2]);
    transport.tick();
    transport.send(app);
    expect(attempts).toBe(2);
  });

  it('does not hear a member that answers with another log, nor one that does not say which', async () => {
    const { transport, seen, dialed } = setUp({}, true);
    for (const first of [hello('append', 2, 1, 21), frameOf(heartbeat)]) {
      transport.send(app);
      await new Promise((resolve) => setImmediate(resolve));
      const { stream } = dialed.at(-1)!;
      const end = closed(stream.resume());
      stream.write(Buffer.concat([first, frameOf(heartbeat)]));
      await end;
      for (let tick = 0; tick < 10; tick++) transport.tick();
    }
    expect(seen.messages).toEqual([]);
  });

  it('says nothing but hello to one that has not said which log it has', async () => {
    const { transport, dialed } = setUp({}, true);
    transport.send(app);
    await new Promise((resolve) => setImmediate(resolve));
    transport.send(app);
    transport.flush();
    const { stream } = dialed[0]!;
    const decoder = new FrameDecoder(1 << 20);
    const kinds: number[] = [];
    stream.on('data', (chunk: Buffer) => {
      for (const { kind } of decoder.push(chunk)) kinds.push(kind);
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(kinds).toEqual([frameKind.hello]);
    stream.write(hello('append'));
    while (kinds.length < 3) await new Promise((resolve) => stream.once('data', resolve));
    expect(kinds).toEqual([frameKind.hello, frameKind.message, frameKind.message]);
  });

  it('notices at once that a stream was closed before it was handed over', async () => {
    let made = false;
    const { transport, seen, event } = setUp({
      dial: async () => {
        const [mine, theirs] = streamPair();
        const gone = closed(mine.on('error', () => {}));
        theirs.on('error', () => {}).destroy();
        await gone;
        made = true;
        return mine;
      },
    });
    const told = event();
    transport.send(app);
    await told;
    expect([made, seen.unreachable]).toEqual([true, [2]]);
  });

  it('hears in place of a hello that this member was removed', async () => {
    const { transport, seen, dialed, event } = setUp({}, true);
    transport.send(app);
    await new Promise((resolve) => setImmediate(resolve));
    const told = event();
    dialed[0]!.stream.write(removed);
    await told;
    expect(seen.removed).toBe(1);
  });

  it('hears that the others know this member by another log', async () => {
    const { transport, seen, dialed, event } = setUp({}, true);
    transport.send(app);
    await new Promise((resolve) => setImmediate(resolve));
    const told = event();
    dialed[0]!.stream.write(Buffer.concat([hello('append'), encodeFrame(frameKind.otherLog, Buffer.alloc(0))]));
    await told;
    expect(seen.otherLog).toBe(1);
  });

  it('drops what a peer does not take, instead of gathering it', async () => {
    const { transport, seen, dialed } = setUp();
    transport.send(app);
    await new Promise((resolve) => setImmediate(resolve));
    expect(dialed).toHaveLength(1);
    const entries = [{ type: 'normal', term: 1, index: 1, data: Buffer.alloc(8 << 20) } as const];
    for (let i = 0; i < 10; i++) {
      transport.send(message({ ...app, entries }));
      transport.flush();
    }
    await new Promise((resolve) => setImmediate(resolve));
    expect(seen.unreachable.length).toBeGreaterThan(4);
  });

  it('ends with the transport', async () => {
    const { transport, dialed } = setUp();
    transport.send(app);
    await new Promise((resolve) => setImmediate(resolve));
    const end = closed(dialed[0]!.stream.resume());
    await transport.close();
    await end;
    transport.send(app);
    expect(dialed).toHaveLength(1);
  });
});

describe('news that entries are committed', () => {
  const news = (commit: number) => message({ type: 'app', to: 2, from: 1, term: 1, commit });
  const entries = (commit: number) => message({ ...news(commit), entries: [entry] });
  /** Commit indexes of what has come on the stream of appends by the time that a ping has. */
  const intake = async () => {
    const parts = setUp();
    const [mine, theirs] = streamPair();
    parts.transport.accept(2, 'append', mine);
    const decoder = new FrameDecoder(1 << 20);
    const commits: number[] = [];
    let pinged = () => {};
    theirs.on('data', (chunk: Buffer) => {
      for (const { kind, body } of decoder.push(chunk)) {
        if (kind === frameKind.message) commits.push(decodeMessage(body).commit);
        if (kind === frameKind.ping) pinged();
      }
    });
    const settled = async () => {
      const ping = new Promise<void>((resolve) => {
        pinged = resolve;
      });
      for (let tick = 0; tick < 20; tick++) parts.transport.tick();
      await ping;
      return commits;
    };
    theirs.write(hello('append'));
    await new Promise((resolve) => setImmediate(resolve));
    await settled();
    return { ...parts, theirs, commits, settled };
  };

  it('wait, and the newest is told after two milliseconds', async () => {
    const { transport, timers, settled } = await intake();
    transport.send(news(5));
    transport.send(news(6));
    transport.flush();
    expect(await settled()).toEqual([]);
    expect(timers.map(({ ms }) => ms)).toEqual([2]);
    timers[0]?.callback();
    expect(await settled()).toEqual([6]);
    transport.send(news(7));
    expect(timers).toHaveLength(2);
  });

  it('are left out when entries bring them along', async () => {
    const { transport, timers, settled } = await intake();
    transport.send(news(5));
    transport.send(entries(6));
    transport.flush();
    expect(await settled()).toEqual([6]);
    transport.send(news(7));
    expect(timers.map(({ stopped }) => stopped)).toEqual([true, false]);
    timers[1]?.callback();
    expect(await settled()).toEqual([6, 7]);
  });

  it('of one member are not forgotten when another gets entries', async () => {
    const { transport, timers, settled } = await intake();
    transport.send(news(5));
    transport.send({ ...news(5), to: 3 });
    transport.send({ ...entries(6), to: 3 });
    transport.flush();
    expect(timers.map(({ stopped }) => stopped)).toEqual([false]);
    timers[0]?.callback();
    expect(await settled()).toEqual([5]);
  });

  it('come before what may build on them', async () => {
    const { transport, settled } = await intake();
    transport.send(news(5));
    transport.send(message({ type: 'read-index-resp', to: 2, from: 1, index: 5 }));
    transport.flush();
    expect(await settled()).toEqual([5]);
  });

  it('come before the end of a membership', async () => {
    const { transport, theirs, commits } = await intake();
    const end = closed(theirs);
    transport.send(news(5));
    transport.dismiss(2);
    await end;
    expect(commits).toEqual([5]);
  });
});
