// What a container without a terminal writes, as the Engine API streams it: frames of a head of eight bytes (the stream, three zeros, the length)
// and what was written.

export interface EngineFrame {
  /** 1: output, 2: errors; 3: what the API itself has to say. */
  readonly stream: number;
  readonly bytes: Buffer;
}

/** A last frame that is not whole is left out. */
export async function* engineFrames(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<EngineFrame> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    rest = rest.length > 0 ? Buffer.concat([rest, chunk]) : Buffer.from(chunk);
    while (rest.length >= 8 && rest.length >= 8 + rest.readUInt32BE(4)) {
      const end = 8 + rest.readUInt32BE(4);
      yield { stream: rest[0] ?? 0, bytes: rest.subarray(8, end) };
      rest = rest.subarray(end);
    }
  }
}
