import type { ConfState, SnapshotMeta } from '../core/types.ts';
import { ByteReader, ByteWriter, DecodeError } from './bytes.ts';

// What a snapshot says besides the state: where in the log it was taken, who is a member then, and where they are.

export interface SnapshotHeader {
  readonly meta: SnapshotMeta;
  readonly addresses: ReadonlyMap<number, string>;
  /** Ids of former members: they never come back. */
  readonly removed: readonly number[];
}

const version = 1;

export function writeConfState(out: ByteWriter, conf: ConfState): void {
  out.numbers(conf.voters).numbers(conf.votersOutgoing).numbers(conf.learners).numbers(conf.learnersNext);
  out.u8(conf.autoLeave ? 1 : 0);
}

export const readConfState = (input: ByteReader): ConfState => ({
  voters: input.numbers(),
  votersOutgoing: input.numbers(),
  learners: input.numbers(),
  learnersNext: input.numbers(),
  autoLeave: input.u8() === 1,
});

export function encodeSnapshotHeader({ meta, addresses, removed }: SnapshotHeader): Buffer {
  const out = new ByteWriter().u8(version).varint(meta.index).varint(meta.term);
  writeConfState(out, meta.confState);
  out.varint(addresses.size);
  for (const [id, address] of addresses) out.varint(id).string(address);
  return out.numbers(removed).take();
}

export function decodeSnapshotHeader(bytes: Uint8Array): SnapshotHeader {
  const input = new ByteReader(bytes);
  const layout = input.u8();
  if (layout !== version) throw new DecodeError(`snapshot layout ${layout} is not known`);
  const index = input.varint();
  const term = input.varint();
  const confState = readConfState(input);
  const addresses = new Map<number, string>();
  for (let left = input.count(); left > 0; left--) addresses.set(input.varint(), input.string());
  const removed = input.numbers();
  input.end();
  return { meta: { index, term, confState }, addresses, removed };
}
