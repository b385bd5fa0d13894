import { type ClientRequest, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import type { Duplex } from 'node:stream';

// HTTP over a stream that is open already: to a node's engine door, or to the leader.

/** A request, and the head of what is answered, which rejects when there is none. */
export function requestOver(
  stream: Duplex,
  options: RequestOptions,
): { readonly outgoing: ClientRequest; readonly answer: Promise<IncomingMessage> } {
  const outgoing = httpRequest({ createConnection: () => stream, ...options });
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve);
    // Another may come while the answer is read.
    outgoing.on('error', reject);
  });
  return { outgoing, answer };
}

/** The same of a request without a body. */
export function answerOver(stream: Duplex, options: RequestOptions): Promise<IncomingMessage> {
  const { outgoing, answer } = requestOver(stream, options);
  outgoing.end();
  return answer;
}

const mostBytes = 64 << 20;

/** The whole body. Rejects when it breaks off, or is larger than any that is meant; bytes. */
export async function textOf(answer: IncomingMessage, most = mostBytes): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer) {
    const piece = Buffer.from(chunk as Buffer | string);
    bytes += piece.length;
    // What is left over ends the stream with the loop.
    if (bytes > most) throw new Error(`an answer of more than ${most} bytes`);
    chunks.push(piece);
  }
  return Buffer.concat(chunks).toString('utf8');
}
