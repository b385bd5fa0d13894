import { dirname, join, relative, resolve } from 'node:path';
import { ClusterError, messageOf } from '@swarmctl/shared/kit';
import { suggestion } from '../units.ts';
import { parseDotenv } from './dotenv.ts';
import { type ComposeFile, composeFile, type Include, tables } from './file-shape.ts';
import { interpolate, type Lookup } from './interpolate.ts';
import { Problems } from './problems.ts';
import { isAbsent, whyUnread } from './read-error.ts';
import { service as serviceShape } from './service-shape.ts';
import { type Spot, settled } from './shape.ts';
import { type Entry, type Fields, fields, isNull, type Path, type Place, placeOf, type Tree, toPlain } from './tree.ts';
import { parseYaml } from './yaml.ts';

// From files to one tree in canonical form: each is read, filled in, checked, completed by what it extends and includes, and laid over the ones before.

type Environment = Readonly<Record<string, string | undefined>>;

export interface LoadOptions {
  /** As the user named them; the first one's folder is where relative paths start. */
  readonly files: readonly string[];
  /** Files of variables; absent: `.env` of the first file's folder, if there is one. */
  readonly envFiles?: readonly string[];
  readonly env: Environment;
  /** Of services that are wanted beside those without a profile; `*` for all. */
  readonly profiles: readonly string[];
  /** Where relative paths of the command line start. */
  readonly cwd: string;
  readonly home: string;
  /** Throws as `readFileSync` does. */
  readonly read: (path: string) => string;
  /** What is the project's name while variables are filled in. */
  readonly name: string;
}

/** A compose file that was read, checked and merged. */
export interface Project {
  readonly tree: Fields;
  readonly file: ComposeFile;
  readonly problems: Problems;
  /** The variables that it was filled in with. */
  readonly lookup: Lookup;
  at(path: Path): Place;
}

/** Throws ClusterError with all that is wrong, a line each. */
export function loadCompose(options: LoadOptions): Project {
  const problems = new Problems();
  if (options.files.length === 0)
    throw new ClusterError('invalid-argument', 'a compose file is needed: --compose-file FILE');
  const folder = startFolder(options);
  const lookup = lookupOf(options, folder, problems);
  problems.throwIfAny();
  const loader = new Loader(options, problems);
  const merged = loader.project(options.files, folder, lookup, []);
  problems.throwIfAny();
  const tree = withProfiles(settled(merged) as Fields, [...options.profiles]);
  const file = toPlain(tree) as unknown as ComposeFile;
  return { tree, file, problems, lookup, at: (path) => placeOf(tree, path) };
}

/** The name that the files give their project, for whoever names none; the last of several counts. */
export function nameIn(options: Omit<LoadOptions, 'name'>): string | undefined {
  const problems = new Problems();
  const given = { ...options, name: '' };
  const lookup = lookupOf(given, startFolder(options), problems);
  const loader = new Loader(given, problems);
  const names = options.files.flatMap((file) => loader.names(file, lookup));
  problems.throwIfAny();
  return names.at(-1);
}

/** Where the relative paths of the files start. */
export const startFolder = ({ files: [first = ''], cwd }: Pick<LoadOptions, 'files' | 'cwd'>): string =>
  isStandardInput(first) ? cwd : dirname(resolve(cwd, first));

const isStandardInput = (file: string): boolean => file === '-' || file === '/dev/stdin';

/** The environment counts before the files. */
function lookupOf(options: LoadOptions, folder: string, problems: Problems): Lookup {
  const base: Lookup = (name) => options.env[name] ?? (name === 'COMPOSE_PROJECT_NAME' ? options.name : undefined);
  const given = options.envFiles?.map((file) => ({ file, path: resolve(options.cwd, file), mayMiss: false }));
  const usual = join(folder, '.env');
  return withVariables(given ?? [{ file: shown(usual, options), path: usual, mayMiss: true }], base, options, problems);
}

interface VariablesSource {
  readonly file: string;
  readonly path: string;
  readonly mayMiss: boolean;
}

function withVariables(
  files: readonly VariablesSource[],
  base: Lookup,
  options: LoadOptions,
  problems: Problems,
): Lookup {
  const found = new Map<string, string>();
  for (const { file, path, mayMiss } of files) {
    const text = readText(path, options, mayMiss);
    if (text === undefined) continue;
    const lookup: Lookup = (name) => base(name) ?? found.get(name);
    for (const [name, value] of parseDotenv(text, { file, lookup }, problems)) found.set(name, value);
  }
  return (name) => base(name) ?? found.get(name);
}

