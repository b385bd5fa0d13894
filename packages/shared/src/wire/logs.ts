import type { LogLine, LogOptions } from './dispatch.ts';
import type { LogPlaces } from './log-progress.ts';

// Logs of tasks as managers have them of each other: the one that serves a client keeps account of how far it has come, and goes on at the next leader.

/** Whose logs: of one task, of all that a service has, or of a task that the managers have forgotten, which its node may have kept. */
export type LogSubject =
  | { readonly taskId: string }
  | { readonly serviceId: string }
  | { readonly forgottenTaskId: string };

/** A line of a task's log, or a notice such as a node being away, with one of the tasks that it is about. */
export type LogEntry = LogLine | { readonly notice: string; readonly taskId: string };

/** Of a log that is followed: tasks that are taken from here on, new ones, which came later, from their first line; one that the managers have forgotten. */
export type LogNote = { readonly taken: readonly string[]; readonly isNew: boolean } | { readonly forgotten: string };

export const isLogEntry = (entry: LogEntry | LogNote): entry is LogEntry => 'line' in entry || 'notice' in entry;

/** How far a log that is followed has come. */
export interface LogCursor {
  /** When it was asked for; ms since the epoch. */
  readonly begun: number;
  /** Those that were taken and not forgotten; without places: nothing came of it yet. */
  readonly tasks: readonly { readonly taskId: string; readonly isNew: boolean; readonly places: LogPlaces }[];
}

export interface LogWish {
  readonly subject: LogSubject;
  readonly options: LogOptions;
  /** To go on from; undefined: from the beginning. */
  readonly cursor?: LogCursor | undefined;
}

/** From one manager to another, each in a frame. Without `over` at its end it has broken off. */
export type LogFrame = LogEntry | LogNote | { readonly over: true };
