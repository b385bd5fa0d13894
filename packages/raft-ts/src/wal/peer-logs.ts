import { dirname, join } from 'node:path';
import { ByteReader, ByteWriter } from './bytes.ts';
import { crc32 } from './crc32.ts';
import type { Extent, LogIdentity } from './extent.ts';
import { type FileSystem, readAll } from './file-system.ts';
import { corrupt } from './wal-error.ts';

// By which log each other member is known. A member that comes back with another one has lost what it promised: it must not be
// heard under its old id. The file is
//   magic | member and log whose file it is, count, then id and log of each (varints) | CRC u32

/** The log beside it, which says how many must be noted at least. */
export interface NotingLog {
  readonly extent: Extent;
  notePeers(count: number): Promise<void>;
}

export const peersFile = 'peers';
const magic = Buffer.from('RTPEERS\x01');

export class PeerLogs {
  readonly #fileSystem: FileSystem;
  readonly #path: string;
  readonly #log: NotingLog;
  readonly #known: Map<number, number>;
  /** What waits to be durable. */
  readonly #noted = new Map<number, { readonly log: number; readonly done: Promise<void> }>();
  #writing: Promise<void> = Promise.resolve();

  private constructor(fileSystem: FileSystem, path: string, log: NotingLog, known: Map<number, number>) {
    this.#fileSystem = fileSystem;
    this.#path = path;
    this.#log = log;
    this.#known = known;
  }

  /** Of the member whose folder `dir` is. Throws `corrupt`. */
  static async load(fileSystem: FileSystem, dir: string, log: NotingLog): Promise<PeerLogs> {
    const path = join(dir, peersFile);
    const bytes = await readAll(fileSystem, path).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    });
    const known = bytes === undefined ? new Map<number, number>() : decode(path, bytes, log.extent);
    const lacks = log.extent.peers - known.size;
    if (lacks > 0) throw corrupt(path, 0, bytes === undefined ? 'it is missing' : `${lacks} members are missing in it`);
    return new PeerLogs(fileSystem, path, log, known);
  }

  /** By id; without what is still being noted. */
  get known(): ReadonlyMap<number, number> {
    return this.#known;
  }

  knows(peer: number): boolean {
    return this.#known.has(peer) || this.#noted.has(peer);
  }

  /**
   * Whether `log` is the one that the peer is known by. The first one seen is, from when the promise resolves: then it is noted for good. Rejects
   * when the disk fails.
   */
  identify(peer: number, log: number): boolean | Promise<boolean> {
    const known = this.#known.get(peer);
    if (known !== undefined) return known === log;
    const noted = this.#noted.get(peer);
    if (noted !== undefined) return noted.done.then(() => noted.log === log);
    this.#writing = this.#writing.then(() => this.#write(peer, log));
    const done = this.#writing;
    this.#noted.set(peer, { log, done });
    return done.then(() => true);
  }

  /** Resolves once nothing is being written. */
  async idle(): Promise<void> {
    await this.#writing.catch(() => {});
  }

  async #write(peer: number, log: number): Promise<void> {
    const temporary = `${this.#path}.tmp`;
    const file = await this.#fileSystem.open(temporary, 'create');
    try {
      await file.write(encode(this.#log.extent, new Map([...this.#known, [peer, log]])), 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await this.#fileSystem.rename(temporary, this.#path);
    await this.#fileSystem.syncDir(dirname(this.#path));
    await this.#log.notePeers(this.#known.size + 1);
    this.#known.set(peer, log);
    this.#noted.delete(peer);
  }
}

function encode(own: LogIdentity, known: ReadonlyMap<number, number>): Buffer {
  const out = new ByteWriter().raw(magic).varint(own.member).varint(own.log).varint(known.size);
  for (const [peer, log] of known) out.varint(peer).varint(log);
  const bytes = out.take();
  return Buffer.from(new ByteWriter().raw(bytes).u32(crc32(bytes)).take());
}

function decode(path: string, bytes: Buffer, own: LogIdentity): Map<number, number> {
  const body = bytes.subarray(0, Math.max(0, bytes.length - 4));
  const intact = body.length > magic.length && bytes.readUInt32LE(body.length) === crc32(body);
  if (!intact || !body.subarray(0, magic.length).equals(magic)) throw corrupt(path, 0, 'checksum mismatch');
  const input = new ByteReader(body.subarray(magic.length));
  const [member, log] = [input.varint(), input.varint()];
  if (member !== own.member || log !== own.log) throw corrupt(path, 0, `it is of another log, of member ${member}`);
  const known = new Map<number, number>();
  for (let left = input.count(); left > 0; left--) known.set(input.varint(), input.varint());
  return known;
}
