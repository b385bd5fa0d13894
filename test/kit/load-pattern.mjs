// What a download of the load tests holds: bytes that tell their place, so that a lost, doubled or foreign one shows.
const period = 65_521;
const block = Buffer.from(
  Uint8Array.from({ length: 2 * period }, (_, i) => ((i % period) * 167 + ((i % period) >> 7)) & 255),
);

/** Bytes `from` to `to`. */
export function pattern(from, to) {
  const parts = [];
  for (let at = from; at < to; ) {
    const start = at % period;
    const length = Math.min(to - at, block.length - start);
    parts.push(block.subarray(start, start + length));
    at += length;
  }
  return Buffer.concat(parts);
}
