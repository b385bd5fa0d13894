import type { schemas } from './operations.ts';

// What the document knows of a route beyond its method and path.

export type QueryType = 'boolean' | 'integer' | 'string';

export interface Operation {
  readonly summary: string;
  readonly query?: Readonly<Record<string, QueryType>>;
  /** Keys of the `filters` parameter. */
  readonly filters?: readonly string[];
  /** Name of one of `schemas`. */
  readonly body?: keyof typeof schemas;
  /** A body that the engine of a node checks. */
  readonly engineBody?: 'json' | 'tar';
  /** The status that says yes, 200 if not given. */
  readonly success?: 101 | 200 | 201 | 204;
  /** Statuses that say no, beside those that any route may answer. */
  readonly refusals?: readonly number[];
}
