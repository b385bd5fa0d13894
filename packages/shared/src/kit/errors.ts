// One error type for everything that a user or another component may have to tell apart.

/** Codes and the HTTP status that the API answers with (the classes are gRPC's, as Docker's swarm dialect maps them). */
export const statusByCode = {
  'invalid-argument': 400,
  'failed-precondition': 400,
  unauthenticated: 401,
  'permission-denied': 403,
  'not-found': 404,
  'already-exists': 409,
  conflict: 409,
  gone: 410,
  'out-of-sequence': 500,
  internal: 500,
  unknown: 500,
  'deadline-exceeded': 500,
  unimplemented: 501,
  unavailable: 503,
  'not-in-swarm': 503,
  'no-leader': 500,
} as const satisfies Record<string, number>;

export type ErrorCode = keyof typeof statusByCode;

/** An error with a stable code. `message` is for people: what is wrong, where, and what would be right. */
export class ClusterError extends Error {
  readonly code: ErrorCode;
  readonly data: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, data: Readonly<Record<string, unknown>> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'ClusterError';
    this.code = code;
    this.data = data;
  }
}

export const isClusterError = (error: unknown, code?: ErrorCode): error is ClusterError =>
  error instanceof ClusterError && (code === undefined || error.code === code);

/** The message of anything thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** For the impossible: a broken invariant of our own. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`invariant broken: ${message}`);
}
