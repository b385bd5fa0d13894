import { expect, test } from 'vitest';
import { momentOf, parseMoment, toMs, toUnixTime } from './moments.ts';

const now = 1_700_000_000_000;
const unix = (text: string) => {
  const moment = parseMoment(text, now, 'utc');
  return moment === undefined ? undefined : toUnixTime(moment);
};

test.each([
  ['0', '0.000000000'],
  ['1', '1.000000000'],
  ['1136073845.000000001', '1136073845.000000001'],
  ['1700000000.5', '1700000000.500000000'],
  ['-1.5', '-1.500000000'],
  ['2006-01-02T15:04:05.999999999Z', '1136214245.999999999'],
  ['2006-01-02T15:04:05+07:00', '1136189045.000000000'],
  ['2006-01-02T15:04', '1136214240.000000000'],
  ['2006-01-02', '1136160000.000000000'],
  ['10m', '1699999400.000000000'],
  ['1h30m', '1699994600.000000000'],
  ['0s', '1700000000.000000000'],
])('%s is %s', (text, expected) => {
  expect(unix(text)).toBe(expected);
});

test.each(['', 'x', 'yesterday', '1e9', '1.2.3', '1,5', '2006-13-02', '2006-01-02 15:04', '10 m', 'May 1'])(
  '%j is none',
  (text) => {
    expect(unix(text)).toBeUndefined();
  },
);

test('a time without a zone is in that of the machine when asked for', () => {
  expect(parseMoment('2006-01-02T15:04:05', now, 'local')).toBe(
    BigInt(new Date(2006, 0, 2, 15, 4, 5).getTime()) * 1_000_000n,
  );
});

test('the nanoseconds of a line are kept', () => {
  const first = momentOf('2026-01-01T00:00:00.123456788Z');
  const next = momentOf('2026-01-01T00:00:00.123456789Z');
  expect((next ?? 0n) - (first ?? 0n)).toBe(1n);
  expect(toMs(next ?? 0n)).toBe(Date.parse('2026-01-01T00:00:00.123Z'));
});
