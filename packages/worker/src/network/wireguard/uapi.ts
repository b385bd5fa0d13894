import { connect, type Socket } from 'node:net';
import { type Clock, ClusterError } from '@swarmctl/shared/kit';
import { fromHex, toHex } from './keys.ts';
import { type DeviceChange, type DevicePeer, type DeviceState, keepaliveS } from './types.ts';

// WireGuard's cross-platform configuration protocol, by which wireguard-go is spoken to: lines of `key=value` over a Unix socket, keys in
// hexadecimal. https://www.wireguard.com/xplatform/

export function changeText({ privateKey, port, removed, peers }: DeviceChange): string {
  const lines = ['set=1'];
  if (privateKey !== undefined) lines.push(`private_key=${toHex(privateKey)}`);
  if (port !== undefined) lines.push(`listen_port=${port}`);
  for (const key of removed) lines.push(`public_key=${toHex(key)}`, 'remove=true');
  for (const { key, psk, endpoint, addr } of peers) {
    lines.push(`public_key=${toHex(key)}`);
    if (psk !== undefined) lines.push(`preshared_key=${toHex(psk)}`);
    lines.push(`persistent_keepalive_interval=${keepaliveS}`);
    if (endpoint !== undefined) lines.push(`endpoint=${endpoint}`);
    if (addr !== undefined) lines.push('replace_allowed_ips=true', `allowed_ip=${addr}/32`);
  }
  return `${lines.join('\n')}\n\n`;
}

export function parseState(lines: readonly string[]): DeviceState {
  const peers = new Map<string, Omit<DevicePeer, 'endpoint'>>();
  let [privateKey, port] = ['', 0];
  let peer: { key: string; psk: string; addr: string } | undefined;
  for (const line of lines) {
    const [name, value = ''] = line.split(/=(.*)/s, 2);
    if (name === 'private_key') privateKey = fromHex(value);
    else if (name === 'listen_port') port = Number(value);
    else if (name === 'public_key') {
      peer = { key: fromHex(value), psk: '', addr: '' };
      peers.set(peer.key, peer);
    } else if (peer && name === 'preshared_key') peer.psk = fromHex(value);
    // Two are not what was wanted, either.
    else if (peer && name === 'allowed_ip') peer.addr += value.replace(/\/32$/, '');
  }
  return { privateKey, port, peers };
}

const answerMs = 5_000;

/** One connection, which ends with the program at its other end. */
export class Uapi {
  readonly #socket: Socket;
  readonly #clock: Clock;
  #text = '';
  #waiting: { readonly resolve: (lines: string[]) => void; readonly reject: (error: Error) => void }[] = [];
  #isClosed = false;

  private constructor(socket: Socket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    socket.setEncoding('utf8');
    socket.on('data', (chunk) => this.#heard(String(chunk)));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#isClosed = true;
      for (const { reject } of this.#waiting.splice(0)) reject(gone());
    });
  }

  /** Rejects when nobody listens there. */
  static open(path: string, clock: Clock): Promise<Uapi> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        // A daemon that has nothing else to do may end.
        socket.unref();
        resolve(new Uapi(socket, clock));
      });
    });
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  onClose(listener: () => void): void {
    if (this.#isClosed) listener();
    else this.#socket.once('close', listener);
  }

  async get(): Promise<DeviceState> {
    return parseState(await this.#ask('get=1\n\n'));
  }

  async set(change: DeviceChange): Promise<void> {
    await this.#ask(changeText(change));
  }

  close(): void {
    this.#socket.destroy();
  }

  #ask(text: string): Promise<string[]> {
    if (this.#isClosed) return Promise.reject(gone());
    return new Promise<string[]>((resolve, reject) => {
      const timer = this.#clock.after(answerMs, () => this.#socket.destroy(), { unref: true });
      const settled = (settle: () => void) => {
        timer.cancel();
        settle();
      };
      this.#waiting.push({
        resolve: (lines) => settled(() => resolve(lines)),
        reject: (error) => settled(() => reject(error)),
      });
      this.#socket.write(text);
    });
  }

  #heard(chunk: string): void {
    this.#text += chunk;
    for (let end = this.#text.indexOf('\n\n'); end >= 0; end = this.#text.indexOf('\n\n')) {
      const lines = this.#text.slice(0, end).split('\n');
      this.#text = this.#text.slice(end + 2);
      const errno = Number(lines.at(-1)?.replace('errno=', ''));
      const waiting = this.#waiting.shift();
      if (errno === 0) waiting?.resolve(lines.slice(0, -1));
      else waiting?.reject(refused(errno));
    }
  }
}

const gone = () => new ClusterError('unavailable', 'wireguard-go has ended');

/** Linux's EADDRINUSE. */
const inUse = 98;

const refused = (errno: number) =>
  new ClusterError(
    'failed-precondition',
    Math.abs(errno) === inUse
      ? 'another program has the UDP port of the tunnels between the nodes'
      : `wireguard-go refused its settings: error ${errno}`,
    { errno },
  );
