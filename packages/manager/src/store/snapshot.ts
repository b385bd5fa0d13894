import { type Objects, type Table, tables } from '@swarmctl/shared/model';
import { checkSchemaVersion, pack, schemaVersion, unpack } from './codec.ts';
import { StateEditor } from './editor.ts';
import { State } from './state.ts';

// A state as a stream of bytes, written and read in small slices: a schema-version byte, then records of a 4-byte length and msgpack.
// The first record is the head, those in between hold some objects of one table each, the last says how many there were. Where the
// carrier cuts the stream does not matter.

interface Head {
  readonly index: number;
  readonly now: number;
}

type Slice = { readonly table: Table; readonly objects: readonly Objects[Table][] };
type Tail = { readonly end: true; readonly count: number };

/** Objects a record: a few milliseconds of encoding at most. Secrets and configs are up to 1.4 MB each. */
const objectsPerRecord = (table: Table): number => (table === 'secrets' || table === 'configs' ? 4 : 200);
/** Far above any record that is ever written. */
const maxRecordBytes = 64 * 1024 * 1024;

/** Lets everything else on the event loop run. */
const pause = () => new Promise<void>((resolve) => setImmediate(resolve));

export async function* encodeSnapshot(state: State): AsyncGenerator<Uint8Array> {
  yield Buffer.from([schemaVersion]);
  const head: Head = { index: state.index, now: state.now };
  yield record(head);
  let count = 0;
  for (const table of tables) {
    const all = state.list(table);
    const most = objectsPerRecord(table);
    for (let from = 0; from < all.length; from += most) {
      const objects = all.slice(from, from + most);
      count += objects.length;
      yield record({ table, objects } satisfies Slice);
      await pause();
    }
  }
  yield record({ end: true, count } satisfies Tail);
}

function record(value: unknown): Buffer {
  const body = pack(value);
  const bytes = Buffer.allocUnsafe(4 + body.length);
  bytes.writeUInt32BE(body.length);
  body.copy(bytes, 4);
  return bytes;
}

/** Throws when the stream is broken, cut short or written by a newer version. */
export async function decodeSnapshot(chunks: AsyncIterable<Uint8Array>): Promise<State> {
  const records = readRecords(chunks);
  const head = (await records.next()).value as Head | undefined;
  if (typeof head?.index !== 'number') throw new Error('snapshot without a head');
  const editor = new StateEditor(State.empty, head);
  let count = 0;
  for await (const next of records) {
    const part = next as Slice | Tail;
    if ('end' in part) {
      if (part.count !== count) throw new Error(`snapshot of ${part.count} objects holds ${count}`);
      return editor.done();
    }
    if (!tables.includes(part.table)) throw new Error(`snapshot with an unknown table '${part.table}'`);
    for (const object of part.objects) editor.load(part.table, object as never);
    count += part.objects.length;
    await pause();
  }
  throw new Error('snapshot is cut short');
}

async function* readRecords(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<unknown> {
  let buffered = Buffer.alloc(0);
  let started = false;
  for await (const chunk of chunks) {
    if (chunk.length === 0) continue;
    buffered = buffered.length === 0 ? Buffer.from(chunk) : Buffer.concat([buffered, chunk]);
    if (!started) {
      checkSchemaVersion(buffered[0], 'snapshot');
      buffered = buffered.subarray(1);
      started = true;
    }
    while (buffered.length >= 4) {
      const length = buffered.readUInt32BE(0);
      if (length > maxRecordBytes) throw new Error(`snapshot with a record of ${length} bytes`);
      if (buffered.length < 4 + length) break;
      yield unpack(buffered.subarray(4, 4 + length));
      buffered = buffered.subarray(4 + length);
    }
  }
}
