import { expect, it } from 'vitest';
import { probeDatagram } from './probe.ts';

const way = { vni: 77, self: 257, peer: 258, from: '198.18.1.1', to: '198.18.1.2', fromPort: 40_000 };

it('is a packet of the mesh with a question in it', () => {
  const data = probeDatagram(way, 4, 9, 200);
  expect(data.length).toBe(200 - 28);
  const text = data.toString('hex');
  // VXLAN, Ethernet, IPv4 with its checksum, UDP to the echo, the question and its token.
  expect(text.slice(0, 16)).toBe('0800000000004d00');
  expect(text.slice(16, 44)).toBe('0273776d01020273776d01010800');
  expect(text.slice(44, 64)).toBe('45000096000040004011');
  expect(text.slice(68, 84)).toBe('c6120101c6120102');
  expect(sum(data.subarray(22, 42))).toBe(0xffff);
  expect(text.slice(84, 100)).toBe('9c40000700820000');
  expect(text.slice(100, 130)).toBe(`73${Buffer.from('swarm-mesh').toString('hex')}00000009`);
  expect(text.slice(130)).toMatch(/^0+$/);
});

it('has the size that is asked for, by IPv6 too, and room for the question at least', () => {
  expect(probeDatagram(way, 6, 1, 1_500).length).toBe(1_452);
  expect(probeDatagram(way, 4, 1, 10).length).toBe(8 + 14 + 20 + 8 + 15);
});

/** Of an IPv4 header: all bits where its checksum is right. */
function sum(header: Buffer): number {
  let total = 0;
  for (let at = 0; at < header.length; at += 2) total += header.readUInt16BE(at);
  return (total & 0xffff) + (total >>> 16);
}
