import { parseDurationMs } from '../model/durations.ts';
import { editDistance } from '../model/labels.ts';
import { ClusterError } from './errors.ts';

// Settings from flags over environment over a file, parsed once and strictly: what is not known is refused with the nearest name that is.

export interface Setting<T> {
  readonly describe: string;
  /** What stands for the value in the help text; absent for switches. */
  readonly value?: string;
  /** May be given several times. */
  readonly repeatable?: boolean;
  readonly default: T;
  /** `texts` are the values given: exactly one unless `repeatable`. `where` names the setting as it was written. */
  parse(texts: readonly string[], where: string): T;
}

export type Settings = Readonly<Record<string, Setting<unknown>>>;

type Camel<S extends string> = S extends `${infer A}-${infer B}` ? `${A}${Capitalize<Camel<B>>}` : S;
type Mutable<S extends Settings> = { [K in keyof S & string as Camel<K>]: S[K] extends Setting<infer T> ? T : never };
export type Config<S extends Settings> = Readonly<Mutable<S>>;

export interface Sources {
  /** By name without dashes; switches as `true` or `false`. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** `SWARMD_` makes `data-dir` SWARMD_DATA_DIR. */
  readonly envPrefix: string;
  /** Names with the prefix that are somebody else's. */
  readonly foreignEnv?: readonly string[];
  /** As YAML or JSON was parsed. */
  readonly file?: { readonly path: string; readonly content: unknown };
}

export function loadConfig<S extends Settings>(settings: S, sources: Sources): Config<S> {
  const names = Object.keys(settings);
  const { env, envPrefix, foreignEnv = [] } = sources;
  const fromFile = sources.file ? fileSettings(sources.file, names) : {};
  for (const flag of Object.keys(sources.flags))
    if (!names.includes(flag)) throw unknown(`unknown flag --${flag}`, flag, names, '--');
  for (const variable of Object.keys(env)) {
    if (!variable.startsWith(envPrefix) || foreignEnv.includes(variable)) continue;
    const variables = names.map((name) => envName(envPrefix, name));
    if (!variables.includes(variable) && near(variable, variables))
      throw unknown(`unknown environment variable ${variable}`, variable, variables, '');
  }
  const config: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(settings)) {
    const variable = envName(envPrefix, name);
    const given = [
      { where: `--${name}`, texts: textsOf(sources.flags[name], `--${name}`) },
      { where: variable, texts: splitEnv(env[variable], setting) },
      { where: `${name} in ${sources.file?.path}`, texts: textsOf(fromFile[name], `${name} in ${sources.file?.path}`) },
    ].find((source) => source.texts !== undefined);
    config[camel(name)] = given?.texts ? parsed(setting, given.texts, given.where) : setting.default;
  }
  return Object.freeze(config) as Config<S>;
}

function parsed(setting: Setting<unknown>, texts: readonly string[], where: string): unknown {
  if (!setting.repeatable && texts.length !== 1) throw invalid(`${where}: one value is expected, not ${texts.length}`);
  return setting.parse(texts, where);
}

function fileSettings(file: { path: string; content: unknown }, names: readonly string[]): Record<string, unknown> {
  const { content } = file;
  if (content === null || content === undefined) return {};
  if (typeof content !== 'object' || Array.isArray(content))
    throw invalid(`${file.path}: expected lines of the form 'name: value'`);
  for (const key of Object.keys(content))
    if (!names.includes(key)) throw unknown(`${file.path}: unknown key '${key}'`, key, names, '');
  return content as Record<string, unknown>;
}

/** Scalars become text, a map `name=value` each; undefined when there is none. */
function textsOf(value: unknown, where: string): string[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (Array.isArray(value)) return value.map((one) => scalar(one, where));
  if (typeof value === 'object') return Object.entries(value).map(([key, one]) => `${key}=${scalar(one, where)}`);
  return [scalar(value, where)];
}

function scalar(value: unknown, where: string): string {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return String(value);
  throw invalid(`${where}: expected a plain value`);
}

