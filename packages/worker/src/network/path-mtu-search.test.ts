import { below, seededRandom } from '@swarmctl/shared/kit';
import { describe, expect, it } from 'vitest';
import { PathSearch, type Probe } from './path-mtu-search.ts';

/** Whether a packet of this size comes back, and how long that takes; undefined: it does not. */
type Way = (size: number, now: number) => number | undefined;
const wide =
  (mtu: number): Way =>
  (size) =>
    size <= mtu ? 5 : undefined;

/** Looks when it is due until `end`; what was found at each time that it changed, and all that was sent. */
function run(search: PathSearch, from: number, end: number, way: Way) {
  const sent: Probe[] = [];
  const found: [number, number][] = [];
  const answers: { readonly at: number; readonly token: number }[] = [];
  let mtu = search.mtu;
  for (let now = from; now <= end; ) {
    for (const { at, token } of answers) if (at <= now) search.answered(token);
    const { send, nextAt } = search.look(now);
    for (const probe of send) {
      sent.push(probe);
      const ms = way(probe.size, now);
      if (ms !== undefined) answers.push({ at: now + ms, token: probe.token });
    }
    if (search.mtu !== mtu) found.push([now, search.mtu]);
    mtu = search.mtu;
    // As the loop around it does: an answer is a reason to look.
    const nextAnswer = Math.min(...answers.map(({ at }) => at).filter((at) => at > now));
    now = Math.max(now + 1, Math.min(nextAt, nextAnswer));
  }
  return { sent, found };
}

describe('the MTU of a way', () => {
  it('is that of its first link where that gets through, asked for once in a while', () => {
    const search = new PathSearch(1_500, 576);
    expect(search.mtu).toBe(1_500);
    const { sent, found } = run(search, 0, 65_000, wide(1_500));
    expect(found).toEqual([]);
    expect(sent.map(({ size }) => size)).toEqual([1, 2, 3].flatMap(() => [200, 1_500, 200]));
  });

  it.each([1_499, 1_400, 1_280, 577, 576])('is found to the byte: %i', (mtu) => {
    const search = new PathSearch(1_500, 576);
    const { found } = run(search, 0, 30_000, wide(mtu));
    expect(found.map(([, size]) => size)).toEqual([mtu]);
    expect(found[0]?.[0]).toBeLessThan(25_000);
  });

  it('is followed when it shrinks, within a minute', () => {
    const search = new PathSearch(1_500, 576);
    run(search, 0, 10_000, wide(1_500));
    const { found } = run(search, 10_000, 70_000, wide(1_400));
    expect(found.map(([, size]) => size)).toEqual([1_400]);
    expect(found[0]?.[0]).toBeLessThan(60_000);
  });

  it('is followed when it grows, sooner or later', () => {
    const search = new PathSearch(1_500, 576);
    run(search, 0, 2_000_000, wide(1_400));
    const { found } = run(search, 2_000_000, 2_000_000 + 700_000, wide(1_450));
    expect(found.map(([, size]) => size)).toEqual([1_450]);
  });

  it('is not looked for above what the first link takes, and that is taken at its word at once', () => {
    const search = new PathSearch(1_500, 576);
    run(search, 0, 10_000, wide(1_500));
    search.limit(1_400);
    expect(search.mtu).toBe(1_400);
    const { sent } = run(search, 10_000, 300_000, wide(1_500));
    expect(Math.max(...sent.map(({ size }) => size))).toBe(1_400);
    search.limit(9_000);
    expect(search.mtu).toBe(1_400);
    expect(run(search, 300_000, 340_000, wide(8_950)).found.at(-1)?.[1]).toBe(8_950);
  });
});

describe('what proves nothing', () => {
  it('is a loss of everything', () => {
    const search = new PathSearch(1_500, 576);
    run(search, 0, 10_000, wide(1_500));
    const { found, sent } = run(search, 10_000, 600_000, () => undefined);
    expect(found).toEqual([]);
    // And it is asked for ever more seldom.
    expect(sent.length).toBeLessThan(120);
    expect(run(search, 600_000, 700_000, wide(1_400)).found.map(([, size]) => size)).toEqual([1_400]);
  });

  it('is an answer that this process was too busy to read', () => {
    const search = new PathSearch(1_500, 576);
    for (let now = 0; now < 600_000; now += 2_000) {
      const { send } = search.look(now);
      for (const { token, size } of send) if (size < 1_000) search.answered(token);
    }
    expect(search.mtu).toBe(1_500);
  });

  // The small ones are lost as often as the large ones, or half as often.
  it.each([
    [0.3, 0.3],
    [0.5, 0.5],
    [0.2, 0.4],
  ])('is a way that loses packets now and then: %f of the small, %f of the large', (small, large) => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = seededRandom(seed);
      const lossy: Way = (size) =>
        below(random, 1_000) < (size > 500 ? large : small) * 1_000 ? undefined : 5 + below(random, 300);
      const search = new PathSearch(1_500, 576);
      run(search, 0, 10_000, wide(1_500));
      const { found } = run(search, 10_000, 600_000, lossy);
      expect([seed, found]).toEqual([seed, []]);
    }
  });

  it('does not last when it was believed after all', () => {
    const search = new PathSearch(1_500, 576);
    run(search, 0, 30_000, wide(1_000));
    expect(search.mtu).toBe(1_000);
    expect(run(search, 30_000, 110_000, wide(1_500)).found.map(([, size]) => size)).toEqual([1_500]);
  });
});
