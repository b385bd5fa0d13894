import { below, seededRandom } from '@swarmctl/shared/kit';
import { describe, expect, it } from 'vitest';
import { encodeAnswer, encodeName, fitted, isAnswerTo, parseQuery, rcodes, reverseAddress, types } from './codec.ts';
import { ask, read } from './test-packets.ts';

describe('a question', () => {
  it('is read in lower case, and sent back as it came', () => {
    const query = parseQuery(ask('Web.TEST', types.A, { id: 7 }));
    expect(query).toMatchObject({ id: 7, edns: false, limit: 512, question: { name: 'web.test', type: types.A } });
    const answer = encodeAnswer(query!, { rcode: rcodes.ok, records: ['10.0.0.1'] }, 512);
    expect(read(answer)).toEqual({
      id: 7,
      rcode: 0,
      truncated: false,
      name: 'Web.TEST',
      edns: false,
      records: [{ type: types.A, ttl: 1, data: '0a000001' }],
    });
    // An answer, authoritative, recursion desired and to be had.
    expect(answer.readUInt16BE(2)).toBe(0x8580);
  });

  it('says how much its client takes', () => {
    expect(parseQuery(ask('web', types.A, { payload: 4096 }))).toMatchObject({ edns: true, limit: 4096 });
    expect(parseQuery(ask('web', types.A, { payload: 100 }))).toMatchObject({ edns: true, limit: 512 });
    const answer = encodeAnswer(parseQuery(ask('web', types.A, { payload: 4096 }))!, { rcode: rcodes.noName }, 512);
    expect(read(answer)).toMatchObject({ rcode: 3, edns: true, records: [] });
  });

  it('with a dot in a label is not a name of two labels', () => {
    const packet = ask('x', types.A);
    const dotted = Buffer.concat([packet.subarray(0, 12), Buffer.from('\x03a.b\0\0\x01\0\x01', 'latin1')]);
    expect(parseQuery(dotted)?.question?.name).toBe('a\\.b');
  });

  const cut = (bytes: number) => ask('web', types.A).subarray(0, bytes);
  const changed = (at: number, value: number) => {
    const packet = Buffer.from(ask('web', types.A));
    packet[at] = value;
    return packet;
  };
  it.each([
    ['too short for a header', cut(11), undefined],
    ['an answer', changed(2, 0x80), undefined],
    ['another kind of query', changed(2, 0x28), { error: rcodes.notImplemented }],
    ['no question', changed(5, 0), { error: rcodes.malformed }],
    ['two questions', changed(5, 2), { error: rcodes.malformed }],
    ['a name without an end', cut(15), { error: rcodes.malformed }],
    ['a name without type and class', cut(18), { error: rcodes.malformed }],
    ['a compressed name', changed(12, 0xc0), { error: rcodes.malformed }],
    ['a record that is missing', changed(11, 1), { error: rcodes.malformed }],
    ['another class', changed(20, 3), { error: rcodes.refused }],
    ['a name of 260 bytes', ask(Array.from({ length: 52 }, () => 'abcd').join('.'), 1), { error: rcodes.malformed }],
  ])('%s', (_, packet, wanted) => {
    const query = parseQuery(packet);
    if (wanted === undefined) expect(query).toBeUndefined();
    else expect(query).toMatchObject(wanted);
  });
});

