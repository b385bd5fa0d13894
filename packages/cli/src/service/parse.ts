import { readFileSync } from 'node:fs';
import { ClusterError } from '@swarmctl/shared/kit';
import { formatIp, type Mount, type PortConfig, parseIp } from '@swarmctl/shared/model';
import { bytes, oneOf, suggestion } from '../units.ts';

// The values of service flags that have a syntax of their own: ports, mounts, environment, ulimits, key=value pairs.

export const bad = (flag: string, value: string, why: string) =>
  new ClusterError('invalid-argument', `invalid argument ${JSON.stringify(value)} for "--${flag}": ${why}`);

/** `key=value`; without `=` the value is empty. */
export function pair(flag: string, text: string): readonly [string, string] {
  const at = text.indexOf('=');
  const key = at < 0 ? text : text.slice(0, at);
  if (key === '') throw bad(flag, text, 'expected key=value');
  return [key, at < 0 ? '' : text.slice(at + 1)];
}

/** `NAME` alone takes the value from this environment, as Docker does. */
export function envEntry(
  flag: string,
  text: string,
  env: Readonly<Record<string, string | undefined>>,
): string | undefined {
  const [name] = pair(flag, text);
  if (text.includes('=')) return text;
  const value = env[name];
  return value === undefined ? undefined : `${name}=${value}`;
}

export function envFile(flag: string, path: string, env: Readonly<Record<string, string | undefined>>): string[] {
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (error) {
    throw bad(flag, path, error instanceof Error ? error.message : String(error));
  }
  return content
    .split(/\r?\n/)
    .map((line) => line.trimStart())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .flatMap((line) => envEntry(flag, line, env) ?? []);
}

/** Comma-separated `key=value` fields; values may be quoted as in CSV. */
export function fields(flag: string, text: string): ReadonlyMap<string, string> {
  const result = new Map<string, string>();
  for (const [, quoted, plain] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^,]+))(?:,|$)/g)) {
    const [key, value] = pair(flag, quoted?.replaceAll('""', '"') ?? plain ?? '');
    result.set(key.toLowerCase(), value);
  }
  return result;
}

function unknownField(flag: string, text: string, key: string, known: readonly string[]): never {
  const near = suggestion(key, known);
  throw bad(flag, text, `unknown field '${key}'${near ? `; did you mean '${near}'?` : `; known: ${known.join(', ')}`}`);
}

const portFields = ['target', 'published', 'protocol', 'mode'];

/** `front`, or `name=front,alias=web,alias=www`. */
export function attachment(flag: string, text: string): { target: string; aliases: readonly string[] } {
  if (!text.includes('=')) return { target: text, aliases: [] };
  let target = '';
  const aliases: string[] = [];
  for (const part of text.split(',')) {
    const [key = '', value = ''] = part.split(/=(.*)/s, 2);
    if (value === '') throw bad(flag, text, `'${part}' is not KEY=VALUE`);
    if (key === 'name') target = value;
    else if (key === 'alias') aliases.push(value);
    else throw bad(flag, text, `unknown key '${key}'; known: name, alias`);
  }
  if (target === '') throw bad(flag, text, 'the name of the network is missing');
  return { target, aliases };
}

export interface Published {
  readonly ports: readonly PortConfig[];
  /** Where they answer, in canonical form; absent: on every address. */
  readonly address?: string;
}

/**
 * `8080:80`, `8080:80/udp`, `8000-8002:80-82`, `80`, `10.0.0.5:8080:80`, `[fd00::5]:8080:80`, or
 * `published=8080,target=80,protocol=tcp,mode=ingress`.
 */
export function published(flag: string, text: string): Published {
  if (text.includes('=')) {
    const given = fields(flag, text);
    for (const key of given.keys()) if (!portFields.includes(key)) unknownField(flag, text, key, portFields);
    const target = given.get('target');
    if (target === undefined) throw bad(flag, text, 'target=PORT is required');
    const [protocol, mode] = [given.get('protocol') ?? 'tcp', given.get('mode') ?? 'ingress'];
    return { ports: spans(flag, text, given.get('published'), target, protocol, mode) };
  }
  const [mapping = '', protocol = 'tcp', ...more] = text.split('/');
  const match = /^(?:(?:\[([^\]]*)\]|([^:[\]]*)):(?=[^:]*:))?(?:([^:]*):)?([^:]*)$/.exec(mapping);
  if (more.length > 0 || !match)
    throw bad(flag, text, 'expected [[ADDRESS:]PUBLISHED:]TARGET[/PROTOCOL], an IPv6 address in brackets');
  const [, bracketed, plain, from, target = ''] = match;
  const given = bracketed ?? plain;
  const address = given === undefined ? undefined : oneAddress(flag, text, given);
  if (address !== undefined && !from)
    throw bad(flag, text, 'an address needs a published port: ADDRESS:PUBLISHED:TARGET');
  const ports = spans(flag, text, from, target, protocol, 'ingress');
  return { ports, ...(address !== undefined && { address }) };
}

function oneAddress(flag: string, text: string, given: string): string {
  const ip = parseIp(given);
  if (!ip) throw bad(flag, text, `'${given}' is not an IP address`);
  if (ip.value === 0n) throw bad(flag, text, `leave out ${given}: without an address every one answers`);
  return formatIp(ip);
}

function spans(
  flag: string,
  text: string,
  published: string | undefined,
  target: string,
  protocol: string,
  mode: string,
): PortConfig[] {
  const to = span(flag, text, target);
  const from = published === undefined || published === '' ? undefined : span(flag, text, published);
  if (from && from.length !== to.length)
    throw bad(flag, text, `${from.length} published ports do not fit ${to.length} target ports`);
  return to.map((port, i) => ({
    Protocol: oneOf(flag, protocol, ['tcp', 'udp', 'sctp']),
    TargetPort: port,
    ...(from && { PublishedPort: from[i] ?? 0 }),
    PublishMode: oneOf(flag, mode, ['ingress', 'host']),
  }));
}