/** An empty variable counts as absent; lists are separated by commas. */
function splitEnv(value: string | undefined, setting: Setting<unknown>): string[] | undefined {
  if (value === undefined || value === '') return undefined;
  return setting.repeatable ? value.split(',').map((one) => one.trim()) : [value];
}

export const envName = (prefix: string, name: string): string => prefix + name.toUpperCase().replaceAll('-', '_');
const camel = (name: string): string => name.replaceAll(/-(.)/g, (_, letter: string) => letter.toUpperCase());

function near(word: string, candidates: readonly string[]): string | undefined {
  const [best] = candidates
    .map((candidate) => ({ candidate, distance: editDistance(word, candidate) }))
    .sort((a, b) => a.distance - b.distance);
  return best && best.distance <= Math.max(2, Math.floor(word.length / 3)) ? best.candidate : undefined;
}

function unknown(message: string, word: string, candidates: readonly string[], prefix: string): ClusterError {
  const suggestion = near(word, candidates);
  return invalid(suggestion ? `${message}; did you mean '${prefix}${suggestion}'?` : message);
}

const invalid = (message: string) => new ClusterError('invalid-argument', message);

// The kinds of setting.

const single = <T>(describe: string, value: string, fallback: T, parse: (text: string, where: string) => T) => ({
  describe,
  value,
  default: fallback,
  parse: ([text = '']: readonly string[], where: string) => parse(text, where),
});

export const text = <T extends string | undefined>(
  describe: string,
  value: string,
  fallback: T,
  check?: (text: string, where: string) => void,
): Setting<string | T> =>
  single<string | T>(describe, value, fallback, (given, where) => {
    if (given === '') throw invalid(`${where}: a value is missing`);
    check?.(given, where);
    return given;
  });

export const texts = (
  describe: string,
  value: string,
  check?: (text: string, where: string) => void,
): Setting<readonly string[]> => ({
  describe,
  value,
  repeatable: true,
  default: [],
  parse(given, where) {
    for (const one of given) check?.(one, where);
    return given;
  },
});

export const choice = <const T extends string>(
  describe: string,
  allowed: readonly T[],
  fallback: NoInfer<T>,
): Setting<T> =>
  single<T>(describe, allowed.join('|'), fallback, (given, where) => {
    const found = allowed.find((one) => one === given);
    if (found === undefined) throw invalid(`${where}: '${given}' is not one of ${allowed.join(', ')}`);
    return found;
  });

export const onOff = (describe: string): Setting<boolean> => ({
  describe,
  default: false,
  parse: ([given = ''], where) => {
    if (['true', '1', 'yes', 'on'].includes(given.toLowerCase())) return true;
    if (['false', '0', 'no', 'off'].includes(given.toLowerCase())) return false;
    throw invalid(`${where}: '${given}' is neither true nor false`);
  },
});

export const durationMs = (describe: string, fallbackMs: number): Setting<number> =>
  single(describe, 'DURATION', fallbackMs, (given, where) => {
    const ms = parseDurationMs(given);
    if (ms === undefined) throw invalid(`${where}: '${given}' is not a duration such as 30s, 1m30s or 500ms`);
    return ms;
  });

const factors: Record<string, number> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 };

export const sizeBytes = (describe: string, fallback = 0): Setting<number> =>
  single(describe, 'BYTES', fallback, (given, where) => {
    const match = /^(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?$/i.exec(given.trim());
    const factor = factors[match?.[2]?.toLowerCase() ?? ''];
    if (!match || factor === undefined) throw invalid(`${where}: '${given}' is not a size such as 512m or 1g`);
    return Math.round(Number(match[1]) * factor);
  });

export const amount = (describe: string, value: string): Setting<number> =>
  single(describe, value, 0, (given, where) => {
    const number = Number(given);
    if (given.trim() === '' || !Number.isFinite(number) || number < 0)
      throw invalid(`${where}: '${given}' is not a number such as 0.5`);
    return number;
  });
