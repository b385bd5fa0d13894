import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';

// Questions and answers by UDP over the mesh. Where a peer's daemon is away its kernel says that nobody listens: the mesh is there all the same.

/** The echo service's: no engine gives it to a container. */
export const echoPort = 7;
const [question, answer, largeQuestion, shortAnswer] = [0x71, 0x61, 0x73, 0x53];
const magic = Buffer.from('swarm-mesh');
const tokenAt = magic.length + 1;

/** Whatever follows it, its answer is short: whether it came through is what is asked. */
export function sizeQuestion(token: number): Buffer {
  const data = Buffer.alloc(tokenAt + 4);
  data[0] = largeQuestion;
  magic.copy(data, 1);
  data.writeUInt32BE(token >>> 0, tokenAt);
  return data;
}

interface Peer {
  readonly addr: string;
  readonly socket: Socket;
  isConnected: boolean;
  /** While it was not connected. */
  isAskedFor: boolean;
  /** It could not be connected: the next question opens another. */
  isFailed: boolean;
}

export interface EchoEvents {
  /** The peer is there. */
  answered(id: string): void;
  /** A question about a size came through. */
  sized(id: string, token: number): void;
}

export class Echo {
  readonly #events: EchoEvents;
  readonly #peers = new Map<string, Peer>();
  #server: { readonly addr: string; readonly socket: Socket } | undefined;

  constructor(events: EchoEvents) {
    this.#events = events;
  }

  /** Answers on this address, those alone whom `isPeer` knows. */
  async listen(addr: string, isPeer: (addr: string) => boolean): Promise<void> {
    if (this.#server?.addr === addr) return;
    this.#server?.socket.close();
    this.#server = undefined;
    const socket = createSocket('udp4');
    socket.on('message', (data, from) => {
      const reply = answerTo(data);
      if (reply && isPeer(from.address)) socket.send(reply, from.port, from.address, () => undefined);
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

  ask(id: string): void {
    const known = this.#peers.get(id);
    const peer = known?.isFailed ? this.#open(id, known.addr) : known;
    if (!peer?.isConnected) {
      if (peer) peer.isAskedFor = true;
      return;
    }
    peer.socket.send(Buffer.concat([Buffer.of(question), magic]), (error) => this.#failed(id, peer, error));
  }

  /** Where answers of a peer come to; undefined while it cannot be asked. */
  portOf(id: string): number | undefined {
    const peer = this.#peers.get(id);
    return peer?.isConnected && !peer.isFailed ? peer.socket.address().port : undefined;
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
      if (data[0] === answer) this.#events.answered(id);
      if (data[0] === shortAnswer && data.length >= tokenAt + 4) this.#events.sized(id, data.readUInt32BE(tokenAt));
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
    if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') this.#events.answered(id);
    if (peer.isConnected || peer.isFailed) return;
    peer.isFailed = true;
    peer.socket.close();
  }
}

function answerTo(data: Buffer): Buffer | undefined {
  const end = data[0] === question ? tokenAt : data[0] === largeQuestion ? tokenAt + 4 : undefined;
  if (end === undefined || data.length < end || magic.compare(data, 1, tokenAt) !== 0) return undefined;
  return Buffer.concat([Buffer.of(end === tokenAt ? answer : shortAnswer), data.subarray(1, end)]);
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
