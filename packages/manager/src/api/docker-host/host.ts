import type { IncomingMessage } from 'node:http';
import { ClusterError, type RelayOptions, relayRequest, relayUpgrade } from '@swarmctl/shared/kit';
import type { Node } from '@swarmctl/shared/model';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { View } from '../../store/types.ts';
import { type ApiContext, leading, managerOf } from '../context.ts';
import { hijack } from '../hijack.ts';
import { Builder } from './builder.ts';
import { BuiltImages } from './built-images.ts';
import { findContainer, listContainers, type Place } from './containers.ts';
import { type Engine, EngineRoom, hostnameOf } from './engines.ts';
import { ImageGiver } from './image-giver.ts';

// The cluster as one Docker host: what is where, and requests on their way there.

/** Where a thing is that never moves; the oldest is forgotten first. */
class Known {
  readonly #nodes = new Map<string, Node>();

  get(id: string): Node | undefined {
    return this.#nodes.get(id);
  }

  set(id: string, node: Node): void {
    this.#nodes.delete(id);
    this.#nodes.set(id, node);
    if (this.#nodes.size <= 8_192) return;
    for (const [oldest] of this.#nodes) return void this.#nodes.delete(oldest);
  }
}

const wholeId = /^[0-9a-f]{64}$/;
export const rawVersion = /^\/v\d+\.\d+(?=\/)/;

export class DockerHost {
  readonly room: EngineRoom;
  readonly builder: Builder;
  readonly builtImages: BuiltImages;
  readonly imageGiver: ImageGiver;
  readonly #context: ApiContext;
  readonly #containers = new Known();
  readonly #execs = new Known();

  constructor(context: ApiContext) {
    this.#context = context;
    this.room = new EngineRoom(context);
    this.builder = new Builder(context, this.room);
    this.builtImages = new BuiltImages(this.room);
    this.imageGiver = new ImageGiver({
      view: () => managerOf(context).view(),
      openEngine: (nodeId) => this.room.dial(nodeId),
      ...{ clock: context.clock, log: context.log },
    });
  }

  async view(): Promise<View> {
    return (await leading(this.#context)).view();
  }

  /** Throws `not-found`, and `invalid-argument` when several match. */
  async find(reference: string): Promise<Pick<Place, 'node'> & { readonly id: string }> {
    const known = wholeId.test(reference) ? this.#containers.get(reference) : undefined;
    if (known && this.#isReady(known)) return { node: known, id: reference };
    const place = await this.findListed(reference);
    return { node: place.engine.node, id: place.row.Id };
  }

  async findListed(reference: string): Promise<Place> {
    const engines = await this.room.engines();
    const place = findContainer(await listContainers(this.room, engines, '?all=1'), reference);
    this.#containers.set(place.row.Id, place.engine.node);
    return place;
  }

  made(id: string, engine: Engine): void {
    this.#containers.set(id, engine.node);
  }

  /** Another manager may have made it: then the engines are asked. Throws `not-found`. */
  async findExec(id: string): Promise<Node> {
    const known = this.#execs.get(id);
    if (known && this.#isReady(known)) return known;
    const none = new ClusterError('not-found', `No such exec instance: ${id}`);
    if (!wholeId.test(id)) throw none;
    const { all } = await this.room.engines();
    const { values } = await this.room.each(all, 'GET', `/exec/${id}/json`);
    const [found] = values;
    if (!found) throw none;
    this.madeExec(id, found.engine.node);
    return found.engine.node;
  }

  madeExec(id: string, node: Node): void {
    this.#execs.set(id, node);
  }

  #isReady(node: Node): boolean {
    return this.#context.local.manager()?.view().get('nodes', node.ID)?.Status.State === 'ready';
  }

  /** Passes the request on as it came, to another path of a node's engine, without its version. Throws `unavailable` when the node is away. */
  async pass(request: FastifyRequest, reply: FastifyReply, node: Node, path: string): Promise<FastifyReply> {
    // What has been read does not come a second time.
    const body = Buffer.isBuffer(request.body) ? request.body : undefined;
    const options = await this.relayTo(node, request.originalUrl, path, body);
    const headers = ownHeaders(reply);
    reply.hijack();
    relayRequest(request.raw, reply.raw, { ...options, headers });
    return reply;
  }

  /** The same for one that takes its connection over. */
  async passHijacked(request: FastifyRequest, reply: FastifyReply, node: Node, path: string): Promise<FastifyReply> {
    const options = await this.relayTo(node, request.originalUrl, path);
    const headers = ownHeaders(reply);
    const { socket, body } = hijack(reply);
    relayUpgrade(request.raw, socket, { ...options, headers, body });
    return reply;
  }

  /** The client's version of the API stays. */
  async relayTo(node: Node, originalUrl: string, path: string, body?: Buffer): Promise<RelayOptions> {
    const stream = await this.room.dial(node.ID).catch((error: Error) => {
      throw new ClusterError('unavailable', `${hostnameOf(node)}: ${error.message}`, {}, error);
    });
    const version = rawVersion.exec(originalUrl)?.[0] ?? '';
    return {
      to: { createConnection: () => stream, path: `${version}${path}` },
      body,
      refuse: (error) => ({ status: 503, message: `${hostnameOf(node)}: ${error.message}` }),
    };
  }
}

const ownHeaders = (reply: FastifyReply): Record<string, string> =>
  Object.fromEntries(Object.entries(reply.getHeaders()).map(([name, value]) => [name, String(value)]));

/** `/v1.41` of the client's request, or nothing: what engines do by version, they do by the client's. */
export const versionIn = ({ originalUrl }: Pick<FastifyRequest, 'originalUrl'>): string =>
  rawVersion.exec(originalUrl)?.[0] ?? '';

/** `?…` of a URL, or nothing. */
export const searchOf = ({ url = '' }: Pick<IncomingMessage, 'url'>): string => /\?.*$/s.exec(url)?.[0] ?? '';