function readText(path: string, options: LoadOptions, mayMiss = false): string | undefined {
  try {
    return options.read(path);
  } catch (error) {
    if (mayMiss && isAbsent(error)) return undefined;
    throw new ClusterError('invalid-argument', `cannot read ${shown(path, options)}: ${whyUnread(error)}`);
  }
}

/** A path as the user would name it. */
export function shown(path: string, { cwd }: Pick<LoadOptions, 'cwd'>): string {
  const near = relative(cwd, path);
  return near === '' || near.startsWith('../../') ? path : near;
}

/** What names another file. */
interface Mention {
  readonly at: Place;
  readonly path: Path;
}

/** One document of a file, as it stands there. */
interface Layer {
  readonly tree: Fields;
  /** Absolute. */
  readonly path: string;
}

class Loader {
  readonly #options: LoadOptions;
  readonly #problems: Problems;

  constructor(options: LoadOptions, problems: Problems) {
    this.#options = options;
    this.#problems = problems;
  }

  /** `within`: the files that include this one, to see when one comes back to itself. */
  project(
    files: readonly string[],
    folder: string,
    lookup: Lookup,
    within: readonly string[],
    mention?: Mention,
  ): Fields {
    let merged: Tree | undefined;
    for (const file of files) {
      for (const layer of this.#layers(file, folder, lookup, mention)) {
        const complete = this.#withIncluded(this.#withExtended(layer, lookup), lookup, [...within, layer.path]);
        merged = merged ? composeFile.merge(merged, complete) : complete;
      }
    }
    return (merged ?? fields({ file: files[0] ?? '', line: 1, column: 1 }, new Map())) as Fields;
  }

