import { describe, expect, test } from 'vitest';
import { EventLog } from './event-log.ts';

describe('a log of events', () => {
  test('keeps the latest of them, and tells of what goes', () => {
    const dropped: number[] = [];
    const log = new EventLog<number>({ most: 16, onDrop: (gone) => dropped.push(...gone) });
    for (let i = 0; i < 17; i++) log.add([i]);
    expect(dropped).toEqual([0, 1, 2]);
    expect([log.start, log.end, log.read(2), log.read(3).length]).toEqual([3, 17, 'overtaken', 14]);
  });

  test('keeps no more than so many bytes, however large its entries are', () => {
    const dropped: string[] = [];
    const log = new EventLog<{ text: string }>({
      mostBytes: 100_000,
      onDrop: (gone) => dropped.push(...gone.map(({ text }) => text)),
    });
    const text = (i: number) => String(i).padEnd(5_000, 'x');
    for (let i = 0; i < 40; i++) log.add([{ text: text(i) }]);
    // Two bytes a character, an eighth of room after each time.
    expect(log.end - log.start).toBeLessThanOrEqual(10);
    expect(log.end - log.start).toBeGreaterThanOrEqual(7);
    expect(log.end).toBe(40);
    expect(dropped).toEqual(Array.from({ length: log.start }, (_, i) => text(i)));
    expect(log.since(0).at(-1)).toEqual({ text: text(39) });
    log.add([{ text: text(40).repeat(30) }]);
    expect([log.start, log.end, log.read(41)]).toEqual([41, 41, []]);
  });

  test('forgets all when it is told to, and goes on', () => {
    const log = new EventLog<string>({ mostBytes: 1_000 });
    log.add(['a', 'b']);
    log.forget();
    expect([log.read(2), log.start, log.end]).toEqual(['overtaken', 3, 3]);
    log.add(['c']);
    expect(log.since(0)).toEqual(['c']);
  });
});
