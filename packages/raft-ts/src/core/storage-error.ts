// How a LogStorage says that it cannot answer.

export type StorageErrorCode = 'compacted' | 'unavailable' | 'snapshot-temporarily-unavailable';

export class StorageError extends Error {
  readonly code: StorageErrorCode;

  constructor(code: StorageErrorCode) {
    super(`log storage: ${code}`);
    this.name = 'StorageError';
    this.code = code;
  }
}

export const isStorageError = (error: unknown, ...codes: StorageErrorCode[]): error is StorageError =>
  error instanceof StorageError && (codes.length === 0 || codes.includes(error.code));
