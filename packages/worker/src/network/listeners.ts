import { open } from 'node:fs/promises';
import type { Protocol } from '@swarmctl/shared/model';

// Who listens on this machine's ports, so that the kernel's ingress takes none from another program.

export interface Listener {
  readonly protocol: Protocol;
  /** As the kernel writes IPv4 addresses; `::` of a wildcard for both. */
  readonly addr: string;
  readonly port: number;
}

const listening = '0A';
const unconnected = '07';

/** Everything that waits for connections or datagrams in this network namespace. */
export async function listeners(folder = '/proc/self/net'): Promise<Listener[]> {
  const lists = await Promise.all([
    readTable(`${folder}/tcp`, 'tcp'),
    readTable(`${folder}/tcp6`, 'tcp'),
    readTable(`${folder}/udp`, 'udp'),
    readTable(`${folder}/udp6`, 'udp'),
  ]);
  return lists.flat();
}

async function readTable(path: string, protocol: Protocol): Promise<Listener[]> {
  const found: Listener[] = [];
  // One without IPv6 has no such file.
  const file = await open(path).catch(() => undefined);
  if (!file) return found;
  let isHeader = true;
  for await (const line of file.readLines()) {
    const [, local = '', , state] = line.trim().split(/\s+/);
    // The kernel lists listening sockets before the many that are connected.
    if (protocol === 'tcp' && state !== listening && !isHeader) break;
    const listener = state === (protocol === 'tcp' ? listening : unconnected) && parseLocal(local, protocol);
    if (listener) found.push(listener);
    isHeader = false;
  }
  await file.close();
  return found;
}

/** `0100007F:1F90`, or 32 digits for IPv6. Undefined for one that no IPv4 packet reaches. */
export function parseLocal(text: string, protocol: Protocol): Listener | undefined {
  const [addr = '', port = ''] = text.split(':');
  const v4 = addr.length === 8 ? addr : addr.startsWith('0000000000000000FFFF0000') ? addr.slice(24) : undefined;
  const readable = v4 ? dotted(v4) : /^0+$/.test(addr) ? '::' : undefined;
  return readable === undefined ? undefined : { protocol, addr: readable, port: Number.parseInt(port, 16) };
}

/** Bytes in the machine's order, which is little-endian wherever Node runs. */
const dotted = (hex: string): string => [6, 4, 2, 0].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)).join('.');

/** The one that answers where we would; `addresses` empty means every local one. */
export function conflict(
  wanted: { readonly protocol: Protocol; readonly port: number },
  addresses: readonly string[],
  among: readonly Listener[],
): Listener | undefined {
  return among.find(
    ({ protocol, addr, port }) =>
      protocol === wanted.protocol &&
      port === wanted.port &&
      (addr === '0.0.0.0' || addr === '::' || addresses.length === 0 || addresses.includes(addr)),
  );
}
