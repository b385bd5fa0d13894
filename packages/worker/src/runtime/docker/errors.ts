import { messageOf } from '@swarmctl/shared/kit';
import { RuntimeError } from '../types.ts';

// The border to dockerode: what its errors mean, and how they leave here.

interface EngineError extends Error {
  readonly statusCode?: number;
  readonly json?: { readonly message?: string };
  readonly code?: string;
}

const status = (error: unknown): number | undefined => (error as EngineError | undefined)?.statusCode;

export const isNotFound = (error: unknown): boolean => status(error) === 404;
export const isConflict = (error: unknown): boolean => status(error) === 409;
export const isNotModified = (error: unknown): boolean => status(error) === 304;
export const isNoSuchImage = (error: unknown): boolean => isNotFound(error) && /no such image/i.test(engineText(error));
/** The engine did not answer, as opposed to: it refused. */
export const isUnreachable = (error: unknown): boolean => status(error) === undefined;
/** A kept-alive connection that the engine had closed meanwhile. */
export const isStaleConnection = (error: unknown): boolean =>
  ['ECONNRESET', 'EPIPE'].includes((error as EngineError | undefined)?.code ?? '');

/** The engine's own words. */
export function engineText(error: unknown): string {
  const json = (error as EngineError | undefined)?.json;
  if (json && typeof json === 'object' && typeof json.message === 'string') return json.message.trim();
  return messageOf(error)
    .replace(/^\(HTTP code \d+\) .*? - /, '')
    .trim();
}

/** What the engine refuses it will refuse again; what it did not answer may be asked again. */
export function asRuntimeError(error: unknown, dockerHost: string): RuntimeError {
  if (error instanceof RuntimeError) return error;
  if (isUnreachable(error)) {
    return new RuntimeError(`the Docker engine at ${dockerHost} does not answer: ${messageOf(error)}`, {
      cause: error,
    });
  }
  return new RuntimeError(engineText(error), { permanent: true, cause: error });
}

/** Why the engine did not start a container that it has made, in Swarm's words. */
export const asStartError = (error: unknown, dockerHost: string): RuntimeError => {
  const plain = asRuntimeError(error, dockerHost);
  if (!plain.permanent) return plain;
  return new RuntimeError(`starting container failed: ${plain.message}`, { permanent: true, cause: error });
};
