import { ClusterError } from '@swarmctl/shared/kit';
import { parseConstraints, parseJson } from '@swarmctl/shared/model';

// What a container by hand says of the node that it wants, in its labels or in variables of its environment that are for nothing else; also as the
// first Swarm's clients wrote it.

/** Several are told apart by commas. */
export const constraintsLabel = 'swarmctl.constraints';
/** Lists in JSON. */
const classicLabels = { constraint: 'com.docker.swarm.constraints', affinity: 'com.docker.swarm.affinities' } as const;

export interface Wishes {
  readonly constraints: readonly string[];
  /** Containers on whose node it wants to be. */
  readonly beside: readonly string[];
  /** Containers whose node it does not want. */
  readonly apart: readonly string[];
}

interface Words {
  readonly Env?: readonly string[] | null;
  readonly Labels?: Readonly<Record<string, string>> | null;
}

const variable = /^(constraint|affinity):(.*)$/s;
export const isWish = (env: string): boolean => variable.test(env);

/** Throws `invalid-argument` for what is none, or cannot be had here. */
export function wishesOf(given: Words): Wishes {
  const texts = { constraint: [] as string[], affinity: [] as string[] };
  for (const text of Array.isArray(given.Env) ? given.Env.map(String) : []) {
    const [, kind, wish] = variable.exec(text) ?? [];
    if (kind) texts[kind as keyof typeof texts].push(wish ?? '');
  }
  for (const kind of ['constraint', 'affinity'] as const)
    texts[kind].push(...listIn(given.Labels, classicLabels[kind]));
  texts.constraint.push(...String(given.Labels?.[constraintsLabel] ?? '').split(','));
  const constraints = texts.constraint.map((text) => modern(text.trim())).filter((text) => text !== '');
  try {
    parseConstraints(constraints);
  } catch (error) {
    throw new ClusterError('invalid-argument', `constraints of the container: ${(error as Error).message}`);
  }
  const affinities = texts.affinity.map(affinityOf);
  const named = (is: boolean) => affinities.filter(({ isBeside }) => isBeside === is).map(({ name }) => name);
  return { constraints, beside: named(true), apart: named(false) };
}

/** The first Swarm's `node` is a host name, and any other plain word a label of the engine. */
const modern = (text: string): string =>
  text.replace(/^([\w-]+)(?=\s*[=!]=)/, (_, key) => (key === 'node' ? 'node.hostname' : `engine.labels.${key}`));

function affinityOf(text: string): { readonly isBeside: boolean; readonly name: string } {
  const [, operator, name] = /^\s*container\s*([=!]=)\s*\/?([a-zA-Z0-9][\w.-]*)\s*$/.exec(text) ?? [];
  if (name !== undefined) return { isBeside: operator === '==', name };
  throw new ClusterError(
    'invalid-argument',
    `affinity of the container: '${text}' is neither container==NAME nor container!=NAME, the affinities that there are`,
  );
}

function listIn(labels: Words['Labels'], label: string): readonly string[] {
  const text = labels?.[label];
  if (text === undefined) return [];
  const list = parsed(text);
  if (Array.isArray(list) && list.every((one) => typeof one === 'string')) return list;
  throw new ClusterError(
    'invalid-argument',
    `label '${label}': expected a list in JSON such as ["node==NAME"], not '${text}'`,
  );
}

function parsed(text: string): unknown {
  try {
    return parseJson(Buffer.from(String(text)));
  } catch {
    return undefined;
  }
}
