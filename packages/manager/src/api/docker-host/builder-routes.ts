import type { Writable } from 'node:stream';
import type { Node } from '@swarmctl/shared/model';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { isHijacked } from '../hijack.ts';
import { type DockerHost, searchOf } from './host.ts';

// BuildKit's conversations, as bytes to the one node that builds: the client's session, from which a build fetches its files, secrets and credentials, and the
// gRPC that buildx speaks.

const leaderOnly = { config: { leaderOnly: true } };
const hijacks = { config: { leaderOnly: true, hijacks: true } };

export function builderStreams(app: FastifyInstance, host: DockerHost): void {
  const { builder, builtImages } = host;
  // The engine says itself what it thinks of one without an upgrade.
  const pass = (request: FastifyRequest, reply: FastifyReply, node: Node, path: string) =>
    isHijacked(request.raw) ? host.passHijacked(request, reply, node, path) : host.pass(request, reply, node, path);
  const nodeFor = (request: FastifyRequest, reply: FastifyReply) => builder.nodeFor(connectionOf(request, reply));

  app.post('/session', hijacks, async (request, reply) =>
    pass(request, reply, await nodeFor(request, reply), '/session'),
  );

  app.post('/grpc', hijacks, async (request, reply) => {
    const connection = connectionOf(request, reply);
    const node = await builder.nodeFor(connection);
    await builtImages.begin(node);
    if (connection.destroyed) void builtImages.end(node);
    else connection.once('close', () => void builtImages.end(node));
    return pass(request, reply, node, '/grpc');
  });

  app.post('/build/cancel', leaderOnly, async (request, reply) =>
    pass(request, reply, await nodeFor(request, reply), `/build/cancel${searchOf(request.raw)}`),
  );
}

/** What lasts as long as the conversation. */
const connectionOf = ({ raw }: FastifyRequest, reply: FastifyReply): Writable =>
  isHijacked(raw) ? raw.socket : reply.raw;
