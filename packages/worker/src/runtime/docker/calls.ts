import type { RuntimeError } from '../types.ts';
import { asRuntimeError, isStaleConnection } from './errors.ts';

// What is asked of the engine, with its refusals in this node's words.

export class EngineCalls {
  readonly #dockerHost: string;

  constructor(dockerHost: string) {
    this.#dockerHost = dockerHost;
  }

  /** Rejects with RuntimeError; resolves with undefined where the error is `harmless`. */
  call<T>(request: () => Promise<T>): Promise<T>;
  call<T>(request: () => Promise<T>, harmless: (error: unknown) => boolean): Promise<T | undefined>;
  async call<T>(request: () => Promise<T>, harmless?: (error: unknown) => boolean): Promise<T | undefined> {
    try {
      return await askTwice(request);
    } catch (error) {
      if (harmless?.(error)) return undefined;
      throw this.translate(error);
    }
  }

  translate(error: unknown): RuntimeError {
    return asRuntimeError(error, this.#dockerHost);
  }
}

/** Once more when the engine had closed the kept-alive connection meanwhile. Rejects as the engine does. */
export async function askTwice<T>(request: () => Promise<T>): Promise<T> {
  try {
    return await request();
  } catch (error) {
    if (!isStaleConnection(error)) throw error;
    return request();
  }
}
