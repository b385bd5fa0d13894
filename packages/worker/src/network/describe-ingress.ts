import type { NodeDescription } from '@swarmctl/shared/model';
import type { Ingress } from './types.ts';

// What a node says of its ingress to whoever inspects it: its kind, and what ports do not do there as asked.

const mostProblems = 20;
const longestProblem = 400;

export function describeIngress(ingress: Pick<Ingress, 'kind' | 'problems'>): NonNullable<NodeDescription['Ingress']> {
  const all = [...ingress.problems()].sort(([a], [b]) => (a < b ? -1 : 1));
  const Problems = all.slice(0, mostProblems).map(([key, text]) => `${key}: ${text}`.slice(0, longestProblem));
  if (all.length > mostProblems) Problems.push(`and ${all.length - mostProblems} more`);
  return { Kind: ingress.kind, ...(Problems.length > 0 && { Problems }) };
}
