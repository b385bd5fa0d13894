import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { Sealer } from '../host/types.ts';
import { nodeFileSystem } from '../wal/file-system.ts';
import { type Finding, inspect } from './inspect.ts';

// raft-ts inspect DIR: prints what a member's folder holds. 0 when all is well, 1 on damage, 2 on wrong use.

const usage = `usage: raft-ts inspect DIR [--entries FROM..TO] [--sealer MODULE] [--json]
  DIR               a member's folder, the one with wal/ and snap/; it is only read
  --entries A..B    a line for each entry with an index from A to B
  --sealer MODULE   a module whose default export opens what this member's sealer closed
  --json            one JSON object a line
`;

interface Options {
  readonly range: readonly [number, number] | undefined;
  readonly json: boolean;
}

export async function main(args: readonly string[], out: (text: string) => void): Promise<number> {
  const parsed = parse(args);
  if (typeof parsed === 'string') {
    out(`${parsed}\n${usage}`);
    return 2;
  }
  const { dir, sealer: path, ...options } = parsed;
  const sealer = path && ((await import(pathToFileURL(resolve(path)).href)) as { default: Sealer }).default;
  const summary = new Summary();
  let damaged = false;
  for await (const finding of inspect(dir, { fileSystem: nodeFileSystem, ...(sealer && { sealer }) })) {
    damaged ||= finding.kind === 'damage';
    summary.add(finding);
    out(options.json ? `${JSON.stringify(finding)}\n` : show(finding, options));
  }
  if (!options.json) out(`${summary.show()}\n`);
  return damaged ? 1 : 0;
}

function parse(args: readonly string[]): (Options & { dir: string; sealer: string | undefined }) | string {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { entries: { type: 'string' }, sealer: { type: 'string' }, json: { type: 'boolean', default: false } },
    });
    const [command, dir, ...rest] = positionals;
    if (command !== 'inspect' || dir === undefined || rest.length > 0)
      return 'raft-ts: one command, inspect, and one folder';
    const there = ['wal', 'wal.extent'].some((name) => existsSync(resolve(dir, name)));
    if (!there) return `raft-ts: there is no log in ${dir}: neither wal nor wal.extent`;
    const range = /^(\d+)\.\.(\d+)$/.exec(values.entries ?? '');
    if (values.entries !== undefined && range === null)
      return `raft-ts: --entries must be FROM..TO, not '${values.entries}'`;
    return {
      dir,
      sealer: values.sealer,
      json: values.json,
      range: range ? [Number(range[1]), Number(range[2])] : undefined,
    };
  } catch (error) {
    return `raft-ts: ${error instanceof Error ? error.message : String(error)}`;
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
