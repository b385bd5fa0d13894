// Text that comes in pieces, as lines.

export interface LineOptions {
  /** Of a line without its end. 1 MiB if not given. */
  readonly maxBytes?: number;
  /** What becomes of one that is longer: an error, as soon as that is seen, or it is passed over. */
  readonly longer?: 'fail' | 'skip';
  /** What becomes of a last one that nothing ends, and that may be a part. */
  readonly unended?: 'drop' | 'keep';
}

const newline = 10;

/** The lines, without their ends and without empty ones. */
export async function* linesOf(
  pieces: AsyncIterable<Uint8Array | string>,
  { maxBytes = 1 << 20, longer = 'fail', unended = 'drop' }: LineOptions = {},
): AsyncGenerator<string> {
  // A character may begin in one piece and end in the next.
  const decoder = new TextDecoder();
  let [line, size] = ['', 0];
  const add = (part: Uint8Array) => {
    size += part.length;
    if (size > maxBytes && longer === 'fail') throw new Error(`a line of more than ${maxBytes} bytes`);
    line = size > maxBytes ? '' : line + decoder.decode(part, { stream: true });
  };
  const take = () => {
    const taken = line + decoder.decode();
    const isWanted = size <= maxBytes && taken.trim() !== '';
    [line, size] = ['', 0];
    return isWanted ? [taken] : [];
  };
  for await (const piece of pieces) {
    const bytes = typeof piece === 'string' ? Buffer.from(piece) : piece;
    let start = 0;
    for (let end = bytes.indexOf(newline); end !== -1; end = bytes.indexOf(newline, start)) {
      add(bytes.subarray(start, end));
      yield* take();
      start = end + 1;
    }
    add(bytes.subarray(start));
  }
  if (unended === 'keep') yield* take();
}
