import type { FastifyReply } from 'fastify';

// Answers that go on for as long as the client listens: written by hand, the head at once.

/** Aborts when the client has hung up. */
export function openStream(reply: FastifyReply, contentType: string): AbortController {
  const abort = new AbortController();
  reply.raw.once('close', () => abort.abort());
  // It may have done so before anybody listened.
  if (reply.raw.destroyed) abort.abort();
  reply.hijack();
  const headers = Object.entries(reply.getHeaders()).map(([name, value]) => [name, String(value)]);
  reply.raw.writeHead(200, { ...Object.fromEntries(headers), 'Content-Type': contentType });
  reply.raw.flushHeaders();
  return abort;
}

/** Resolves when the client has taken what was written, or the signal aborts. */
export const drained = (reply: FastifyReply, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = () => {
      reply.raw.off('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    reply.raw.once('drain', done);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
