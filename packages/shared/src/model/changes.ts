import type { Meta, Objects, Table } from './objects.ts';

// Writes as data: what every decider returns and the log carries. Ids and times are chosen before the proposal, so apply is deterministic.

/** A new object without the fields that the store sets (Version, CreatedAt, UpdatedAt). */
export type Draft<T extends Table> = Omit<Objects[T], Exclude<keyof Meta, 'ID'>>;

export type StoreChange = {
  [T in Table]:
    | { readonly op: 'create'; readonly table: T; readonly object: Draft<T> }
    | {
        readonly op: 'update';
        readonly table: T;
        readonly id: string;
        /** The expected Version.Index; absent where the fields have one writer anyway. */
        readonly version?: number;
        /**
         * The Version.Index at which a node's or a service's Spec was read, instead of `version`: what agents, the raft group and the control loop say
         * of it is no reason to refuse what a user wants of it.
         */
        readonly specReadAt?: number;
        /** Top-level fields to replace. A task's Status and DesiredState that would go back are left as they are. */
        readonly set: Partial<Omit<Objects[T], keyof Meta>>;
        readonly unset?: readonly (keyof Objects[T])[];
        /** Skip instead of failing the batch when the object is gone. */
        readonly ifExists?: boolean;
      }
    | {
        readonly op: 'remove';
        readonly table: T;
        readonly id: string;
        readonly version?: number;
        readonly ifExists?: boolean;
      };
}[Table];

/** One log entry: applied whole or not at all. At most `maxBatchChanges` changes and `maxBatchBytes` encoded. */
export interface Batch {
  /** ms since the epoch, of the proposer. */
  readonly now: number;
  readonly changes: readonly StoreChange[];
}

export const maxBatchChanges = 2_000;
export const maxBatchBytes = 1.5 * 1024 * 1024;

export type StoreEvent = {
  [T in Table]: {
    readonly table: T;
    readonly op: 'create' | 'update' | 'remove';
    readonly id: string;
    readonly index: number;
    readonly before?: Objects[T];
    readonly after?: Objects[T];
  };
}[Table];
