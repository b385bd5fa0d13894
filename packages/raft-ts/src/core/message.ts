import {
  type Entry,
  type HardState,
  localAppendThread,
  localApplyThread,
  type Message,
  type MessageType,
} from './types.ts';

// Building messages and telling their kinds apart.

export const noBytes: Uint8Array = new Uint8Array(0);

const noEntries: readonly Entry[] = [];
const noMessages: readonly Message[] = [];

/** The fields of a message that are not absent. */
export type MessageFields = { readonly [Field in keyof Message]?: Message[Field] | undefined } & {
  readonly type: MessageType;
  readonly to: number;
};

/** A message with everything absent but what is given. Spelled out, since spreading is what sending would spend its time on. */
export function message(given: MessageFields): Message {
  return messageFrom(given, given.from ?? 0, given.term ?? 0);
}

/** The same, with sender and term as said here. */
export function messageFrom(given: MessageFields, from: number, term: number): Message {
  const made: Message = {
    type: given.type,
    to: given.to,
    from,
    term,
    logTerm: given.logTerm ?? 0,
    index: given.index ?? 0,
    entries: given.entries ?? noEntries,
    commit: given.commit ?? 0,
    vote: given.vote ?? 0,
    reject: given.reject ?? false,
    rejectHint: given.rejectHint ?? 0,
    context: given.context ?? noBytes,
    responses: given.responses ?? noMessages,
  };
  if (given.known !== undefined) return { ...made, known: given.known };
  return given.snapshot === undefined ? made : { ...made, snapshot: given.snapshot };
}

const localTypes: ReadonlySet<MessageType> = new Set<MessageType>([
  'hup',
  'beat',
  'unreachable',
  'snap-status',
  'check-quorum',
  'storage-append',
  'storage-append-resp',
  'storage-apply',
  'storage-apply-resp',
]);

const responseTypes: ReadonlySet<MessageType> = new Set<MessageType>([
  'app-resp',
  'vote-resp',
  'heartbeat-resp',
  'unreachable',
  'read-index-resp',
  'pre-vote-resp',
  'storage-append-resp',
  'storage-apply-resp',
]);

/** Messages that only the member itself may step. */
export const isLocalMessage = (type: MessageType): boolean => localTypes.has(type);

export const isResponseMessage = (type: MessageType): boolean => responseTypes.has(type);

export const isLocalTarget = (id: number): boolean => id === localAppendThread || id === localApplyThread;

export const isEmptyHardState = (s: HardState): boolean => s.term === 0 && s.vote === 0 && s.commit === 0;

export const sameHardState = (a: HardState, b: HardState): boolean =>
  a.term === b.term && a.vote === b.vote && a.commit === b.commit;

/** The context of vote requests that a leader asked for, which ignore leases. */
export const transferMarker: Uint8Array = new TextEncoder().encode('CampaignTransfer');

export const isTransferMarker = (context: Uint8Array): boolean =>
  context.length === transferMarker.length && context.every((byte, i) => byte === transferMarker[i]);
