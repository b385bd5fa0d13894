// What differs between two values, path by path.

export interface Difference {
  /** `TaskTemplate.ContainerSpec.Env`. */
  readonly path: string;
  /** Undefined: it is not there. */
  readonly before: unknown;
  readonly after: unknown;
}

/**
 * What is empty or false counts as not there, but for a mode, which is one although nothing stands in it, and `Init`, whose default is the engine's.
 */
export function differences(before: unknown, after: unknown, path = ''): Difference[] {
  const [from, to] = [present(before), present(after)];
  if (isObject(from) && isObject(to)) {
    return [...new Set([...Object.keys(from), ...Object.keys(to)])].flatMap((key) =>
      differences(from[key], to[key], memberPath(path, key)),
    );
  }
  if (Array.isArray(from) && Array.isArray(to)) return listDifferences(from, to, path);
  return JSON.stringify(from) === JSON.stringify(to) ? [] : [{ path, before: from, after: to }];
}

function listDifferences(from: readonly unknown[], to: readonly unknown[], path: string): Difference[] {
  if (from.length === to.length && [...from, ...to].every(isObject)) {
    return from.flatMap((item, i) => differences(item, to[i], `${path}[${i}]`));
  }
  const [known, wanted] = [from.map(textOf), to.map(textOf)];
  const gone = from.filter((item) => !wanted.includes(textOf(item)));
  const come = to.filter((item) => !known.includes(textOf(item)));
  // In another order, or more often.
  if (gone.length + come.length === 0) return textOf(from) === textOf(to) ? [] : [{ path, before: from, after: to }];
  return [
    ...gone.map((item) => ({ path, before: item, after: undefined })),
    ...come.map((item) => ({ path, before: undefined, after: item })),
  ];
}

const textOf = (value: unknown): string => JSON.stringify(value);

const memberPath = (path: string, key: string) =>
  path === '' ? key : /^[\w-]+$/.test(key) ? `${path}.${key}` : `${path}["${key}"]`;

/** `~ path: old -> new`, `+` for what comes, `-` for what goes. */
export function showDifference({ path, before, after }: Difference): string {
  if (before === undefined) return `+ ${path}: ${textOf(after)}`;
  if (after === undefined) return `- ${path}: ${textOf(before)}`;
  return `~ ${path}: ${textOf(before)} -> ${textOf(after)}`;
}

type Values = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Values =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const modes = ['Global', 'GlobalJob'];

/** Without empty members, nor those that are false, which is what they are when nobody says; undefined when nothing is left. */
function present(value: unknown): unknown {
  if (value === null || value === undefined) return undefined;
  if (Array.isArray(value)) return value.length > 0 ? value : undefined;
  if (!isObject(value)) return value;
  const kept = Object.entries(value)
    .map(([key, member]) => [key, modes.includes(key) ? true : present(member)] as const)
    .filter(([key, member]) => member !== undefined && (member !== false || key === 'Init'));
  return kept.length > 0 ? Object.fromEntries(kept) : undefined;
}
