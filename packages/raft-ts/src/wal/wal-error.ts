// What is wrong with a member's folder. None of it heals by itself: the host must end or refuse to start.

/**
 * `corrupt`: bytes that were once durable are damaged. `foreign`: another member's log. `no-log`: nothing to restart
 * from. `log-exists`: a new member would overwrite a log. `locked`: another process has the folder. `io`: the disk
 * failed, so it is not known what it holds.
 */
export type WalErrorCode = 'corrupt' | 'foreign' | 'no-log' | 'log-exists' | 'locked' | 'io';

export class WalError extends Error {
  override readonly name = 'WalError';
  readonly code: WalErrorCode;
  readonly data: Readonly<Record<string, unknown>>;

  constructor(code: WalErrorCode, message: string, data: Record<string, unknown> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.data = data;
  }
}

export const corrupt = (file: string, offset: number, reason: string, cause?: unknown): WalError =>
  new WalError('corrupt', `${file} is damaged at offset ${offset}: ${reason}`, { file, offset, reason }, cause);
