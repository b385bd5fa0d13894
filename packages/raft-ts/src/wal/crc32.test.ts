import { describe, expect, it } from 'vitest';
import { crc32, tableCrc32 } from './crc32.ts';

describe('crc32', () => {
  const text = Buffer.from('123456789');

  it('is the known value, whatever computes it', () => {
    expect(tableCrc32(text)).toBe(0xcbf43926);
    expect(crc32(text)).toBe(0xcbf43926);
    expect(tableCrc32(Buffer.alloc(0))).toBe(0);
  });

  it('goes on where it left off, at any cut', () => {
    const long = Buffer.from(Array.from({ length: 100 }, (_, i) => (i * 37) & 0xff));
    for (let cut = 0; cut <= long.length; cut++) {
      expect(tableCrc32(long.subarray(cut), tableCrc32(long.subarray(0, cut)))).toBe(tableCrc32(long));
    }
  });
});
