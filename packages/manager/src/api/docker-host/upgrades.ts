import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import {
  ClusterError,
  holdUpgrade,
  isClusterError,
  messageOf,
  type RelayOptions,
  refuseUpgrade,
  relayUpgrade,
  statusByCode,
} from '@swarmctl/shared/kit';
import type { FastifyInstance } from 'fastify';
import { type ApiContext, managerOf, noLeader } from '../context.ts';
import { forwardedBy } from '../forward.ts';
import { withoutVersion } from '../version.ts';
import { type DockerHost, searchOf } from './host.ts';

// Attach and exec with input: the connection becomes the container's. A follower passes it on to the leader, the leader to the node.

const hijacked = /^\/(containers|exec)\/([^/?]+)\/(attach\/ws|attach|start)(?:\?|$)/;

/** By WebSocket, which browsers speak, with GET; else with POST. */
const isHijacked = ({ method, url = '/' }: IncomingMessage): boolean => {
  const verb = hijacked.exec(withoutVersion(url))?.[3];
  return verb !== undefined && method === (verb === 'attach/ws' ? 'GET' : 'POST');
};

export function upgradeRoutes(app: FastifyInstance, context: ApiContext, host: DockerHost): void {
  app.server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy());
    if (isHijacked(request)) {
      void upgrade(context, host, request, socket, head);
    } else answerPlainly(app, request, socket);
  });
  app.get('/containers/:id/attach/ws', async () => {
    throw new ClusterError('invalid-argument', 'attaching by WebSocket needs the header Upgrade: websocket');
  });
}

async function upgrade(context: ApiContext, host: DockerHost, request: IncomingMessage, socket: Duplex, head: Buffer) {
  // What comes meanwhile waits.
  holdUpgrade(socket, head);
  try {
    relayUpgrade(request, socket, await wayOf(context, host, request));
  } catch (error) {
    if (!isClusterError(error)) context.log.error({ error: messageOf(error), url: request.url }, 'an upgrade failed');
    const status = isClusterError(error) ? statusByCode[error.code] : 500;
    refuseUpgrade(socket, { status, message: messageOf(error) });
  }
}

async function wayOf(context: ApiContext, host: DockerHost, request: IncomingMessage): Promise<RelayOptions> {
  const url = request.url ?? '/';
  const manager = managerOf(context);
  if (!manager.isLeader()) {
    if (request.headers[forwardedBy] !== undefined) throw noLeader();
    const stream = await manager.dialLeader(new AbortController().signal).catch(() => {
      throw noLeader();
    });
    if (stream !== 'here') {
      const headers = { ...request.headers, [forwardedBy]: context.local.info().nodeId };
      const refuse = (error: Error) => ({ status: 503, message: `the leader did not answer: ${error.message}` });
      return { to: { createConnection: () => stream, path: url, headers }, refuse };
    }
  }
  const [, kind, reference = '', verb] = hijacked.exec(withoutVersion(url)) ?? [];
  const name = decoded(reference);
  if (kind === 'containers' && verb !== 'start') {
    const { node, id } = await host.find(name);
    return host.relayTo(node, url, `/containers/${id}/${verb}${searchOf(request)}`);
  }
  if (kind === 'exec' && verb === 'start') return host.relayTo(await host.findExec(name), url, `/exec/${name}/start`);
  throw new ClusterError('not-found', 'page not found');
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new ClusterError('invalid-argument', `'${part}' is not a valid url component`);
  }
}

/** A protocol that is not spoken here is passed over (RFC 9110, 7.8). Its body is lost with the parser: then it is refused. */
function answerPlainly(app: FastifyInstance, request: IncomingMessage, socket: Duplex): void {
  const { 'content-length': length = '0', 'transfer-encoding': encoding, upgrade: protocol } = request.headers;
  if (length !== '0' || encoding !== undefined) {
    refuseUpgrade(socket, { status: 501, message: `upgrades to ${protocol} are not supported` });
    return;
  }
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket as import('node:net').Socket);
  response.once('finish', () => {
    response.detachSocket(socket as import('node:net').Socket);
    socket.end();
  });
  app.server.emit('request', request, response);
}
