import { RaftPanic } from '../core/assert.ts';
import type { StepResult } from '../core/types.ts';
import { WalError } from '../wal/wal-error.ts';

// The one kind of error that a node's promises reject with.

/**
 * The last lines: why a node cannot be opened, or had to stop. `invalid-options`: it was opened with what cannot be right, and nothing was made.
 * `io`: the system refused, or the disk failed; data.file names what. `invalid-change`: a membership change that makes no sense. `not-ready`: the
 * member has not caught up yet. `lost-log`: other members know this one by another log, so it has forgotten what it promised: it must be removed
 * and come back under a new id.
 */
export type RaftErrorCode =
  | 'not-leader'
  | 'dropped'
  | 'no-quorum'
  | 'removed'
  | 'stopped'
  | 'busy'
  | 'too-large'
  | 'conf-change-pending'
  | 'invalid-change'
  | 'not-ready'
  | 'invalid-options'
  | 'lost-log'
  | 'not-ready'
  | WalError['code'];

export class RaftError extends Error {
  override readonly name = 'RaftError';
  readonly code: RaftErrorCode;
  readonly data: Readonly<Record<string, unknown>>;

  constructor(code: RaftErrorCode, message: string, data: Record<string, unknown> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.data = data;
  }
}

export const notLeader = (leader: number): RaftError =>
  new RaftError('not-leader', leader === 0 ? 'no leader is known' : `member ${leader} leads`, { leader });

export const dropped = (): RaftError =>
  new RaftError('dropped', 'leadership was lost before the proposal was seen committed');

export const stopped = (): RaftError => new RaftError('stopped', 'this member has stopped');

export const removed = (): RaftError => new RaftError('removed', 'this member was removed from the cluster');

export const lostLog = (id: number, peer: number): RaftError =>
  new RaftError(
    'lost-log',
    `member ${peer} knows member ${id} by another log, whose promises are lost here: remove the member and add it under a new id`,
    { id, peer },
  );

/** Why the core did not take a proposal. */
export function refused(result: Exclude<StepResult, 'ok'>, leader: number): RaftError {
  switch (result) {
    case 'transferring':
      return new RaftError('busy', 'leadership is being handed over');
    case 'too-much-uncommitted':
      return new RaftError('busy', 'too much waits to be committed');
    case 'not-member':
      return removed();
    default:
      return notLeader(leader);
  }
}

/** What went wrong inside as the door shows it. What the embedding program threw stays as it is. */
export function toRaftError(error: unknown): Error {
  if (error instanceof WalError) return new RaftError(error.code, error.message, { ...error.data }, error);
  if (error instanceof RaftPanic) return new RaftError('corrupt', contradiction(error.message), {}, error);
  if (isSystemError(error)) return new RaftError('io', error.message, fileOf(error), error);
  return error instanceof Error ? error : new Error(String(error));
}

const contradiction = (panic: string): string =>
  `this member's log and the cluster contradict each other: ${panic}. If its folder was restored from a copy, remove the member and add it under a new id`;

/** Of the operating system's: ENOSPC and the like. */
const isSystemError = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && 'syscall' in error && /^E[A-Z0-9]+$/.test(String((error as NodeJS.ErrnoException).code));

const fileOf = ({ path, code }: NodeJS.ErrnoException) => ({ ...(path !== undefined && { file: path }), errno: code });
