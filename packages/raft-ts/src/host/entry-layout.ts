// Says its own layout: the first byte of an application's entry. Empty data is the core's own.

export const entryLayout = 1;

export function wrapData(data: Uint8Array): Uint8Array {
  const wrapped = new Uint8Array(data.length + 1);
  wrapped[0] = entryLayout;
  wrapped.set(data, 1);
  return wrapped;
}

/** Throws on a layout that only a later version knows. */
export function unwrapData(index: number, data: Uint8Array): Uint8Array {
  if (data[0] !== entryLayout) throw new Error(`entry ${index} has the unknown layout ${data[0]}`);
  return data.subarray(1);
}
