import { isAbsolute, resolve } from 'node:path';
import { parseDurationMs } from '@swarmctl/shared/model';
import { bytes } from '../units.ts';
import { anyText, expected, inside, mapOf, parsed, type Shape, type Spot, shortened, single, text } from './shape.ts';
import { type Entry, fields, isNull, leaf, type Tree } from './tree.ts';

// Values that mean the same wherever they stand: durations, sizes, paths, pairs.

/** `1m30s`, `500ms`. */
export const duration: Shape<string> = parsed('a duration such as 10s, 1m30s or 500ms', parseDurationMs);

export const durationNs = (value: string): number => Math.round((parseDurationMs(value) ?? 0) * 1e6);

const tryBytes = (value: string): number | undefined => {
  try {
    return bytes('', value);
  } catch {
    return undefined;
  }
};

/** `512m`, `1.5gb`, or bytes. */
export const size: Shape<string> = parsed('a size such as 512m or 1g, or a number of bytes', tryBytes);

export const sizeOf = (value: string): number => tryBytes(value) ?? 0;

/** `0.5` CPUs. */
export const cpus: Shape<string> = parsed('a number of CPUs such as 0.5', (value) =>
  /^\d*\.?\d+$/.test(value) ? value : undefined,
);

export const nanoCpus = (value: string): number => Math.round(Number(value) * 1e9);

export const ratio: Shape<number> = single('a number from 0 to 1', ({ text: value }) =>
  value !== '' && Number(value) >= 0 && Number(value) <= 1 ? Number(value) : undefined,
);

/** `0440`, or a number that YAML says in another way. */
export const fileMode: Shape<number> = single('a mode such as 0440', ({ text: value, value: number }) => {
  const mode =
    /^0?[0-7]{1,4}$/.test(value) && (value.startsWith('0') || typeof number === 'string')
      ? Number.parseInt(value, 8)
      : typeof number === 'number'
        ? number
        : Number.NaN;
  return Number.isInteger(mode) && mode >= 0 && mode <= 0o7777 ? mode : undefined;
});

export const absolute = (path: string, spot: Pick<Spot, 'folder' | 'home'>): string =>
  path === '~' || path.startsWith('~/') ? resolve(spot.home, `.${path.slice(1)}`) : resolve(spot.folder, path);

/** A path here; canonical is the absolute one. */
export const localPath: Shape<string> = {
  read: (tree, spot) => {
    const read = text.read(tree, spot);
    return read?.kind === 'leaf' ? leaf(read.at, absolute(read.text, spot), read.tag) : undefined;
  },
  merge: text.merge,
};

export const isPath = (value: string): boolean => /^[./~]/.test(value) || isAbsolute(value);

/** A map, or a list of `KEY=value`; canonical is the map. A key alone has null. */
export const pairs: Shape<Readonly<Record<string, string | null>>> = shortened(
  mapOf(anyText as Shape<string | null>, { empty: (tree) => leaf(tree.at, null) }),
  listedPairs,
);

function listedPairs(tree: Tree, spot: Spot): Tree | undefined {
  if (tree.kind !== 'list') return expected(tree, spot, 'a map, or a list of KEY=value');
  const entries = new Map<string, Entry>();
  for (const [i, item] of tree.items.entries()) {
    if (item.kind !== 'leaf' || isNull(item) || item.text.startsWith('=')) {
      expected(item, inside(spot, i), 'KEY=value');
      continue;
    }
    const [key = '', value] = item.text.split(/=(.*)/s, 2);
    entries.set(key, { key: item.at, value: leaf(item.at, value ?? null) });
  }
  return fields(tree.at, entries, tree.tag);
}

/** Values that are not there are empty. */
export const labelsOf = (given: Readonly<Record<string, string | null>> | undefined): Record<string, string> =>
  Object.fromEntries(Object.entries(given ?? {}).map(([key, value]) => [key, value ?? '']));
