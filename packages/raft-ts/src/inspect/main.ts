import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { Sealer } from '../host/types.ts';
import { nodeFileSystem } from '../wal/file-system.ts';
import { type Finding, inspect } from './inspect.ts';

// raft-ts inspect DIR: prints what a member's folder holds. 0 when all is well, 1 on damage, 2 on wrong use and what the system refuses.

const usage = `usage: raft-ts inspect DIR [--entries FROM..TO] [--sealer MODULE] [--json | --summary]
  DIR               a member's folder, the one with wal/ and snap/; it is only read
  --entries A..B    a line for each entry with an index from A to B
  --sealer MODULE   a module whose default export opens what this member's sealer closed
  --json            one JSON object a line
  --summary         only the last line, what it amounts to
  --help            this
exits with 0 when all is well, 1 on damage, 2 on wrong use or when the system refuses
`;

interface Options {
  readonly range: readonly [number, number] | undefined;
  readonly json: boolean;
  readonly summary: boolean;
}

export async function main(args: readonly string[], out: (text: string) => void): Promise<number> {
  try {
    const parsed = parse(args);
    if (parsed === 'help') {
      out(usage);
      return 0;
    }
    return await print(parsed, out);
  } catch (error) {
    out(`raft-ts: ${firstLine(error)}\n`);
    if (error instanceof WrongUse) out(usage);
    return isDamage(error) ? 1 : 2;
  }
}

async function print(
  { dir, sealer: path, ...options }: Options & { dir: string; sealer: string | undefined },
  out: (text: string) => void,
): Promise<number> {
  const sealer = path === undefined ? undefined : await loadSealer(path);
  const summary = new Summary();
  let damaged = false;
  for await (const finding of inspect(dir, { fileSystem: nodeFileSystem, ...(sealer && { sealer }) })) {
    damaged ||= finding.kind === 'damage';
    summary.add(finding);
    if (options.summary) continue;
    out(options.json ? `${JSON.stringify(finding)}\n` : show(finding, options));
  }
  if (!options.json) out(`${summary.show()}\n`);
  return damaged ? 1 : 0;
}

class WrongUse extends Error {}

/** What stands where something else was made, or cannot be read off the disk any more. */
const isDamage = (error: unknown): boolean =>
  ['EISDIR', 'ENOTDIR', 'ELOOP', 'EIO'].includes((error as NodeJS.ErrnoException).code ?? '');

const firstLine = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';

async function loadSealer(path: string): Promise<Sealer> {
  let module: { readonly default?: Partial<Sealer> };
  try {
    module = (await import(pathToFileURL(resolve(path)).href)) as typeof module;
  } catch (error) {
    throw new Error(`the sealer cannot be loaded from ${path}: ${firstLine(error)}`);
  }
  if (typeof module.default?.open !== 'function')
    throw new Error(
      `the default export of ${path} is no sealer: it must have open(sealed), which returns what was closed`,
    );
  return module.default as Sealer;
}

function parse(args: readonly string[]): (Options & { dir: string; sealer: string | undefined }) | 'help' {
  const { values, positionals } = parseFlags(args);
  if (values.help) return 'help';
  const [command, dir, ...rest] = positionals;
  if (command !== 'inspect' || dir === undefined || rest.length > 0)
    throw new WrongUse('one command, inspect, and one folder');
  const there = ['wal', 'wal.extent'].some((name) => existsSync(resolve(dir, name)));
  if (!there) throw new WrongUse(`there is no log in ${dir}: neither wal nor wal.extent`);
  const range = /^(\d+)\.\.(\d+)$/.exec(values.entries ?? '');
  if (values.entries !== undefined && range === null)
    throw new WrongUse(`--entries must be FROM..TO, not '${values.entries}'`);
  if (values.json && values.summary) throw new WrongUse('one of --json and --summary');
  return {
    dir,
    sealer: values.sealer,
    json: values.json,
    summary: values.summary,
    range: range ? [Number(range[1]), Number(range[2])] : undefined,
  };
}

function parseFlags(args: readonly string[]) {
  const flag = { type: 'boolean', default: false } as const;
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        entries: { type: 'string' },
        sealer: { type: 'string' },
        json: flag,
        summary: flag,
        help: { ...flag, short: 'h' },
      },
    });
  } catch (error) {
    throw new WrongUse(firstLine(error));
  }
}

const id = ({ index, term }: { index: number; term: number }) => `${index} (term ${term})`;

function show(finding: Finding, { range }: Options): string {
  switch (finding.kind) {
    case 'extent': {
      const { file, member, first, last, sequence, keyId } = finding;
      const what = `segments ${first} to ${last} and the records below ${sequence} must be there`;
      return `${file}: member ${member}; ${what}; sealed with key '${keyId}'\n`;
    }
    case 'segment':
      return `${finding.file}: ${finding.bytes} bytes\n`;
    case 'snapshot':
      return `${finding.file}: ${finding.bytes} bytes in ${finding.frames} frames, whole\n`;
    case 'torn':
      return `  ${finding.offset}: torn: a write that was, or is, under way; the next start cuts it off\n`;
    case 'damage':
      return `DAMAGED ${finding.file} at offset ${finding.offset}: ${finding.reason}\n`;
    case 'record':
      return showRecord(finding, range);
    default:
      return finding satisfies never;
  }
}

function showRecord(record: Extract<Finding, { kind: 'record' }>, range: Options['range']): string {
  const { offset, type, sequence, bytes, sealed, entries, member, hardState, installed, compacted } = record;
  const [first, last] = [entries[0], entries.at(-1)];
  const parts = [
    ...(sealed ? ['sealed'] : []),
    ...(member === undefined ? [] : [`member ${member}`]),
    ...(first && last ? [`entries ${first.index}..${last.index}, term ${first.term}..${last.term}`] : []),
    ...(hardState ? [`term ${hardState.term} vote ${hardState.vote} commit ${hardState.commit}`] : []),
    ...(installed ? [`begins anew behind snapshot ${id(installed)}`] : []),
    ...(compacted?.snapshot.index
      ? [`snapshot ${id(compacted.snapshot)}, compacted to ${compacted.before.index}`]
      : []),
  ];
  const chosen = range ? entries.filter(({ index }) => index >= range[0] && index <= range[1]) : [];
  const lines = chosen.map((one) => `      ${one.index} term ${one.term} ${one.type} ${one.bytes} bytes\n`);
  return `  ${offset}: ${type} ${sequence}, ${bytes} bytes: ${parts.join('; ')}\n${lines.join('')}`;
}

/** What it amounts to. */
class Summary {
  #records = 0;
  #sealed = 0;
  #damages = 0;
  #member: number | undefined;
  #state = '';
  #last = 0;

  add(finding: Finding): void {
    if (finding.kind === 'damage') this.#damages++;
    if (finding.kind !== 'record') return;
    this.#records++;
    if (finding.sealed) this.#sealed++;
    this.#member = finding.member ?? this.#member;
    this.#last = finding.entries.at(-1)?.index ?? finding.installed?.index ?? this.#last;
    const { hardState } = finding;
    if (hardState)
      this.#state = `, term ${hardState.term}, vote ${hardState.vote}, commit at least ${hardState.commit}`;
  }

  show(): string {
    const known = this.#member === undefined ? '' : `; member ${this.#member}, last entry ${this.#last}${this.#state}`;
    const sealed = this.#sealed > 0 ? ` (${this.#sealed} sealed: give --sealer)` : '';
    const damage = this.#damages > 0 ? `; ${this.#damages} damaged` : '; nothing damaged';
    return `${this.#records} records${sealed}${known}${damage}`;
  }
}
