import { type Clock, ClusterError } from '@swarmctl/shared/kit';
import { ApiError, type Client } from './client.ts';
import type { Environment } from './context.ts';
import type { Terminal } from './service/progress.ts';

// What a command is handed: the daemon's client, where to write, the clock, the environment.

export interface Shell {
  /** Made at first use, so that `--help` needs no daemon. */
  client(): Client;
  readonly env: Environment;
  /** The container's own command line, behind the image of `service create`. */
  readonly trailing: readonly string[];
  readonly clock: Clock;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  readonly terminal: Terminal;
  out(text: string): void;
  err(text: string): void;
  /** The exit code, of a command that has one of its own. */
  exit(code: number): void;
  /** Remembers a failure and goes on: the exit code will be 1. */
  fail(message: string): void;
}

/** What the daemon said, as Docker's tools print it; our own errors as they are. */
export const explain = (error: unknown): string =>
  error instanceof ApiError
    ? `Error response from daemon: ${error.message.trim()}`
    : error instanceof ClusterError || error instanceof Error
      ? error.message
      : String(error);

/** Runs `act` for each item; prints its result or its failure, and goes on. */
export async function forEach(
  shell: Shell,
  items: readonly string[],
  act: (item: string) => Promise<string | undefined>,
): Promise<void> {
  for (const item of items) {
    try {
      const text = await act(item);
      if (text !== undefined) shell.out(`${text}\n`);
    } catch (error) {
      shell.fail(explain(error));
    }
  }
}

/** `key=value` filters, grouped as the API wants them. */
export function apiFilters(
  given: readonly string[] | undefined,
  more: Readonly<Record<string, readonly string[]>> = {},
): string | undefined {
  const filters: Record<string, Record<string, true>> = {};
  const put = (key: string, value: string) => {
    filters[key] = { ...filters[key], [value]: true };
  };
  for (const text of given ?? []) {
    const at = text.indexOf('=');
    if (at <= 0) throw new ClusterError('invalid-argument', `invalid filter '${text}': expected KEY=VALUE`);
    put(text.slice(0, at).trim().toLowerCase(), text.slice(at + 1));
  }
  for (const [key, values] of Object.entries(more)) for (const value of values) put(key, value);
  return Object.keys(filters).length > 0 ? JSON.stringify(filters) : undefined;
}

export const shortId = (id: string, noTrunc: boolean): string => (noTrunc ? id : id.slice(0, 12));
