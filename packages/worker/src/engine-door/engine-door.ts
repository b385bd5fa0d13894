import {
  createServer,
  type IncomingMessage,
  type RequestOptions,
  request,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { Duplex } from 'node:stream';
import {
  type Clock,
  holdUpgrade,
  type Logger,
  messageOf,
  type RelayOptions,
  type RelayRefusal,
  refuseUpgrade,
  relayRequest,
  relayUpgrade,
} from '@swarmctl/shared/kit';
import { isAllowed } from './allowed.ts';

// The door to this node's engine: HTTP on streams that the managers asked for, passed on to the engine's own socket where it is on the list of what
// they may ask. Streams run both ways, through an upgrade, too.

export interface EngineDoorOptions {
  /** Where the engine is; undefined: this node has none. */
  readonly engine: Pick<RequestOptions, 'socketPath' | 'host' | 'port'> | undefined;
}

/** Longer than managers keep a connection for later, so that none is closed under a request. */
const keepAliveMs = 120_000;

const prefix = /^\/v1\.(\d+)(?=\/)/;

export class EngineDoor {
  readonly #options: EngineDoorOptions;
  readonly #modules: { readonly clock: Clock; readonly log: Logger };
  readonly #server: Server;
  readonly #open = new Set<Duplex>();
  /** The second number of the newest version that the engine speaks, once it has said so. */
  #minor: number | undefined;

  constructor(options: EngineDoorOptions, modules: { readonly clock: Clock; readonly log: Logger }) {
    this.#options = options;
    this.#modules = modules;
    this.#server = createServer({ requestTimeout: 0, keepAliveTimeout: keepAliveMs }, (incoming, response) => {
      void this.#request(incoming, response);
    });
    this.#server.on('upgrade', (incoming, socket, head) => void this.#upgrade(incoming, socket, head));
  }

  /** A stream whose other end is a manager of this node's cluster. */
  accept(stream: Duplex): void {
    this.#open.add(stream);
    stream.once('close', () => this.#open.delete(stream));
    stream.allowHalfOpen = true;
    this.#server.emit('connection', stream);
  }

  /** Cuts what is under way. */
  close(): void {
    for (const stream of this.#open) stream.destroy();
  }

  async #request(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const options = await this.#pass(incoming);
    if ('message' in options) {
      const text = `${JSON.stringify({ message: options.message })}\n`;
      response.writeHead(options.status, { 'content-type': 'application/json' }).end(text);
      incoming.resume();
    } else relayRequest(incoming, response, options);
  }

  async #upgrade(incoming: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    holdUpgrade(socket, head);
    const options = await this.#pass(incoming);
    if ('message' in options) refuseUpgrade(socket, options);
    else relayUpgrade(incoming, socket, options);
  }

  async #pass({ method = '', url = '/' }: IncomingMessage): Promise<RelayOptions | RelayRefusal> {
    const { engine } = this.#options;
    if (!engine) return { status: 501, message: 'this node has no container engine: it runs tasks as processes' };
    const asked = prefix.exec(url);
    const plain = asked ? url.slice(asked[0].length) : url;
    if (!isAllowed(method, plain.split('?')[0] ?? '')) {
      this.#modules.log.warn({ method, url }, 'a manager asked for what it may not');
      return { status: 403, message: `managers may not ask an engine for ${method} ${plain.split('?')[0]}` };
    }
    try {
      this.#minor ??= await this.#ask(engine);
    } catch (error) {
      return away(error as Error);
    }
    // An engine older than the client answers as what it is.
    const minor = Math.min(Number(asked?.[1] ?? this.#minor), this.#minor);
    return { to: { ...engine, path: `/v1.${minor}${plain}` }, refuse: (error) => this.#gone(error) };
  }

  #gone(error: Error): RelayRefusal {
    // It may come back as another.
    this.#minor = undefined;
    return away(error);
  }

  #ask(engine: RequestOptions): Promise<number> {
    return new Promise((resolve, reject) => {
      const outgoing = request({ ...engine, method: 'GET', path: '/_ping' }, (answer) => {
        answer.resume();
        const said = /^1\.(\d+)$/.exec(String(answer.headers['api-version']));
        if (said) resolve(Number(said[1]));
        else reject(new Error(`it answers with status ${answer.statusCode} and no version`));
      });
      const timer = this.#modules.clock.after(5_000, () => outgoing.destroy(new Error('no answer in time')));
      outgoing.on('error', reject);
      outgoing.on('close', () => timer.cancel());
      outgoing.end();
    });
  }
}

const away = (error: Error): RelayRefusal => ({
  status: 503,
  message: `the engine does not answer: ${messageOf(error)}`,
});
