import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { bodyOfUpgrade, holdUpgrade, messageOf, refuseUpgrade } from '@swarmctl/shared/kit';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { joinNodeName } from './docker-host/node-name-paths.ts';
import { withoutVersion } from './version.ts';

// Requests whose connection becomes a container's: attach and exec. Newer clients ask for that with `Upgrade`, older ones just go on behind the request's
// body, with bytes that are no HTTP. Such a request has its route like any other, which takes the connection over; until then it can be refused like any other.

declare module 'fastify' {
  interface FastifyContextConfig {
    /** It takes the connection over: a follower passes on what is more than a request. */
    hijacks?: boolean;
  }
}

interface Taken {
  readonly socket: Socket;
  readonly body: Buffer;
}

const hijackedPath = /^\/(?:containers\/[^/?]+\/attach|exec\/[^/?]+\/start)\/?(?:\?|$)/;

const isHijack = ({ method, url = '' }: IncomingMessage): boolean =>
  method === 'POST' && hijackedPath.test(joinNodeName(method, withoutVersion(url)));

/** What Node's server makes of a request. It asks each for `upgrade` behind its head; if that is true it reads no further, and hands the connection over. */
export class ApiRequest extends IncomingMessage {
  declare asked: boolean | null;
  declare taken?: Taken;
  /** As it came: asked again behind a route, whose URL is rewritten, Node's server gets the same answer. */
  #hijacks: boolean | undefined;

  get upgrade(): boolean {
    this.#hijacks ??= isHijack(this);
    return this.asked === true || this.#hijacks;
  }

  set upgrade(asked: boolean | null) {
    this.asked = asked;
  }
}

/** Leads requests that Node's server hands over to their routes. */
export function serveHijacks(app: FastifyInstance): void {
  /** What is not answered yet, by connection. */
  const pending = new WeakMap<Socket, number>();
  app.server.on('request', ({ socket }, response) => {
    pending.set(socket, (pending.get(socket) ?? 0) + 1);
    response.once('close', () => pending.set(socket, (pending.get(socket) ?? 0) - 1));
  });
  app.server.on('upgrade', (request: ApiRequest, socket: Socket, head) => {
    holdUpgrade(socket, head);
    // Sent ahead, it would speak in the midst of an answer: no client of these does, and Node's server gives no way to wait.
    if (pending.get(socket)) return void socket.destroy();
    bodyOfUpgrade(request, socket).then(
      (body) => {
        // A protocol that is not spoken here is passed over (RFC 9110, 7.8), but Node's server has no way to go on with a body.
        if (body.length > 0 && !isHijack(request)) {
          const message = `upgrades to ${request.headers.upgrade} are not supported`;
          return refuseUpgrade(socket, { status: 501, message });
        }
        request.taken = { socket, body };
        app.server.emit('request', request, responseTo(request, socket));
        return undefined;
      },
      (error) => refuseUpgrade(socket, { status: 400, message: messageOf(error) }),
    );
  });
}

/** The last on its connection. */
function responseTo(request: ApiRequest, socket: Socket): ServerResponse {
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket);
  response.once('finish', () => {
    response.detachSocket(socket);
    socket.resume().end();
  });
  return response;
}

export const isHijacked = (request: IncomingMessage): boolean => (request as ApiRequest).taken !== undefined;

/** What came as the body of a request whose connection can be taken over. */
export const bodyOfHijacked = (request: IncomingMessage): Buffer | undefined => (request as ApiRequest).taken?.body;

/** From here on the connection is the caller's, held behind the body. */
export function hijack(reply: FastifyReply): Taken {
  const { taken } = reply.request.raw as ApiRequest;
  if (!taken) throw new Error('not a request whose connection can be taken over');
  reply.hijack();
  reply.raw.detachSocket(taken.socket);
  return taken;
}
