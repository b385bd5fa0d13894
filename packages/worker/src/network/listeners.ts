import { open } from 'node:fs/promises';
import { formatIp, type Protocol } from '@swarmctl/shared/model';
import { canonical, familyOf } from './address.ts';

// Who listens on this machine's ports, so that the kernel's ingress takes none from another program.

export interface Listener {
  readonly protocol: Protocol;
  /** As the kernel writes addresses; `::` of a wildcard for both families. */
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
    readSctp(`${folder}/sctp/eps`),
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
    if (state === (protocol === 'tcp' ? listening : unconnected)) found.push(parseLocal(local, protocol));
    isHeader = false;
  }
  await file.close();
  return found;
}

/** ENDPT SOCK STY SST HBKT LPORT UID INODE LADDRS; a state (SST) of 10 is one that listens. */
async function readSctp(path: string): Promise<Listener[]> {
  const found: Listener[] = [];
  const file = await open(path).catch(() => undefined);
  if (!file) return found;
  for await (const line of file.readLines()) {
    const [, , , state, , port, , , ...addrs] = line.trim().split(/\s+/);
    if (state !== '10') continue;
    for (const addr of addrs) found.push({ protocol: 'sctp', addr: canonical(addr), port: Number(port) });
  }
  await file.close();
  return found;
}

/** `0100007F:1F90`, or 32 digits for IPv6. */
export function parseLocal(text: string, protocol: Protocol): Listener {
  const [addr = '', port = ''] = text.split(':');
  // Words of four bytes in the machine's order, which is little-endian wherever Node runs.
  const words = addr.match(/.{8}/g) ?? [];
  const bytes = words.map((word) => word.match(/../g)?.reverse().join('') ?? '').join('');
  const value = BigInt(`0x${bytes || '0'}`);
  const isMapped = words.length === 4 && value >> 32n === 0xffffn;
  const ip =
    isMapped || words.length === 1
      ? { family: 4 as const, value: value & 0xffff_ffffn }
      : { family: 6 as const, value };
  return { protocol, addr: formatIp(ip), port: Number.parseInt(port, 16) };
}

const everyAddress: readonly string[] = ['0.0.0.0', '::'];
/** The kernel's ingress leaves these to others. */
const isElsewhere = (addr: string): boolean => addr === '::1' || /^fe[89ab]/.test(addr);

/** The one that answers where we would; `addresses` empty means every local one. */
export function conflict(
  wanted: { readonly protocol: Protocol; readonly port: number; readonly address?: string | undefined },
  addresses: readonly string[],
  among: readonly Listener[],
): Listener | undefined {
  const ours = wanted.address === undefined ? addresses : [canonical(wanted.address)];
  const meets = (addr: string) => {
    if (addr === '0.0.0.0') return ours.length === 0 || ours.some((one) => familyOf(one) !== 6);
    return everyAddress.includes(addr) || (ours.length === 0 ? !isElsewhere(addr) : ours.includes(addr));
  };
  return among.find(({ protocol, addr, port }) => protocol === wanted.protocol && port === wanted.port && meets(addr));
}
