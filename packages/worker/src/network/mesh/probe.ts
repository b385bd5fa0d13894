import { createSocket, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { parseIp } from '@swarmctl/shared/model';
import { echoPort, sizeQuestion } from './echo.ts';
import { macOf } from './names.ts';

// Packets of the mesh made by hand, so that they can be as large as the first link takes, whatever the mesh's own MTU: a question to the peer's
// echo within Ethernet within VXLAN. The kernel marks a datagram that fits the way as one that nobody may cut.

export interface ProbeWay {
  readonly vni: number;
  /** Mesh ids. */
  readonly self: number;
  readonly peer: number;
  /** Mesh addresses, IPv4. */
  readonly from: string;
  readonly to: string;
  /** Of the socket that waits for the answer. */
  readonly fromPort: number;
}

/** IPv4 or IPv6, and UDP, around what is sent. */
const outside = { 4: 28, 6: 48 } as const;
const [vxlanHeader, ethernetHeader, ipHeader, udpHeader] = [8, 14, 20, 8];

/** What is to be sent by UDP so that the whole packet has `size` bytes. */
export function probeDatagram(way: ProbeWay, family: 4 | 6, token: number, size: number): Buffer {
  const question = sizeQuestion(token);
  const heads = vxlanHeader + ethernetHeader + ipHeader + udpHeader;
  const length = Math.max(size - outside[family], heads + question.length);
  const data = Buffer.alloc(length);
  data.writeUInt32BE(0x0800_0000, 0);
  data.writeUInt32BE(way.vni << 8, 4);
  let at = vxlanHeader;
  data.write(macOf(way.peer).replaceAll(':', ''), at, 'hex');
  data.write(macOf(way.self).replaceAll(':', ''), at + 6, 'hex');
  data.writeUInt16BE(0x0800, at + 12);
  at += ethernetHeader;
  data.writeUInt16BE(0x4500, at);
  data.writeUInt16BE(length - at, at + 2);
  // Not to be cut; 64 hops; UDP.
  data.writeUInt16BE(0x4000, at + 6);
  data.writeUInt16BE(0x4011, at + 8);
  data.writeUInt32BE(bitsOf(way.from), at + 12);
  data.writeUInt32BE(bitsOf(way.to), at + 16);
  data.writeUInt16BE(checksum(data.subarray(at, at + ipHeader)), at + 10);
  at += ipHeader;
  data.writeUInt16BE(way.fromPort, at);
  data.writeUInt16BE(echoPort, at + 2);
  // Without a checksum, as IPv4 allows.
  data.writeUInt16BE(length - at, at + 4);
  question.copy(data, at + udpHeader);
  return data;
}

/** Sends them from the node's data path address. */
export class ProbeSocket {
  readonly #socket: Socket;
  readonly family: 4 | 6;
  #isOpen = false;

  constructor(local: string) {
    this.family = isIPv6(local) ? 6 : 4;
    this.#socket = createSocket(`udp${this.family}`);
    this.#socket.on('error', () => undefined);
    this.#socket.bind(0, local, () => {
      this.#isOpen = true;
    });
    this.#socket.unref();
  }

  /** One that cannot be sent is one that is lost. */
  send(data: Buffer, port: number, addr: string): void {
    if (this.#isOpen) this.#socket.send(data, port, addr, () => undefined);
  }

  close(): void {
    this.#isOpen = false;
    this.#socket.close();
  }
}

const bitsOf = (addr: string): number => Number(parseIp(addr)?.value ?? 0n);

/** Of the internet protocol: the sum of 16 bits each, carries added, turned. */
function checksum(header: Buffer): number {
  let sum = 0;
  for (let at = 0; at < header.length; at += 2) sum += header.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
