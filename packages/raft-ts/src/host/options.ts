import { RaftError } from './errors.ts';
import type { RaftNodeModules, RaftNodeOptions, RaftTiming, RecoverModules, RecoverOptions, Start } from './types.ts';

// What a member is opened with, checked before anything is made: not every caller has a compiler that did so.

const defaultTiming: RaftTiming = { tickMs: 50, heartbeatTicks: 2, electionTicks: 8 };

/** The core keeps the two largest numbers for its local threads. */
const largestId = Number.MAX_SAFE_INTEGER - 2;
/** A longer interval is none to Node's timers. */
const largestTickMs = 2 ** 31 - 1;

type Given = Readonly<Record<string, unknown>>;

/** With defaults for what is absent. */
export function timingOf({ timing = {} }: RaftNodeOptions): RaftTiming {
  const { tickMs, heartbeatTicks, electionTicks } = timing;
  return {
    tickMs: tickMs ?? defaultTiming.tickMs,
    heartbeatTicks: heartbeatTicks ?? defaultTiming.heartbeatTicks,
    electionTicks: electionTicks ?? defaultTiming.electionTicks,
  };
}

/** Throws `invalid-options` for the first that cannot be right. */
export function checkOpening(options: RaftNodeOptions, modules: RaftNodeModules, start: Start): void {
  checkOptions(objectOf('options', options));
  checkModules(objectOf('modules', modules));
  checkStart(objectOf('start', start));
}

/** The same for a recovery. */
export function checkRecovery(options: RecoverOptions, modules: RecoverModules): void {
  const { from, to, random } = objectOf('options', options);
  const member = { from: objectOf('options.from', from), to: objectOf('options.to', to) };
  for (const name of ['from', 'to'] as const) {
    const { id, dir } = member[name];
    if (!isWhole(id, 1, largestId)) wrong(`options.${name}.id`, id, `a whole number from 1 to ${largestId}`);
    if (typeof dir !== 'string' || dir === '') wrong(`options.${name}.dir`, dir, 'the path of a folder');
  }
  const { id, address } = member.to;
  if (id === member.from['id']) wrong('options.to.id', id, 'another than options.from.id');
  if (typeof address !== 'string' || address === '')
    wrong('options.to.address', address, 'where other members will reach this one');
  needFunction('options.random', random);
  const given = objectOf('modules', modules);
  checkStorage(given);
  if (given['amend'] !== undefined) needFunction('modules.amend', given['amend']);
}

/** The number that a log is told from others by. */
export const newLogId = (options: Pick<RaftNodeOptions, 'random'>): number =>
  1 + Math.floor(drawOf(options) * (2 ** 52 - 1));

/** For the random number that tells this log from others. */
function drawOf({ random }: Pick<RaftNodeOptions, 'random'>): number {
  const drawn: unknown = random();
  if (typeof drawn !== 'number' || !(drawn >= 0 && drawn < 1))
    wrong('what options.random returns', drawn, 'a number from 0 to below 1');
  return drawn;
}

function checkOptions(options: Given): void {
  const { id, dir, timing, snapshotEntries, keepEntries, reads, random, onFatal, log } = options;
  if (!isWhole(id, 1, largestId)) wrong('options.id', id, `a whole number from 1 to ${largestId}`);
  if (typeof dir !== 'string' || dir === '') wrong('options.dir', dir, 'the path of a folder');
  if (timing !== undefined) objectOf('options.timing', timing);
  checkTiming(timingOf(options as unknown as RaftNodeOptions));
  if (!isWhole(snapshotEntries ?? 1, 1)) wrong('options.snapshotEntries', snapshotEntries, 'a whole number from 1');
  if (!isWhole(keepEntries ?? 0, 0)) wrong('options.keepEntries', keepEntries, 'a whole number from 0');
  if (![undefined, 'quorum', 'lease'].includes(reads as string)) wrong('options.reads', reads, '"quorum" or "lease"');
  needFunction('options.random', random);
  needFunction('options.onFatal', onFatal);
  if (log !== undefined) needFunction('options.log', log);
}

function checkTiming({ tickMs, heartbeatTicks, electionTicks }: RaftTiming): void {
  if (typeof tickMs !== 'number' || !(tickMs >= 1 && tickMs <= largestTickMs))
    wrong('options.timing.tickMs', tickMs, `a number from 1 to ${largestTickMs}`);
  if (!isWhole(heartbeatTicks, 1)) wrong('options.timing.heartbeatTicks', heartbeatTicks, 'a whole number from 1');
  if (!isWhole(electionTicks, heartbeatTicks + 1))
    wrong(
      'options.timing.electionTicks',
      electionTicks,
      `a whole number above heartbeatTicks, which is ${heartbeatTicks}`,
    );
}

function checkModules(modules: Given): void {
  checkStorage(modules);
  needFunction('modules.dial', modules['dial']);
}

function checkStorage(modules: Given): void {
  const machine = objectOf('modules.stateMachine', modules['stateMachine']);
  for (const name of ['apply', 'snapshot', 'restore']) needFunction(`modules.stateMachine.${name}`, machine[name]);
  if (machine['applied'] !== undefined) needFunction('modules.stateMachine.applied', machine['applied']);
  const sealer = objectOf('modules.sealer', modules['sealer']);
  if (typeof sealer['keyId'] !== 'string') wrong('modules.sealer.keyId', sealer['keyId'], 'a string');
  for (const name of ['seal', 'open']) needFunction(`modules.sealer.${name}`, sealer[name]);
}

function checkStart({ kind, address }: Given): void {
  if (!['bootstrap', 'join', 'restart'].includes(kind as string))
    wrong('start.kind', kind, '"bootstrap", "join" or "restart"');
  if (kind === 'bootstrap' && (typeof address !== 'string' || address === ''))
    wrong('start.address', address, 'where other members reach this one, as their dial understands it');
}

const isWhole = (value: unknown, from: number, to = Number.MAX_SAFE_INTEGER): boolean =>
  Number.isSafeInteger(value) && (value as number) >= from && (value as number) <= to;

function objectOf(option: string, value: unknown): Given {
  if (typeof value !== 'object' || value === null) wrong(option, value, 'an object');
  return value as Given;
}

function needFunction(option: string, value: unknown): void {
  if (typeof value !== 'function') wrong(option, value, 'a function');
}

function wrong(option: string, value: unknown, expected: string): never {
  const given = show(value);
  const what = value === undefined ? 'is missing: it must be' : `is ${given}: it must be`;
  throw new RaftError('invalid-options', `${option} ${what} ${expected}`, { option, given, expected });
}

/** Nothing of what an object carries: it may be a secret. */
function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'function') return 'a function';
  return typeof value === 'object' && value !== null
    ? 'an object'
    : `${String(value)}${typeof value === 'bigint' ? 'n' : ''}`;
}