function span(flag: string, text: string, range: string): number[] {
  const match = /^(\d+)(?:-(\d+))?$/.exec(range);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (!match || first < 1 || last > 65535 || last < first)
    throw bad(flag, text, `'${range}' is not a port from 1 to 65535 or a range of ports`);
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

const yes = (value: string) => ['', '1', 'true'].includes(value.toLowerCase());
const mountFields = [
  'type',
  'source',
  'src',
  'target',
  'destination',
  'dst',
  'readonly',
  'ro',
  'consistency',
  'bind-propagation',
  'bind-nonrecursive',
  'volume-driver',
  'volume-label',
  'volume-nocopy',
  'volume-opt',
  'volume-subpath',
  'tmpfs-size',
  'tmpfs-mode',
];

/** `type=bind,source=/a,target=/b,readonly`, with Docker's fields. */
export function mount(flag: string, text: string): Mount {
  const labels: Record<string, string> = {};
  const driverOptions: Record<string, string> = {};
  const given = new Map<string, string>();
  for (const [, quoted, plain] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^,]+))(?:,|$)/g)) {
    const [key, value] = pair(flag, quoted?.replaceAll('""', '"') ?? plain ?? '');
    if (!mountFields.includes(key.toLowerCase())) unknownField(flag, text, key, mountFields);
    if (key === 'volume-label') labels[pair(flag, value)[0]] = pair(flag, value)[1];
    else if (key === 'volume-opt') driverOptions[pair(flag, value)[0]] = pair(flag, value)[1];
    else given.set(key.toLowerCase(), value);
  }
  const first = (...names: string[]) => names.map((name) => given.get(name)).find((value) => value !== undefined);
  const type = oneOf(flag, given.get('type') ?? 'volume', ['bind', 'volume', 'tmpfs']);
  const target = first('target', 'destination', 'dst');
  if (!target) throw bad(flag, text, 'target=PATH is required');
  const readOnly = first('readonly', 'ro');
  const source = first('source', 'src');
  const volume = {
    ...(given.has('volume-nocopy') && { NoCopy: yes(given.get('volume-nocopy') ?? '') }),
    ...(Object.keys(labels).length > 0 && { Labels: labels }),
    ...(given.has('volume-subpath') && { Subpath: given.get('volume-subpath') ?? '' }),
    ...((given.has('volume-driver') || Object.keys(driverOptions).length > 0) && {
      DriverConfig: { Name: given.get('volume-driver') ?? 'local', Options: driverOptions },
    }),
  };
  const bind = {
    ...(given.has('bind-propagation') && { Propagation: given.get('bind-propagation') ?? '' }),
    ...(given.has('bind-nonrecursive') && { NonRecursive: yes(given.get('bind-nonrecursive') ?? '') }),
  };
  const tmpfs = {
    ...(given.has('tmpfs-size') && { SizeBytes: bytes(flag, given.get('tmpfs-size') ?? '') }),
    ...(given.has('tmpfs-mode') && { Mode: Number.parseInt(given.get('tmpfs-mode') ?? '', 8) }),
  };
  const misplaced = (
    [
      ['bind', bind],
      ['volume', volume],
      ['tmpfs', tmpfs],
    ] as const
  ).find(([kind, options]) => kind !== type && Object.keys(options).length > 0);
  if (misplaced) throw bad(flag, text, `${misplaced[0]} options do not fit a mount of type ${type}`);
  return {
    Type: type,
    ...(source !== undefined && { Source: source }),
    Target: target,
    ...(readOnly !== undefined && { ReadOnly: yes(readOnly) }),
    ...(given.has('consistency') && { Consistency: given.get('consistency') ?? '' }),
    ...(Object.keys(bind).length > 0 && { BindOptions: bind }),
    ...(Object.keys(volume).length > 0 && { VolumeOptions: volume }),
    ...(Object.keys(tmpfs).length > 0 && { TmpfsOptions: tmpfs }),
  };
}

/** `nofile=1024:2048` or `nofile=1024`. */
export function ulimit(flag: string, text: string): { Name: string; Soft: number; Hard: number } {
  const match = /^([a-z]+)=(-?\d+)(?::(-?\d+))?$/.exec(text);
  if (!match) throw bad(flag, text, 'expected NAME=SOFT[:HARD], e.g. nofile=1024:2048');
  return { Name: match[1] ?? '', Soft: Number(match[2]), Hard: Number(match[3] ?? match[2]) };
}

/** `spread=node.labels.zone`. */
export function preference(flag: string, text: string): { Spread: { SpreadDescriptor: string } } {
  const [strategy, descriptor] = pair(flag, text);
  if (strategy !== 'spread' || !descriptor) throw bad(flag, text, 'expected spread=node.labels.NAME');
  return { Spread: { SpreadDescriptor: descriptor } };
}

/** A command line as a shell would split it: spaces, quotes, backslashes. */
export function shellWords(flag: string, text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let i = 0; i < text.length; i++) {
    const letter = text[i] ?? '';
    if (letter === '\\' && quote !== "'") word = (word ?? '') + (text[++i] ?? '');
    else if (quote) {
      if (letter === quote) quote = '';
      else word += letter;
    } else if (letter === '"' || letter === "'") {
      quote = letter;
      word ??= '';
    } else if (/\s/.test(letter)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? '') + letter;
  }
  if (quote) throw bad(flag, text, 'a quote is not closed');
  return word === undefined ? words : [...words, word];
}
