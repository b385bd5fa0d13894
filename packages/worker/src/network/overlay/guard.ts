import type { NetworkView } from '@swarmctl/shared/wire';
import type { RunCommand } from '../command.ts';
import { NftTool } from '../nft/tool.ts';
import { bareAddress, bridgeName, isVersion4 } from './identity.ts';

// Whose packets an overlay network takes: those of the nodes that have a part in it. Anybody else who sends its number to this machine is not
// heard. Numbers that are not this node's are other programs' business, another cluster's on the same port for example. And what containers made by
// hand ask the machine's resolvers goes to the node's own, which knows the network's names: the engine asks for them as it did before it was there.

export interface GuardedNetwork {
  readonly vni: number;
  readonly port: number;
  /** Where its packets come from, each once. */
  readonly senders: readonly string[];
  /** Where containers made by hand ask, and who answers them. */
  readonly asking: readonly { readonly bridge: string; readonly block: string; readonly gateway: string }[];
}

/** Views never change in place. */
const known = new WeakMap<NetworkView, GuardedNetwork>();

export function guarded(view: NetworkView): GuardedNetwork {
  const found = known.get(view);
  if (found) return found;
  const senders = [...new Set(view.far.map(({ nodeAddr }) => bareAddress(nodeAddr)))].sort();
  const bridge = bridgeName(view.id);
  const asking = view.subnets.flatMap(({ block, gateway }) =>
    block === undefined ? [] : [{ bridge, block, gateway: bareAddress(gateway) }],
  );
  const made = { vni: view.vni, port: view.port, senders, asking };
  known.set(view, made);
  return made;
}

/** By node id, so that the daemons of one network namespace each have their own. */
export const guardTable = (nodeId: string): string => `swarmnet_${nodeId.replace(/[^0-9A-Za-z]/g, '_').slice(0, 12)}`;

/** The whole table, in place of whatever was there; none without networks. `resolvers`: the machine's. */
export function guardText(
  table: string,
  networks: readonly GuardedNetwork[],
  resolvers: readonly string[] = [],
): string {
  const head = [`table inet ${table}`, `delete table inet ${table}`];
  if (networks.length === 0) return `${head.join('\n')}\n`;
  const all = [...networks].sort((a, b) => a.vni - b.vni);
  const ports = [...new Set(all.map(({ port }) => port))].sort((a, b) => a - b);
  const lines = [
    ...head,
    `table inet ${table} {`,
    ...all.map((network) => `  chain ${chainOf(network)} { ${[...accepts(network), 'drop'].join('; ')}; }`),
    '  chain c_guard {',
    '    type filter hook prerouting priority raw; policy accept;',
    // Its number is behind the head of UDP and the first word of VXLAN.
    ...ports.map((port) => {
      const own = all.filter((one) => one.port === port).map((one) => `${one.vni} : goto ${chainOf(one)}`);
      return `    udp dport ${port} @th,96,24 vmap { ${own.join(', ')} }`;
    }),
    '  }',
    ...namesChain(all, resolvers),
    '}',
  ];
  return `${lines.join('\n')}\n`;
}

function namesChain(networks: readonly GuardedNetwork[], resolvers: readonly string[]): string[] {
  const rules = networks.flatMap(({ asking }) =>
    asking.flatMap(({ bridge, block, gateway }) => {
      const family = isVersion4(gateway) ? 'ip' : 'ip6';
      const asked = resolvers.filter((addr) => isVersion4(addr) === isVersion4(gateway));
      if (asked.length === 0) return [];
      const match = `iifname "${bridge}" ${family} saddr ${block} ${family} daddr { ${asked.join(', ')} }`;
      return [`    ${match} meta l4proto { tcp, udp } th dport 53 dnat ${family} to ${gateway}`];
    }),
  );
  if (rules.length === 0) return [];
  return ['  chain c_names {', '    type nat hook prerouting priority -110; policy accept;', ...rules, '  }'];
}

const chainOf = ({ vni, port }: GuardedNetwork): string => `n_${port}_${vni}`;

function accepts({ senders }: GuardedNetwork): string[] {
  const of = (family: 'ip' | 'ip6', addrs: readonly string[]) =>
    addrs.length > 0 ? [`${family} saddr { ${addrs.join(', ')} } accept`] : [];
  return [
    ...of('ip', senders.filter(isVersion4)),
    ...of(
      'ip6',
      senders.filter((addr) => !isVersion4(addr)),
    ),
  ];
}

export class OverlayGuard {
  readonly #table: string;
  readonly #nft: NftTool;
  #written: string | undefined;

  constructor(nodeId: string, run: RunCommand) {
    this.#table = guardTable(nodeId);
    this.#nft = new NftTool(run);
  }

  /** Lets in what belongs to `networks`, and nothing else of theirs; rejects with ClusterError when the kernel refuses. `again`: also when nothing changed. */
  async apply(
    networks: readonly GuardedNetwork[],
    machines: () => Promise<readonly string[]>,
    again = false,
  ): Promise<void> {
    const resolvers = networks.some(({ asking }) => asking.length > 0) ? await machines() : [];
    const text = guardText(this.#table, networks, resolvers);
    if (text === this.#written && !again) return;
    await this.#nft.apply(text);
    this.#written = text;
  }

  /** All of it. */
  async remove(): Promise<void> {
    await this.apply([], async () => []);
  }
}
