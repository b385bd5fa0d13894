import type { NodeDescription } from '@swarmctl/shared/model';
import type { Ingress } from './types.ts';

// What a node says of its ingress to whoever inspects it: its kind, and what ports do not do there as asked. And how many problems it tells of.

const mostProblems = 20;
const longestProblem = 400;

export function describeIngress(ingress: Pick<Ingress, 'kind' | 'problems'>): NonNullable<NodeDescription['Ingress']> {
  const Problems = fewProblems([...ingress.problems()].map(([key, text]) => `${key}: ${text}`));
  return { Kind: ingress.kind, ...(Problems.length > 0 && { Problems }) };
}

/** As many as a description has room for, in their order. */
export function fewProblems(all: readonly string[]): string[] {
  const few = [...all]
    .sort()
    .slice(0, mostProblems)
    .map((text) => text.slice(0, longestProblem));
  return all.length > mostProblems ? [...few, `and ${all.length - mostProblems} more`] : few;
}
