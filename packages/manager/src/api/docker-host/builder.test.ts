import { expect, test } from 'vitest';
import { aNode } from '../../../../../test/kit/index.ts';
import { builderAmong } from './builder.ts';
import { heldIn, madeSince } from './built-images.ts';

test('who is labelled for it builds before a worker, that before a manager, and who came first before who came later', () => {
  const node = (id: string, role: 'worker' | 'manager', second: number, builder?: 'true' | 'false') =>
    aNode({
      id,
      role,
      ...(builder && { labels: { 'swarmctl.builder': builder } }),
      set: { CreatedAt: `2026-01-01T00:00:0${second}.000Z` },
    });
  const [a, b, c, d] = [
    node('a', 'worker', 2),
    node('b', 'worker', 1),
    node('c', 'manager', 0),
    node('d', 'worker', 1),
  ];
  expect(builderAmong([a, d, c, b])).toBe(b);
  expect(builderAmong([a, c])).toBe(a);
  expect(builderAmong([c])).toBe(c);
  const [never, wanted] = [node('e', 'worker', 0, 'false'), node('f', 'manager', 3, 'true')];
  expect(builderAmong([never, a])).toBe(a);
  expect(builderAmong([a, c, wanted])).toBe(wanted);
  expect(builderAmong([never])).toBeUndefined();
});

test.each([
  ['nothing', [], [], []],
  [
    'a name',
    [['1', 'a:1']],
    [
      ['1', 'a:1'],
      ['2', 'b:1', 'b:2'],
    ],
    ['b:1', 'b:2'],
  ],
  ['a second name', [['1', 'a:1']], [['1', 'a:1', 'b:1']], ['b:1']],
  ['a name that means another; the old image has none any more', [['1', 'a:1']], [['2', 'a:1'], ['1']], ['a:1']],
  ['an image without a name', [['1', 'a:1']], [['1', 'a:1'], ['2']], ['2']],
  ['an image less', [['1', 'a:1'], ['2']], [['1', 'a:1']], []],
] as const)('what a build has made: %s', (_, before, after, made) => {
  const rows = (all: readonly (readonly string[])[]) =>
    heldIn(all.map(([Id = '', ...tags]) => ({ Id, RepoTags: tags.length > 0 ? tags : ['<none>:<none>'] })));
  expect(madeSince(rows(before), rows(after))).toEqual(made);
});
