import type { Entry, EntryType } from '../core/types.ts';
import { type ByteReader, type ByteWriter, DecodeError } from './bytes.ts';

// Log entries as bytes, on disk and on the wire. The first byte says which layout follows.

const version = 1;
const types: readonly EntryType[] = ['normal', 'conf-change', 'conf-change-v2'];

export function writeEntry(out: ByteWriter, entry: Entry): void {
  out.u8(version).u8(types.indexOf(entry.type)).varint(entry.term).varint(entry.index).bytes(entry.data);
}

/** The data is copied, so that it does not hold on to the whole read. */
export function readEntry(input: ByteReader): Entry {
  const layout = input.u8();
  if (layout !== version) throw new DecodeError(`entry layout ${layout} is not known`);
  const type = types[input.u8()];
  if (type === undefined) throw new DecodeError('unknown entry type');
  return { type, term: input.varint(), index: input.varint(), data: new Uint8Array(input.bytes()) };
}