describe('an answer', () => {
  const query = parseQuery(ask('tasks.web', types.A))!;
  const addrs = Array.from({ length: 40 }, (_, i) => `10.0.1.${i}`);

  it('that is too long says so', () => {
    const short = encodeAnswer(query, { rcode: rcodes.ok, records: addrs }, 512);
    expect(short.length).toBeLessThanOrEqual(512);
    expect(read(short)).toMatchObject({ truncated: true });
    expect(read(short).records).toHaveLength(30);
    const whole = encodeAnswer(query, { rcode: rcodes.ok, records: addrs }, 65_535);
    expect(read(whole)).toMatchObject({ truncated: false });
    expect(read(whole).records).toHaveLength(40);
    expect(read(fitted(whole, query, 512))).toMatchObject({ truncated: true, rcode: 0, name: 'tasks.web' });
    expect(fitted(whole, query, 2_000)).toBe(whole);
  });

  it('has IPv6 addresses and names', () => {
    const v6 = parseQuery(ask('web', types.AAAA))!;
    const text = encodeAnswer(v6, { rcode: rcodes.ok, records: ['fd00::1:2'] }, 512);
    expect(read(text).records[0]?.data).toBe('fd000000000000000000000000010002');
    const ptr = parseQuery(ask('1.1.0.10.in-addr.arpa', types.PTR))!;
    const named = encodeAnswer(ptr, { rcode: rcodes.ok, records: ['web.net'] }, 512);
    expect(read(named).records[0]?.data).toBe(encodeName('web.net').toString('hex'));
  });

  it('is one to its question alone', () => {
    const sent = ask('web', types.A, { id: 5 });
    const question = parseQuery(sent)!.question!;
    const answerTo = (name: string, type: number, id: number) =>
      encodeAnswer(parseQuery(ask(name, type, { id }))!, { rcode: rcodes.ok }, 512);
    expect(isAnswerTo(answerTo('WEB', types.A, 5), sent, question)).toBe(true);
    expect(isAnswerTo(answerTo('web', types.A, 6), sent, question)).toBe(false);
    expect(isAnswerTo(answerTo('web', types.AAAA, 5), sent, question)).toBe(false);
    expect(isAnswerTo(answerTo('other', types.A, 5), sent, question)).toBe(false);
    expect(isAnswerTo(sent, sent, question)).toBe(false);
  });
});

it.each([
  ['4.3.2.10.in-addr.arpa', '10.2.3.4'],
  ['300.3.2.10.in-addr.arpa', undefined],
  ['3.2.10.in-addr.arpa', undefined],
  [`2.${'0.'.repeat(27)}0.0.d.f.ip6.arpa`, 'fd00:0000:0000:0000:0000:0000:0000:0002'],
  ['d.f.ip6.arpa', undefined],
  ['web', undefined],
])('%s stands for %s', (name, addr) => expect(reverseAddress(name)).toBe(addr));

describe('whatever comes', () => {
  it.each([1, 2, 3, 4])('seed %i: is never more than an error', (seed) => {
    const random = seededRandom(seed);
    const bases = [
      ask('web.example.com', types.A, { payload: 1232 }),
      ask('tasks.web', types.AAAA),
      ask('1.0.0.10.in-addr.arpa', types.PTR),
      Buffer.alloc(0),
    ];
    for (let round = 0; round < 5_000; round++) {
      const packet = mutated(bases[below(random, bases.length)]!, random);
      const query = parseQuery(packet);
      if (!query) continue;
      const answer = encodeAnswer(query, { rcode: query.error ?? rcodes.ok, records: [] }, query.limit);
      expect(answer.readUInt16BE(0)).toBe(packet.readUInt16BE(0));
      expect(answer.readUInt16BE(2) & 0x8000).toBe(0x8000);
      if (query.question) isAnswerTo(packet, packet, query.question);
    }
  });
});

/** Bytes changed, cut off, doubled. */
function mutated(base: Buffer, random: () => number): Buffer {
  let packet = Buffer.from(base);
  for (let changes = below(random, 6); changes > 0; changes--) {
    const at = below(random, packet.length + 1);
    switch (below(random, 4)) {
      case 0:
        packet = packet.subarray(0, at);
        break;
      case 1:
        packet = Buffer.concat([packet.subarray(0, at), Buffer.of(below(random, 256)), packet.subarray(at)]);
        break;
      case 2:
        packet = Buffer.concat([packet, packet.subarray(at)]);
        break;
      default:
        if (at < packet.length) packet[at] = below(random, 256);
    }
  }
  return packet;
}
