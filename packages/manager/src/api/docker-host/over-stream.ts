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

/** The whole body. Rejects when it breaks off. */
export async function textOf(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(Buffer.from(chunk as Buffer | string));
  return Buffer.concat(chunks).toString('utf8');
}
