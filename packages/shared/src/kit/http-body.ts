import type { IncomingHttpHeaders } from 'node:http';
import { ClusterError } from './errors.ts';

// Where the body of an HTTP request ends in bytes that go on behind it, for connections that are taken from Node's server behind the head.

/** What attach and exec are asked with is short, and is looked through again with each piece that comes: also its framing counts. */
const maxBodyBytes = 16 * 1024;
/** Of a chunk's size with its extensions, and of all trailers. */
const maxLineBytes = 4_096;

export interface LeadingBody {
  readonly body: Buffer;
  /** What follows it. */
  readonly rest: Buffer;
}

/** Undefined while some of it is missing. Throws `invalid-argument` for a body that is too long or framed wrongly. */
export function leadingBody(headers: IncomingHttpHeaders, bytes: Buffer): LeadingBody | undefined {
  const encoding = headers['transfer-encoding'];
  if (encoding?.toLowerCase() === 'chunked') {
    const found = leadingChunks(bytes);
    if (!found && bytes.length > maxBodyBytes) throw tooLong();
    return found;
  }
  const length = Number(headers['content-length'] ?? 0);
  if (encoding !== undefined || !(length <= maxBodyBytes)) {
    throw invalid(`a body needs a Content-Length or 'Transfer-Encoding: chunked', and at most ${maxBodyBytes} bytes`);
  }
  return bytes.length < length ? undefined : { body: bytes.subarray(0, length), rest: bytes.subarray(length) };
}

function leadingChunks(bytes: Buffer): LeadingBody | undefined {
  const chunks: Buffer[] = [];
  let [at, total] = [0, 0];
  for (;;) {
    const line = lineAt(bytes, at);
    if (line === undefined) return undefined;
    const [, digits] = /^([0-9a-f]{1,8})[ \t]*(?:;.*)?$/i.exec(line) ?? [];
    if (digits === undefined) throw invalid(`a chunk of the body should begin with its size, not with '${line}'`);
    at += line.length + 2;
    const size = Number.parseInt(digits, 16);
    if (size === 0) break;
    total += size;
    if (total > maxBodyBytes) throw tooLong();
    if (bytes.length < at + size + 2) return undefined;
    if (bytes.toString('latin1', at + size, at + size + 2) !== '\r\n')
      throw invalid('a chunk of the body is longer than it says');
    chunks.push(bytes.subarray(at, at + size));
    at += size + 2;
  }
  const trailers = at;
  for (;;) {
    const line = lineAt(bytes, at, trailers);
    if (line === undefined) return undefined;
    at += line.length + 2;
    if (line === '') return { body: Buffer.concat(chunks), rest: bytes.subarray(at) };
  }
}

/** Without its end; undefined while that is missing. */
function lineAt(bytes: Buffer, at: number, from = at): string | undefined {
  const end = bytes.indexOf('\r\n', at, 'latin1');
  if ((end < 0 ? bytes.length : end) - from > maxLineBytes)
    throw invalid(`a line of the body's framing is longer than ${maxLineBytes} bytes`);
  return end < 0 ? undefined : bytes.toString('latin1', at, end);
}

const invalid = (message: string) => new ClusterError('invalid-argument', message);
const tooLong = () => invalid(`the body may have at most ${maxBodyBytes} bytes`);
