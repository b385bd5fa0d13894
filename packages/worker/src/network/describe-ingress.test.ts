import { expect, it } from 'vitest';
import { describeIngress } from './describe-ingress.ts';

it('tells the kind, and of some problems', () => {
  const of = (...problems: [string, string][]) => describeIngress({ kind: 'proxy', problems: () => new Map(problems) });
  expect(of()).toEqual({ Kind: 'proxy' });
  expect(of(['tcp/81', 'taken'], ['tcp/80', 'x'.repeat(1_000)])).toEqual({
    ...{ Kind: 'proxy', Problems: [`tcp/80: ${'x'.repeat(392)}`, 'tcp/81: taken'] },
  });
  const many = of(...Array.from({ length: 23 }, (_, i): [string, string] => [`tcp/${100 + i}`, 'taken']));
  expect(many.Problems?.slice(19)).toEqual(['tcp/119: taken', 'and 3 more']);
});
