import { ByteWriter, DecodeError } from '../wal/bytes.ts';

// Frames on a stream: their length (u32), one byte for the kind, the body.

export const frameKind = {
  hello: 1,
  message: 2,
  ping: 3,
  /** The one who gets it is not a member any more. */
  removed: 4,
  snapshot: 5,
  chunk: 6,
  /** A part of a chunk: more follows. */
  part: 7,
  end: 8,
  /** The snapshot is durable. */
  stored: 9,
  /** The one who gets it has another log than it is known by. */
  otherLog: 10,
} as const;

export type FrameKind = (typeof frameKind)[keyof typeof frameKind];

export interface Frame {
  readonly kind: number;
  readonly body: Buffer;
}

const headBytes = 5;

export const encodeFrame = (kind: FrameKind, body: Uint8Array): Buffer =>
  endFrame(beginFrame(kind, body.length).raw(body));

/** The body is written behind it, of about so many bytes. */
export const beginFrame = (kind: FrameKind, bodyBytes: number): ByteWriter =>
  new ByteWriter(headBytes + bodyBytes).u32(0).u8(kind);

export function endFrame(frame: ByteWriter): Buffer {
  frame.patchU32(0, frame.length - headBytes);
  return frame.take();
}

export const removed = encodeFrame(frameKind.removed, new Uint8Array(0));

/** Cuts what arrives into frames. Throws `DecodeError` on a frame beyond the cap, before anything is set aside for it. */
export class FrameDecoder {
  readonly #maxBody: number;
  #pending: Buffer = Buffer.alloc(0);
  /** The frame that is being filled, once its length is known. */
  #filling: { kind: number; body: Buffer; have: number } | undefined;

  constructor(maxBody: number) {
    this.#maxBody = maxBody;
  }

  *push(chunk: Buffer): Generator<Frame> {
    let rest = chunk;
    for (;;) {
      if (this.#filling === undefined) {
        if (this.#pending.length > 0) rest = Buffer.concat([this.#pending, rest]);
        this.#pending = Buffer.alloc(0);
        if (rest.length < headBytes) {
          this.#pending = Buffer.from(rest);
          return;
        }
        const length = rest.readUInt32LE(0);
        if (length > this.#maxBody) throw new DecodeError(`a frame of ${length} bytes is beyond ${this.#maxBody}`);
        const kind = rest[4]!;
        rest = rest.subarray(headBytes);
        if (rest.length >= length) {
          yield { kind, body: rest.subarray(0, length) };
          rest = rest.subarray(length);
          continue;
        }
        this.#filling = { kind, body: Buffer.allocUnsafe(length), have: 0 };
      }
      const { kind, body, have } = this.#filling;
      const copied = rest.copy(body, have);
      this.#filling.have += copied;
      if (this.#filling.have < body.length) return;
      this.#filling = undefined;
      rest = rest.subarray(copied);
      yield { kind, body };
    }
  }
}
