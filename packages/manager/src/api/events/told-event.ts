import type { Moment } from '@swarmctl/shared/model';
import type { JournalEvent } from './journal.ts';

// An event as clients are told it, of the cluster itself or of a node's engine: one JSON object a line.

export interface ToldEvent {
  readonly Type: string;
  readonly Action: string;
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
  readonly scope: string;
  /** By the clock of who saw it. */
  readonly nano: Moment;
  /** What else stands in the line. */
  readonly more: Readonly<Record<string, unknown>>;
}

/** Of the cluster's own: where a client goes on. */
export const revisionField = 'swarmctl.revision';

export function toldOf({ Type, Action, Actor, time, revision }: JournalEvent): ToldEvent {
  const more = { [revisionField]: `${revision.index}.${revision.number}` };
  return { Type, Action, Actor, scope: 'swarm', nano: nanoOf(time), more };
}

/** Nanoseconds are beyond what a number holds. */
export function lineOf({ Type, Action, Actor, scope, nano, more }: ToldEvent): string {
  const head = JSON.stringify({ ...more, Type, Action, Actor, scope }).slice(0, -1);
  return `${head},"time":${nano / nanoPerSecond},"timeNano":${nano}}\n`;
}

/** Undefined for what is no event. */
export function eventIn(line: string): ToldEvent | undefined {
  let said: Record<string, unknown>;
  try {
    said = JSON.parse(line);
  } catch {
    return undefined;
  }
  const { Type, Action, Actor, scope = 'local', time, timeNano: _, ...more } = said ?? {};
  if (typeof Type !== 'string' || typeof Action !== 'string' || typeof Actor !== 'object' || Actor === null) {
    return undefined;
  }
  const { ID, Attributes } = Actor as ToldEvent['Actor'];
  const nano = /"timeNano":(\d{1,19})\}\s*$/.exec(line)?.[1];
  return {
    ...{ Type, Action, scope: String(scope), more },
    Actor: { ID: String(ID ?? ''), Attributes: textsIn(Attributes) },
    nano: nano === undefined ? nanoOf(Number(time ?? 0) * 1000) : BigInt(nano),
  };
}

const textsIn = (attributes: unknown): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(attributes ?? {}).filter(([, value]) => typeof value === 'string'));

const nanoPerSecond = 1_000_000_000n;

/** From ms since the epoch. */
export const nanoOf = (ms: number): Moment => BigInt(Math.floor(ms)) * 1_000_000n;

/** By time, each sequence in its own order: a revision never comes before an earlier one, whatever the clocks say. */
export function merged(sequences: readonly (readonly ToldEvent[])[]): ToldEvent[] {
  const dated = sequences.flatMap((sequence) => {
    let latest = 0n;
    return sequence.map((event) => {
      if (event.nano > latest) latest = event.nano;
      return { at: latest, event };
    });
  });
  return dated.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0)).map(({ event }) => event);
}
