import { beforeEach, expect, test } from 'vitest';
import { NetworkMtu } from './network-mtu.ts';

let asked: string[][];
let width: number;
let isProven: boolean;
const paths = {
  least: async (addrs: readonly string[]) => {
    asked.push([...addrs]);
    return width;
  },
  isProven: () => isProven,
};
const byWays = (mtu: NetworkMtu, nodeAddrs: string[], bridge?: number) =>
  mtu.byWays(paths, { local: '192.0.2.1', nodeAddrs, bridge });

beforeEach(() => {
  [asked, width, isProven] = [[], 1_500, false];
});

test('is what the ways leave for VXLAN, asked for once for the same nodes', async () => {
  const mtu = new NetworkMtu();
  expect(await byWays(mtu, ['192.0.2.3', '192.0.2.2', '192.0.2.3'])).toBe(1_450);
  expect(await byWays(mtu, ['192.0.2.2', '192.0.2.3'])).toBe(1_450);
  expect(asked).toEqual([['192.0.2.2', '192.0.2.3']]);
  expect(mtu.given).toBe(1_450);
  width = 1_400;
  mtu.forget();
  expect(await byWays(mtu, ['192.0.2.2', '192.0.2.3'])).toBe(1_350);
  // New containers get what the engine was told first.
  expect(mtu.given).toBe(1_450);
});

test('of a network that an earlier daemon made, no larger than it was until the ways are tried', async () => {
  const mtu = new NetworkMtu();
  expect(await byWays(mtu, ['192.0.2.2'], 1_350)).toBe(1_350);
  expect(mtu.given).toBeUndefined();
  isProven = true;
  mtu.forget();
  expect(await byWays(mtu, ['192.0.2.2'], 1_350)).toBe(1_450);
});

test('through the tunnels, is what these leave', () => {
  const mtu = new NetworkMtu();
  expect(mtu.inside({ addr: 'fd00::1', mtu: 1_440 }, { bridge: 1_300 })).toBe(1_370);
  expect(mtu.given).toBeUndefined();
  expect(mtu.inside({ addr: '198.19.0.1', mtu: 1_440 }, {})).toBe(1_390);
  expect(mtu.given).toBe(1_390);
});

test('is no more than the user of the network says, and less where the ways leave less', async () => {
  const most = 1_300;
  const sized = (mtu: NetworkMtu) => mtu.byWays(paths, { local: '192.0.2.1', nodeAddrs: ['192.0.2.2'], most });
  const mtu = new NetworkMtu();
  expect(await sized(mtu)).toBe(1_300);
  expect(mtu.given).toBe(1_300);
  width = 1_280;
  mtu.forget();
  expect(await sized(mtu)).toBe(1_230);
  expect(new NetworkMtu().inside({ addr: '198.19.0.1', mtu: 1_440 }, { most })).toBe(1_300);
  expect(new NetworkMtu().inside({ addr: '198.19.0.1', mtu: 1_300 }, { most })).toBe(1_250);
});
