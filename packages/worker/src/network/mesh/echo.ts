import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';

// Questions and answers by UDP over the mesh. Where a peer's daemon is away its kernel says that nobody listens: the mesh is there all the same.

/** The echo service's: no engine gives it to a container. */
export const echoPort = 7;
const [question, answer] = [0x71, 0x61];
const magic = Buffer.from('swarm-mesh');

interface Peer {
  readonly addr: string;
  readonly socket: Socket;
  isConnected: boolean;
  /** While it was not connected. */
  isAskedFor: boolean;
  /** It could not be connected: the next question opens another. */
  isFailed: boolean;
}

export class Echo {
  readonly #answered: (id: string, size: number) => void;
  readonly #peers = new Map<string, Peer>();
  #server: { readonly addr: string; readonly socket: Socket } | undefined;

  /** `answered` is called for every answer, with the datagram's size; 0 for a kernel's. */
  constructor(answered: (id: string, size: number) => void) {
    this.#answered = answered;
  }

  /** Answers on this address, those alone whom `isPeer` knows. */
  async listen(addr: string, isPeer: (addr: string) => boolean): Promise<void> {
    if (this.#server?.addr === addr) return;
    this.#server?.socket.close();
    this.#server = undefined;
    const socket = createSocket('udp4');
    socket.on('message', (data, from) => {
      if (data[0] !== question || !isPeer(from.address)) return;
      data[0] = answer;
      socket.send(data, from.port, from.address, () => undefined);
    });
    socket.bind(echoPort, addr);
    await once(socket, 'listening').catch((error: unknown) => {
      socket.close();
      throw error;
    });
    socket.on('error', () => undefined);
    socket.unref();
    this.#server = { addr, socket };
  }

  /** The peers that can be asked, by id. */
  follow(peers: ReadonlyMap<string, string>): void {
    for (const [id, { addr, socket, isFailed }] of this.#peers) {
      if (peers.get(id) === addr) continue;
      if (!isFailed) socket.close();
      this.#peers.delete(id);
    }
    for (const [id, addr] of peers) if (!this.#peers.has(id)) this.#open(id, addr);
  }

  /** `size`: of the datagram's content. */
  ask(id: string, size = 0): void {
    const known = this.#peers.get(id);
    const peer = known?.isFailed ? this.#open(id, known.addr) : known;
    if (!peer?.isConnected) {
      if (peer) peer.isAskedFor = true;
      return;
    }
    const data = Buffer.alloc(Math.max(size, magic.length + 1));
    data[0] = question;
    magic.copy(data, 1);
    peer.socket.send(data, (error) => this.#failed(id, peer, error));
  }

  close(): void {
    this.follow(new Map());
    this.#server?.socket.close();
    this.#server = undefined;
  }

  #open(id: string, addr: string): Peer {
    const socket = createSocket('udp4');
    const peer: Peer = { addr, socket, isConnected: false, isAskedFor: false, isFailed: false };
    this.#peers.set(id, peer);
    socket.on('message', (data) => {
      if (data[0] === answer) this.#answered(id, data.length);
    });
    socket.on('error', (error) => this.#failed(id, peer, error));
    socket.on('connect', () => {
      peer.isConnected = true;
      if (peer.isAskedFor) this.ask(id);
    });
    // A connected socket is told when nobody listens.
    socket.connect(echoPort, addr);
    socket.unref();
    return peer;
  }

  #failed(id: string, peer: Peer, error: Error | null): void {
    if (!error || this.#peers.get(id) !== peer) return;
    if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') this.#answered(id, 0);
    if (peer.isConnected || peer.isFailed) return;
    peer.isFailed = true;
    peer.socket.close();
  }
}

/** Whether a machine is there, beside the mesh: a refusal says so as well. */
export function isThere(addr: string, port: number, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: addr, port, timeout: ms });
    const end = (is: boolean) => {
      socket.destroy();
      resolve(is);
    };
    socket.once('connect', () => end(true));
    socket.once('timeout', () => end(false));
    socket.once('error', ({ code }: NodeJS.ErrnoException) => end(code === 'ECONNREFUSED' || code === 'ECONNRESET'));
    socket.unref();
  });
}
