import { describe, expect, it } from 'vitest';
import { againMs, EchoTracker, missedMost, probeMs } from './tracker.ts';

/** Looks whenever it is due, until `end`; `answers` says which questions are answered at once. Tells what came when. */
function run(tracker: EchoTracker, from: number, end: number, answers: (id: string, at: number) => boolean) {
  const asked: number[] = [];
  const changes: [number, string, string][] = [];
  for (let now = from; now <= end; ) {
    const { ask, changed } = tracker.look(now);
    for (const id of changed) changes.push([now, id, tracker.answers(id)]);
    for (const id of ask) {
      asked.push(now);
      if (answers(id, now) && tracker.answered(id)) changes.push([now, id, tracker.answers(id)]);
    }
    now = tracker.nextAt ?? end + 1;
  }
  return { asked, changes };
}

describe('who answers over the mesh', () => {
  it('is asked each second while it answers', () => {
    const tracker = new EchoTracker();
    tracker.follow(['a'], 0);
    expect(tracker.answers('a')).toBe('unknown');
    const { asked, changes } = run(tracker, 0, 3_500, () => true);
    expect(asked).toEqual([0, 1_000, 2_000, 3_000]);
    expect(changes).toEqual([[0, 'a', 'yes']]);
  });

  it('is silent after three questions, within two seconds of its last answer, and back at its first', () => {
    const tracker = new EchoTracker();
    tracker.follow(['a'], 0);
    const { changes } = run(tracker, 0, 9_000, (_, at) => at < 1_000 || at >= 5_000);
    const [, down, up] = changes;
    expect(down).toEqual([probeMs + missedMost * againMs, 'a', 'no']);
    expect(down?.[0]).toBeLessThan(2_000);
    expect(up?.slice(1)).toEqual(['a', 'yes']);
    expect(up?.[0]).toBeLessThanOrEqual(5_000 + probeMs);
  });

  it('loses two questions without harm', () => {
    const tracker = new EchoTracker();
    tracker.follow(['a'], 0);
    const { changes } = run(tracker, 0, 9_000, (_, at) => at < 1_000 || at >= 1_500);
    expect(changes).toEqual([[0, 'a', 'yes']]);
  });

  it('fell silent only if it has answered before', () => {
    const tracker = new EchoTracker();
    tracker.follow(['never', 'once'], 0);
    run(tracker, 0, 5_000, (id, at) => id === 'once' && at < 1_000);
    expect(['never', 'once'].map((id) => tracker.answers(id))).toEqual(['no', 'no']);
    expect(['never', 'once'].map((id) => tracker.fellSilent(id))).toEqual([false, true]);
    expect(['never', 'once'].map((id) => tracker.isSilentForLong(id))).toEqual([false, true]);
    run(tracker, 5_000, 12_000, () => false);
    expect(tracker.isSilentForLong('never')).toBe(true);
    expect(tracker.isMissing('once')).toBe(true);
    tracker.answered('once');
    expect([tracker.isMissing('once'), tracker.fellSilent('once')]).toEqual([false, false]);
  });

  it('is not blamed when this process itself stood still', () => {
    const tracker = new EchoTracker();
    tracker.follow(['a'], 0);
    run(tracker, 0, 0, () => true);
    for (let now = probeMs; now < 30_000; now += 3_000) expect(tracker.look(now).changed).toEqual([]);
    expect(tracker.answers('a')).toBe('yes');
  });

  it('is forgotten with the peer', () => {
    const tracker = new EchoTracker();
    tracker.follow(['a', 'b'], 0);
    run(tracker, 0, 0, () => true);
    tracker.follow(['b', 'c'], 10);
    expect(['a', 'b', 'c'].map((id) => tracker.answers(id))).toEqual(['unknown', 'yes', 'unknown']);
    expect(tracker.look(10).ask).toEqual(['c']);
    expect(tracker.answered('a')).toBe(false);
    tracker.follow([], 20);
    expect(tracker.nextAt).toBeUndefined();
  });
});
