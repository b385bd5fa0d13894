import { request as httpRequest } from 'node:http';
import { messageOf, passBody, relayUpgrade } from '@swarmctl/shared/kit';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type ApiContext, managerOf, noLeader } from './context.ts';
import { hijack, isHijacked } from './hijack.ts';

// A follower passes what only the leader can do on to it, as it came, over the managers' own mutual TLS.

export const forwardedBy = 'x-swarmd-forwarded-by';

export async function forwardToLeader(
  context: ApiContext,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  // One hop only: two managers that each believe the other leads must not pass a request back and forth.
  if (request.headers[forwardedBy] !== undefined) throw noLeader();
  const manager = managerOf(context);
  const abort = new AbortController();
  request.raw.once('close', () => abort.abort());
  reply.raw.once('close', () => abort.abort());
  const socket = await manager.dialLeader(abort.signal).catch((error) => {
    context.log.warn({ error: messageOf(error) }, 'cannot reach the leader');
    throw noLeader();
  });
  if (socket === 'here') return;
  const by = { [forwardedBy]: context.local.info().nodeId };
  if (request.routeOptions.config.hijacks && isHijacked(request.raw)) {
    const { socket: client, body } = hijack(reply);
    const to = { createConnection: () => socket, path: request.originalUrl, headers: by };
    const refuse = (error: Error) => ({ status: 503, message: `the leader did not answer: ${error.message}` });
    return relayUpgrade(request.raw, client, { to, body, refuse });
  }
  reply.hijack();
  const upstream = httpRequest({
    createConnection: () => socket,
    method: request.method,
    path: request.originalUrl,
    headers: { ...request.headers, ...by, connection: 'close' },
  });
  reply.raw.once('close', () => upstream.destroy());
  upstream.on('response', (response) => {
    reply.raw.writeHead(response.statusCode ?? 502, response.headers);
    reply.raw.flushHeaders();
    response.pipe(reply.raw);
    response.on('error', () => reply.raw.destroy());
  });
  upstream.on('error', (error) => {
    if (reply.raw.headersSent) return reply.raw.destroy();
    const unknown = request.method === 'GET' ? '' : '; whether it was done is not known';
    const message = `rpc error: code = Unavailable desc = the leader did not answer: ${error.message}${unknown}`;
    const body = `${JSON.stringify({ message })}\n`;
    return reply.raw
      .writeHead(503, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
      .end(body);
  });
  // Its client may have gone while the leader was looked for.
  if (abort.signal.aborted) upstream.destroy();
  else passBody(request.raw, upstream);
}