  /** Its documents, filled in and in canonical form. */
  #layers(file: string, folder: string, lookup: Lookup, mention?: Mention): Layer[] {
    const { path, name } = this.#named(file);
    const spot: Spot = { problems: this.#problems, path: [], folder, home: this.#options.home };
    return parseYaml(this.#text(path, mention), name, this.#problems).flatMap((document) => {
      const tree = composeFile.read(interpolate(document, lookup, this.#problems), spot);
      return tree?.kind === 'map' ? [{ tree, path }] : [];
    });
  }

  /** The names that a file's documents give the project; what else is wrong with them is said when they are read as a whole. */
  names(file: string, lookup: Lookup): string[] {
    const { path, name } = this.#named(file);
    return parseYaml(this.#text(path, undefined), name, this.#problems).flatMap((document) => {
      const value = document.kind === 'map' ? document.entries.get('name')?.value : undefined;
      if (value?.kind !== 'leaf' || isNull(value)) return [];
      const filled = interpolate(value, lookup, this.#problems, ['name']);
      return filled.kind === 'leaf' ? [filled.text] : [];
    });
  }

  #named(file: string): { readonly path: string; readonly name: string } {
    if (isStandardInput(file)) return { path: file, name: 'standard input' };
    const path = resolve(this.#options.cwd, file);
    return { path, name: shown(path, this.#options) };
  }

  #text(path: string, mention: Mention | undefined): string {
    try {
      return readText(path, this.#options) ?? '';
    } catch (error) {
      if (!mention) throw error;
      this.#problems.error(mention.at, mention.path, messageOf(error));
      return '';
    }
  }

  // --- extends ---

  #withExtended({ tree, path }: Layer, lookup: Lookup): Fields {
    const services = tree.entries.get('services');
    if (services?.value.kind !== 'map') return tree;
    const extended = new Map<string, Entry>();
    for (const [name, entry] of services.value.entries) {
      extended.set(name, { ...entry, value: this.#extended(name, { tree, path }, lookup, []) ?? entry.value });
    }
    const value = fields(services.value.at, extended, services.value.tag);
    return fields(tree.at, new Map([...tree.entries, ['services', { ...services, value }]]), tree.tag);
  }

  /** A service of a layer, laid over what it extends; `chain`: those that extend it. */
  #extended(name: string, layer: Layer, lookup: Lookup, chain: readonly string[]): Tree | undefined {
    const own = members(layer.tree, 'services').get(name)?.value;
    const wish = own?.kind === 'map' ? own.entries.get('extends') : undefined;
    if (own?.kind !== 'map' || wish?.value.kind !== 'map' || wish.value.tag === 'reset') return own;
    const mention = { at: wish.key, path: ['services', name, 'extends'] };
    const { service: wanted = '', file } = toPlain(wish.value) as { service?: string; file?: string };
    const links = [...chain, `${layer.path} ${name}`];
    if (links.includes(`${file ?? layer.path} ${wanted}`)) {
      this.#problems.error(mention.at, mention.path, `${wanted} extends this service itself`);
      return own;
    }
    const from = file === undefined ? layer : this.#layers(file, dirname(file), lookup, mention)[0];
    const base = from && this.#extended(wanted, from, lookup, links);
    if (!base) {
      const known = from ? [...members(from.tree, 'services').keys()] : [];
      if (from) this.#problems.error(mention.at, mention.path, `there is no service ${wanted}${help(wanted, known)}`);
      return own;
    }
    const rest = fields(own.at, new Map([...own.entries].filter(([key]) => key !== 'extends')));
    return { ...serviceShape.merge(base, rest), tag: own.tag };
  }

  // --- include ---

  #withIncluded(layer: Fields, lookup: Lookup, within: readonly string[]): Fields {
    const wish = layer.entries.get('include');
    if (!wish) return layer;
    let result: Tree = fields(layer.at, new Map([...layer.entries].filter(([key]) => key !== 'include')), layer.tag);
    const list = toPlain(wish.value) as unknown as readonly Include[];
    for (const [i, one] of list.entries()) {
      const place: Path = ['include', i];
      const at = placeOf(layer, place);
      const [first, ...others] = one.path ?? [];
      if (first === undefined) {
        this.#problems.error(at, place, 'the path of a compose file is missing');
        continue;
      }
      if (within.includes(first)) {
        this.#problems.error(at, place, `${shown(first, this.#options)} includes this file itself`);
        continue;
      }
      const home = one.project_directory ?? dirname(first);
      const variables = one.env_file ?? [join(home, '.env')];
      const mayMiss = one.env_file === undefined;
      const sources = variables.map((path) => ({ file: shown(path, this.#options), path, mayMiss }));
      const filled = withVariables(sources, lookup, this.#options, this.#problems);
      const files = [first, ...others];
      const included = settled(this.project(files, home, filled, within, { at, path: place })) as Fields;
      result = this.#joined(result as Fields, included, at);
    }
    return result as Fields;
  }

  /** What both have must be the same. */
  #joined(own: Fields, included: Fields, at: Place): Fields {
    const entries = new Map(own.entries);
    for (const table of tables) {
      const theirs = members(included, table);
      if (theirs.size === 0) continue;
      const ours = members(own, table);
      for (const [name, entry] of theirs) {
        const other = ours.get(name);
        if (other && JSON.stringify(toPlain(other.value)) !== JSON.stringify(toPlain(entry.value))) {
          const { file, line } = entry.key;
          this.#problems.error(other.key, [table, name], `it is another one in ${file}:${line}, which is included`);
        }
      }
      entries.set(table, { key: entries.get(table)?.key ?? at, value: fields(at, new Map([...theirs, ...ours])) });
    }
    return fields(own.at, entries, own.tag);
  }
}

const members = (tree: Fields, table: string): ReadonlyMap<string, Entry> => {
  const value = tree.entries.get(table)?.value;
  return value?.kind === 'map' ? value.entries : new Map();
};

/** `; did you mean …?`, or what there is. */
export function help(word: string, known: readonly string[]): string {
  const near = suggestion(word, known);
  if (near) return `; did you mean ${near}?`;
  return known.length > 0 ? `; there are ${known.join(', ')}` : '';
}

/** Without the services whose profiles nobody asked for. */
function withProfiles(tree: Fields, wanted: readonly string[]): Fields {
  const services = tree.entries.get('services');
  if (services?.value.kind !== 'map') return tree;
  const kept = [...services.value.entries].filter(([, { value }]) => {
    const { profiles = [] } = toPlain(value) as { profiles?: readonly string[] };
    return profiles.length === 0 || wanted.includes('*') || profiles.some((one) => wanted.includes(one));
  });
  const value = fields(services.value.at, new Map(kept));
  return fields(tree.at, new Map([...tree.entries, ['services', { ...services, value }]]));
}
