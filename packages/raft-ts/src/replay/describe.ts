import { decodeConfChange } from '../core/conf-change-codec.ts';
import { describeChanges, hex, messageName, roleName } from '../core/describe.ts';
import {
  type ConfState,
  type Entry,
  type EntryType,
  type HardState,
  localAppendThread,
  localApplyThread,
  type Message,
  type Ready,
  type Snapshot,
} from '../core/types.ts';

// Batches of work, messages and entries in words, in the forms that the scripts expect.

/** Bytes in double quotes, as Go's %q has them. */
export function quote(data: Uint8Array): string {
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(data);
  const isUtf8 = Buffer.from(text).equals(data);
  const units = isUtf8 ? [...text] : [...data].map((byte) => String.fromCharCode(byte));
  return `"${units.map((unit) => quoteUnit(unit, isUtf8)).join('')}"`;
}

const escapes: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
};

function quoteUnit(unit: string, isUtf8: boolean): string {
  const short = escapes[unit];
  if (short !== undefined) return short;
  const code = unit.codePointAt(0)!;
  if (code < 0x20 || code === 0x7f || (!isUtf8 && code > 0x7f)) return `\\x${code.toString(16).padStart(2, '0')}`;
  return unit;
}

const entryNames: Readonly<Record<EntryType, string>> = {
  normal: 'EntryNormal',
  'conf-change': 'EntryConfChange',
  'conf-change-v2': 'EntryConfChangeV2',
};

export function describeEntry({ type, term, index, data }: Entry): string {
  const what = type === 'normal' ? quote(data) : describeChanges(decodeConfChange(type, data).changes);
  return `${term}/${index} ${entryNames[type]}${what === '' ? '' : ` ${what}`}`;
}

export const describeEntries = (entries: readonly Entry[]): string =>
  entries.map((entry) => `${describeEntry(entry)}\n`).join('');

const list = (ids: readonly number[]): string => `[${ids.join(' ')}]`;

const describeConfState = (conf: ConfState): string =>
  `Voters:${list(conf.voters)} VotersOutgoing:${list(conf.votersOutgoing)} Learners:${list(conf.learners)} ` +
  `LearnersNext:${list(conf.learnersNext)} AutoLeave:${conf.autoLeave}`;

const describeSnapshot = ({ meta }: Snapshot): string =>
  `Index:${meta.index} Term:${meta.term} ConfState:${describeConfState(meta.confState)}`;

function describeTarget(id: number): string {
  if (id === 0) return 'None';
  if (id === localAppendThread) return 'AppendThread';
  return id === localApplyThread ? 'ApplyThread' : hex(id);
}

export function describeMessage(m: Message, indent = ''): string {
  let text =
    `${indent}${describeTarget(m.from)}->${describeTarget(m.to)} ${messageName(m.type)} ` +
    `Term:${m.term} Log:${m.logTerm}/${m.index}`;
  if (m.reject) text += ` Rejected (Hint: ${m.rejectHint})`;
  if (m.commit !== 0) text += ` Commit:${m.commit}`;
  if (m.vote !== 0) text += ` Vote:${m.vote}`;
  if (m.entries.length === 1) {
    text += ` Entries:[${describeEntry(m.entries[0]!)}]`;
  } else if (m.entries.length > 1) {
    text += ` Entries:[${m.entries.map((entry) => `\n${indent}  ${describeEntry(entry)}`).join('')}\n${indent}]`;
  }
  if (m.snapshot !== undefined && m.snapshot.meta.index !== 0) {
    text += `\n${indent}  Snapshot: ${describeSnapshot(m.snapshot)}`;
  }
  if (m.responses.length > 0) {
    const responses = m.responses.map((response) => `\n${describeMessage(response, `${indent}  `)}`);
    text += ` Responses:[${responses.join('')}\n${indent}]`;
  }
  return text;
}

const describeHardState = ({ term, vote, commit }: HardState): string =>
  `Term:${term}${vote === 0 ? '' : ` Vote:${vote}`} Commit:${commit}`;

export function describeReady(ready: Ready): string {
  let text = '';
  const { softState, hardState, snapshot } = ready;
  if (softState !== undefined) text += `Lead:${softState.leader} State:${roleName(softState.role)}\n`;
  if (hardState !== undefined) text += `HardState ${describeHardState(hardState)}\n`;
  if (ready.readStates.length > 0) {
    const reads = ready.readStates.map(({ index, context }) => `{${index} [${context.join(' ')}]}`);
    text += `ReadStates [${reads.join(' ')}]\n`;
  }
  if (ready.entries.length > 0) text += `Entries:\n${describeEntries(ready.entries)}`;
  if (snapshot !== undefined) text += `Snapshot ${describeSnapshot(snapshot)}\n`;
  if (ready.committedEntries.length > 0) text += `CommittedEntries:\n${describeEntries(ready.committedEntries)}`;
  if (ready.messages.length > 0) text += `Messages:\n${ready.messages.map((m) => `${describeMessage(m)}\n`).join('')}`;
  return text === '' ? '<empty Ready>' : `Ready MustSync=${ready.mustSync}:\n${text}`;
}
