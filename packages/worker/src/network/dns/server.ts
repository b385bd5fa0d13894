import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, isIPv6, type Server, type Socket } from 'node:net';
import { ClusterError, messageOf } from '@swarmctl/shared/kit';
import { Frames, framed } from './tcp-frames.ts';

// The sockets of a resolver on one address, UDP and TCP, within bounds: how many connections, how long each may be idle, how many questions of
// one may be open.

/** The answer; undefined: none. Never rejects. */
export type Handler = (packet: Buffer, client: string, transport: 'udp' | 'tcp') => Promise<Buffer | undefined>;

const mostConnections = 256;
const idleMs = 10_000;
const mostOpen = 16;

export class DnsServer {
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #connections = new Set<Socket>();

  private constructor(udp: UdpSocket, handler: Handler) {
    this.#udp = udp;
    this.#tcp = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket, handler));
    this.#tcp.maxConnections = mostConnections;
    udp.on('message', async (packet, from) => {
      const answer = await handler(packet, from.address, 'udp');
      // The client may be gone, and so may this.
      if (answer) this.#send(answer, from.port, from.address);
    });
  }

  /** Rejects with ClusterError when the address is another's, or not there. */
  static async open(addr: string, port: number, handler: Handler): Promise<DnsServer> {
    const udp = createSocket(isIPv6(addr) ? 'udp6' : 'udp4');
    const server = new DnsServer(udp, handler);
    try {
      await new Promise<void>((resolve, reject) => {
        udp.once('error', reject);
        udp.bind(port, addr, () => resolve());
      });
      await new Promise<void>((resolve, reject) => {
        server.#tcp.once('error', reject);
        server.#tcp.listen({ host: addr, port: udp.address().port }, () => resolve());
      });
    } catch (error) {
      await server.close();
      const taken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
      const why = taken ? 'another program listens there (a dnsmasq or named on every address?)' : messageOf(error);
      throw new ClusterError('unavailable', `names cannot be answered at ${addr}:${port}: ${why}`, {}, error);
    }
    // From here on, nothing that goes wrong with one datagram or one connection concerns the others.
    udp.removeAllListeners('error').on('error', () => {});
    server.#tcp.removeAllListeners('error').on('error', () => {});
    return server;
  }

  get port(): number {
    return this.#udp.address().port;
  }

  async close(): Promise<void> {
    for (const socket of this.#connections) socket.destroy();
    await new Promise<void>((resolve) => {
      // One that never listened says so.
      this.#tcp.close(() => resolve());
    });
    await new Promise<void>((resolve) => {
      try {
        this.#udp.close(() => resolve());
      } catch {
        resolve();
      }
    });
  }

  #send(answer: Buffer, port: number, addr: string): void {
    try {
      this.#udp.send(answer, port, addr, () => {});
    } catch {
      // Closed meanwhile.
    }
  }

  #serve(socket: Socket, handler: Handler): void {
    this.#connections.add(socket);
    const client = socket.remoteAddress ?? '';
    const frames = new Frames();
    let open = 0;
    let ended = false;
    const settle = () => {
      if (open < mostOpen) socket.resume();
      if (ended && open === 0) socket.end();
    };
    socket.setTimeout(idleMs, () => socket.destroy());
    socket.on('error', () => {});
    socket.on('close', () => this.#connections.delete(socket));
    socket.on('end', () => {
      ended = true;
      settle();
    });
    socket.on('data', (chunk) => {
      for (const packet of frames.push(chunk)) {
        if (++open >= mostOpen) socket.pause();
        void handler(packet, client, 'tcp').then((answer) => {
          open--;
          if (answer && socket.writable) socket.write(framed(answer));
          // Whoever does not read their answers is no client.
          if (socket.writableLength > 1 << 20) socket.destroy();
          settle();
        });
      }
    });
  }
}
