// The few lines of ustar that test images need: files, folders and links, owned by root, with fixed times, so that the same entries give the
// same bytes.

export type TarEntry =
  | { readonly type: 'file'; readonly path: string; readonly mode?: number; readonly content: Uint8Array | string }
  | { readonly type: 'folder'; readonly path: string; readonly mode?: number }
  | { readonly type: 'link'; readonly path: string; readonly target: string };

const block = 512;

export function tar(entries: readonly TarEntry[]): Buffer {
  const parts: Buffer[] = [];
  for (const entry of entries) {
    const content = entry.type === 'file' ? Buffer.from(entry.content) : Buffer.alloc(0);
    parts.push(header(entry, content.length), content, Buffer.alloc((block - (content.length % block)) % block));
  }
  return Buffer.concat([...parts, Buffer.alloc(2 * block)]);
}

function header(entry: TarEntry, size: number): Buffer {
  const bytes = Buffer.alloc(block);
  const octal = (value: number, offset: number, length: number) =>
    bytes.write(`${value.toString(8).padStart(length - 1, '0')}\0`, offset, 'latin1');
  if (Buffer.byteLength(entry.path) > 100) throw new Error(`path too long for this tar: ${entry.path}`);
  bytes.write(entry.path, 0);
  octal(modeOf(entry), 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(0, 136, 12);
  bytes.fill(' ', 148, 156);
  bytes.write({ file: '0', folder: '5', link: '2' }[entry.type], 156);
  if (entry.type === 'link') bytes.write(entry.target, 157);
  bytes.write('ustar\x0000', 257, 'latin1');
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return bytes;
}

function modeOf(entry: TarEntry): number {
  if (entry.type === 'link') return 0o777;
  return entry.mode ?? (entry.type === 'folder' ? 0o755 : 0o644);
}
