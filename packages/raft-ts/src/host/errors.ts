import type { StepResult } from '../core/types.ts';
import { WalError } from '../wal/wal-error.ts';

// The one kind of error that a node's promises reject with.

/**
 * The second line: why a node cannot be opened, or had to stop. `invalid-change`: a membership change that makes no sense. `lost-log`: other
 * members know this one by another log, so it has forgotten what it promised: it must be removed and come back under a new id.
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
  | 'lost-log'
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

/** A `WalError` as the door shows it; anything else as it is. */
export function toRaftError(error: unknown): Error {
  if (error instanceof WalError) return new RaftError(error.code, error.message, { ...error.data }, error);
  return error instanceof Error ? error : new Error(String(error));
}
