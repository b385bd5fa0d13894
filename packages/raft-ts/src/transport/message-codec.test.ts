import { describe, expect, it } from 'vitest';
import { message } from '../core/message.ts';
import type { Message } from '../core/types.ts';
import { DecodeError } from '../wal/bytes.ts';
import { decodeMessage, encodeMessage } from './message-codec.ts';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const confState = { voters: [1, 2], votersOutgoing: [1], learners: [3], learnersNext: [4], autoLeave: true };
const messages: Message[] = [
  message({ type: 'heartbeat', to: 2, from: 1, term: 3, commit: 2 ** 52, context: text('ctx') }),
  message({ type: 'app-resp', to: 2, from: 1, term: 3, index: 9, reject: true, rejectHint: 7, logTerm: 2 }),
  message({ type: 'vote', to: 2, from: 1, term: 3, index: 9, logTerm: 2, context: text('CampaignTransfer') }),
  message({ type: 'pre-vote-resp', to: 2, from: 1, term: 3, reject: true, known: { index: 2 ** 40, term: 2 } }),
  message({
    type: 'app',
    to: 2,
    from: 1,
    term: 3,
    index: 9,
    logTerm: 2,
    commit: 8,
    entries: [
      { type: 'normal', term: 3, index: 10, data: new Uint8Array(300).fill(1) },
      { type: 'conf-change', term: 3, index: 11, data: new Uint8Array(0) },
    ],
  }),
  message({
    type: 'snap',
    to: 2,
    from: 1,
    term: 3,
    snapshot: { meta: { index: 100, term: 2, confState }, data: new Uint8Array(0) },
  }),
];

/** Byte strings compare by content, whatever their class. */
const plain = (m: Message): unknown =>
  JSON.parse(
    JSON.stringify(m, (_, value) => (value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value)),
  );

describe('messages on the wire', () => {
  it.each(messages.map((m) => [m.type, m] as const))('%s comes back as it was', (_, m) => {
    expect(plain(decodeMessage(encodeMessage(m).take()))).toEqual(plain(m));
  });

  it('are refused when cut anywhere or when something follows', () => {
    for (const m of messages) {
      const bytes = encodeMessage(m).take();
      for (let length = 0; length < bytes.length; length++) {
        expect(() => decodeMessage(bytes.subarray(0, length))).toThrow(DecodeError);
      }
      expect(() => decodeMessage(Buffer.concat([bytes, Buffer.from([0])]))).toThrow(DecodeError);
    }
  });

  it('never fail otherwise than by refusal, whatever the bytes', () => {
    let seed = 7;
    const random = () => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return seed / 2 ** 32;
    };
    for (let i = 0; i < 20_000; i++) {
      const bytes = Buffer.from(encodeMessage(messages[i % messages.length]!).take());
      for (let flips = 0; flips < 3; flips++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      try {
        decodeMessage(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(DecodeError);
      }
    }
  });

  it('that a member sends to itself have no place there', () => {
    expect(() => encodeMessage(message({ type: 'hup', to: 1 }))).toThrow('not for the wire');
  });
});
