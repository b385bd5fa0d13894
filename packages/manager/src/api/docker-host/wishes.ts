import { ClusterError } from '@swarmctl/shared/kit';
import { type Constraint, factOf, type Node, nodeMeets, parseConstraint, parseJson } from '@swarmctl/shared/model';
import { namesOf, type Place } from './containers.ts';
import { hostnameOf } from './engines.ts';
import { isPattern, patternOf } from './pattern.ts';

// What a container by hand says of the node that it wants, in its labels or in variables of its environment that are for nothing else; also as the
// first Swarm's clients wrote it: soft, with `~` before the value, and with values that are patterns.

/** Several are told apart by commas. */
export const constraintsLabel = 'swarmctl.constraints';
/** Lists in JSON. */
const classicLabels = { constraint: 'com.docker.swarm.constraints', affinity: 'com.docker.swarm.affinities' } as const;

export interface Wishes {
  /** Plain ones that must be met: the scheduler's. */
  readonly constraints: readonly string[];
  readonly nodes: readonly NodeWish[];
  readonly containers: readonly ContainerWish[];
}

interface Wish {
  /** As it was written. */
  readonly text: string;
  /** Rather than nowhere, anywhere. */
  readonly isSoft: boolean;
}

export interface NodeWish extends Wish {
  readonly isMet: (node: Node) => boolean;
}

export interface ContainerWish extends Wish {
  /** On the node of such a container, else on any other node. */
  readonly isBeside: boolean;
  readonly isMeant: (place: Pick<Place, 'node' | 'row'>) => boolean;
}

/** What the label says, which is `constraintsLabel`'s. Throws `invalid-argument` when that is no text. */
export function constraintsText(value: unknown): string {
  if (value === undefined || value === null) return '';
  if (typeof value === 'string') return value;
  throw new ClusterError('invalid-argument', `label '${constraintsLabel}': expected text such as node.hostname==NAME`);
}

/** Without those that need not be met. */
export const hardOf = ({ constraints, nodes, containers }: Wishes): Wishes => ({
  constraints,
  nodes: nodes.filter(({ isSoft }) => !isSoft),
  containers: containers.filter(({ isSoft }) => !isSoft),
});

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
  const constraints = texts.constraint.map((text) => text.trim()).filter((text) => text !== '');
  const read = constraints.map(constraintOf);
  return {
    constraints: read.flatMap((one) => (typeof one === 'string' ? [one] : [])),
    nodes: read.flatMap((one) => (typeof one === 'string' ? [] : [one])),
    containers: texts.affinity.map(affinityOf),
  };
}

const softly = /(?<=[=!]=\s*)~/;

/** The text as the scheduler knows it, when it need not be dealt with here. */
function constraintOf(text: string): string | NodeWish {
  const isSoft = softly.test(text);
  const hard = modern(text.replace(softly, ''));
  try {
    const constraint = parseConstraint(hard);
    const isPlain = !isPattern(constraint.value);
    if (isPlain && !isSoft) return hard;
    return { text, isSoft, isMet: isPlain ? (node) => nodeMeets(node, [constraint]) : byPattern(constraint) };
  } catch (error) {
    throw new ClusterError('invalid-argument', `constraints of the container: ${(error as Error).message}`);
  }
}

function byPattern({ key, operator, value }: Constraint): NodeWish['isMet'] {
  const matches = patternOf(value, true);
  return (node) => {
    const fact = factOf(node, key);
    return fact !== undefined && matches(fact) === (operator === '==');
  };
}

/** The first Swarm's `node` is a host name, and any other plain word a label of the engine. */
const modern = (text: string): string =>
  text.replace(/^([\w-]+)(?=\s*[=!]=)/, (_, key) => (key === 'node' ? 'node.hostname' : `engine.labels.${key}`));

function affinityOf(text: string): ContainerWish {
  const [, key = '', operator, soft, value = ''] = /^\s*([\w.-]+)\s*([=!]=)\s*(~?)\s*(.*?)\s*$/s.exec(text) ?? [];
  if (value === '' || key === 'image') {
    throw new ClusterError(
      'invalid-argument',
      `affinity of the container: '${text}' is neither container==NAME nor LABEL==VALUE, the affinities that there are (or with !=, a soft value such as ~NAME, a pattern such as web* or /^web/)`,
    );
  }
  const isContainer = key === 'container';
  const matches = patternOf(isContainer ? value.replace(/^\/(?!.*\/$)/s, '') : value, false);
  return {
    ...{ text, isSoft: soft === '~', isBeside: operator === '==' },
    isMeant: (place) => (isContainer ? namesFor(place) : labelsFor(place, key)).some(matches),
  };
}

function namesFor({ node, row }: Pick<Place, 'node' | 'row'>): readonly string[] {
  const names = namesOf(row);
  return [row.Id, row.Id.slice(0, 12), ...names, ...names.map((name) => `${hostnameOf(node)}/${name}`)];
}

const labelsFor = ({ row }: Pick<Place, 'row'>, key: string): readonly string[] =>
  Object.hasOwn(row.Labels ?? {}, key) ? [row.Labels[key] ?? ''] : [];

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
