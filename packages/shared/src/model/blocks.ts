import { formatIpRange, type IpRange, parseIpRange } from './ip.ts';
import { type AddressPool, hasOverlays, isEncrypted, poolsOf } from './networks.ts';
import type { Network, Node } from './objects.ts';

// The blocks of attachable networks: each node's engine gives the addresses of its own to containers made by hand, without asking anybody. A
// block's first address is the node's gateway. They come from a part of each pool that nobody else is given addresses of.

/** Addresses. The smallest has room for three containers. */
const least = 4n;
const most = 256n;
/** Nodes that are reckoned with where there are fewer, and for each one there is, another to come. */
const fewNodes = 4;

/** The node can have containers on the network. */
export const canHaveGuests = (network: Network, { Description }: Node): boolean =>
  Description !== undefined && hasOverlays(Description) && (!isEncrypted(network) || Description.Tunnel !== undefined);

/** One of each pool; undefined where one has no room. `taken`: the blocks of others; `held`: addresses that somebody has. */
export function freeBlocks(
  network: Network,
  nodes: number,
  taken: readonly string[],
  held: readonly { readonly address: string }[],
): readonly string[] | undefined {
  const ranges = [...taken, ...held.map(({ address }) => address)].flatMap((text) => parseIpRange(text) ?? []);
  const blocks = poolsOf(network).flatMap((pool) => freeBlock(pool, nodes, ranges) ?? []);
  return blocks.length === network.IPAM.Configs.length ? blocks.map(formatIpRange) : undefined;
}

/** How many nodes' blocks of the smallest size the network has room for. */
export const mostBlocks = (network: Network): number =>
  Math.min(
    ...poolsOf(network).map(({ blocks, reserved }) => {
      if (!blocks) return 0;
      const { first, last } = blocks;
      const lost = [...reserved]
        .filter((value) => value >= first && value <= last)
        .map((value) => (value - first) / least);
      return Number((last - first + 1n) / least) - new Set(lost).size;
    }),
  );

function freeBlock({ blocks: all, family, reserved }: AddressPool, nodes: number, taken: readonly IpRange[]) {
  if (!all) return undefined;
  const own = [...reserved].map((value): IpRange => ({ family, prefix: all.prefix, first: value, last: value }));
  const others = [...own, ...taken.filter((one) => one.family === family)];
  for (let size = sizeFor(all, nodes); size >= least; size /= 2n) {
    for (let first = all.first; first + size - 1n <= all.last; ) {
      const last = first + size - 1n;
      const met = others.find((one) => one.first <= last && first <= one.last);
      if (!met) return { family, prefix: bitsOf(family) - Math.log2(Number(size)), first, last };
      first = ((met.last + size) / size) * size;
    }
  }
  return undefined;
}

const bitsOf = (family: 4 | 6): number => (family === 4 ? 32 : 128);

/** A power of two. */
function sizeFor({ first, last }: IpRange, nodes: number): bigint {
  const share = (last - first + 1n) / BigInt(2 * Math.max(nodes, fewNodes));
  let size = least;
  while (size * 2n <= share && size < most) size *= 2n;
  return size;
}

/** The node's own address in its blocks. */
export const gatewaysIn = (blocks: readonly string[]): readonly string[] =>
  blocks.map((block) => block.slice(0, block.indexOf('/')));
