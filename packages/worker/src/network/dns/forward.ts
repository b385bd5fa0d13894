import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import type { Clock, Random } from '@swarmctl/shared/kit';
import { below } from '@swarmctl/shared/kit';
import { isAnswerTo, isTruncated, type Question } from './codec.ts';
import { Frames, framed } from './tcp-frames.ts';

// Questions that are not ours, passed on to the machine's own resolvers: by UDP from a port of its own with an id of its own, by TCP when the
// answer is too long for that; one resolver after the other, and all of it within a bound.

export interface Upstream {
  readonly addr: string;
  readonly port: number;
}

export interface ForwardModules {
  readonly clock: Clock;
  readonly random: Random;
}

/** A client has given up, or asks again, soon after. */
const totalMs = 2_000;
/** As the C library does. */
const mostUpstreams = 3;

/** The answer with the client's id; undefined when there is none in time. */
export async function forward(
  packet: Buffer,
  question: Question,
  upstreams: readonly Upstream[],
  { clock, random }: ForwardModules,
): Promise<Buffer | undefined> {
  const query = Buffer.from(packet);
  query.writeUInt16BE(below(random, 65_536), 0);
  const end = clock.monotonic() + totalMs;
  const asked = upstreams.slice(0, mostUpstreams);
  for (const [i, upstream] of asked.entries()) {
    const left = end - clock.monotonic();
    if (left <= 0) break;
    // A share of what is left, so that the last one has its turn.
    const limit = left / (asked.length - i);
    let answer = await askUdp(query, question, upstream, limit, clock);
    if (answer && isTruncated(answer)) {
      const whole = await askTcp(query, question, upstream, Math.max(0, end - clock.monotonic()), clock);
      answer = whole ?? answer;
    }
    if (!answer) continue;
    const result = Buffer.from(answer);
    result.writeUInt16BE(packet.readUInt16BE(0), 0);
    return result;
  }
  return undefined;
}

function askUdp(query: Buffer, question: Question, { addr, port }: Upstream, ms: number, clock: Clock) {
  return new Promise<Buffer | undefined>((resolve) => {
    const socket = createSocket(isIPv6(addr) ? 'udp6' : 'udp4');
    let isDone = false;
    const done = once((answer?: Buffer) => {
      isDone = true;
      timer.cancel();
      socket.close();
      resolve(answer);
    });
    const timer = clock.after(ms, done);
    socket.on('error', () => done());
    socket.on('message', (answer) => {
      if (isAnswerTo(answer, query, question)) done(answer);
    });
    // Connected: nobody else's datagram comes in, and a refusal is heard. Without a callback of connect's, which would get the error instead.
    socket.on('connect', () => !isDone && socket.send(query));
    socket.connect(port, addr);
  });
}

function askTcp(query: Buffer, question: Question, { addr, port }: Upstream, ms: number, clock: Clock) {
  return new Promise<Buffer | undefined>((resolve) => {
    const socket = connect({ host: addr, port });
    const frames = new Frames();
    const done = once((answer?: Buffer) => {
      timer.cancel();
      socket.destroy();
      resolve(answer);
    });
    const timer = clock.after(ms, done);
    socket.on('error', () => done());
    socket.on('close', () => done());
    socket.on('data', (chunk) => {
      const answer = frames.push(chunk).find((one) => isAnswerTo(one, query, question));
      if (answer) done(answer);
    });
    socket.write(framed(query));
  });
}

/** Later calls do nothing. */
function once<T extends unknown[]>(work: (...args: T) => void): (...args: T) => void {
  let called = false;
  return (...args) => {
    if (called) return;
    called = true;
    work(...args);
  };
}
