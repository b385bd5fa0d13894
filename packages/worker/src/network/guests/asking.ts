import { isIPv4 } from 'node:net';
import type { CommandResult } from '../command.ts';
import type { Job } from '../vip/batch.ts';
import type { ContainerNamespace } from '../vip/namespace.ts';

// Whom a guest's names are asked of. A task is made with the node's resolver as its own; a guest's engine knows nothing of that, and asks, from the
// guest's network, whomever it has its containers ask. So what it asks there goes to the node's resolver; where it can ask nobody, what it is asked
// goes there itself.

export interface Asking {
  /** Whom the engine asks for the guest; none, or nobody that it can reach: the engine is not asked. */
  readonly servers: readonly string[];
  /** The node's resolver, an IPv4 address. */
  readonly resolver: string;
}

const table = 'inet swarmd_names';
/** Of the engine, in its containers. */
const engineResolver = '127.0.0.11';

/** The whole table, in place of whatever was there. Pure. */
export function askingText({ servers, resolver }: Asking): string {
  const asked = servers.filter((addr) => isIPv4(addr) && addr !== resolver);
  const lines = [
    `table ${table}`,
    `delete table ${table}`,
    `table ${table} {`,
    '  chain c_ask {',
    // Before the engine's own rules.
    '    type nat hook output priority -110; policy accept;',
    `    ip daddr { ${asked.length > 0 ? asked.join(', ') : engineResolver} } meta l4proto { tcp, udp } th dport 53 dnat ip to ${resolver}`,
    '  }',
    '  chain c_source {',
    '    type nat hook postrouting priority 110; policy accept;',
    // It may be on its way out by another network, or come from the loopback.
    `    ip daddr ${resolver} meta l4proto { tcp, udp } th dport 53 ct status dnat masquerade`,
    '  }',
    // With route_localnet, neighbours could reach what listens on the loopback alone.
    '  chain c_loopback {',
    '    type filter hook prerouting priority -300; policy accept;',
    '    iifname != "lo" ip daddr 127.0.0.0/8 drop',
    '  }',
    '}',
  ];
  return `${lines.join('\n')}\n`;
}

type Run = (job: Job) => Promise<CommandResult | undefined>;

/** What is asked on the loopback does not leave it otherwise. */
const script = 'echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet; nft -f "$1"';

/** Rejects when nft refused; a guest that has ended needs nothing. */
export async function redirect(run: Run, namespace: Pick<ContainerNamespace, 'open'>, asking: Asking): Promise<void> {
  const result = await run({ namespace, script, text: askingText(asking) });
  if (result && result.code !== 0) throw new Error(`nft failed: ${result.stderr.trim().slice(0, 400)}`);
}

/** Nobody's. */
const nowhere = '02:00:00:00:00:00';

/**
 * Whoever was quicker than the rules for virtual addresses waits to hear whose hardware has one. As long as it does, TCP does not try again, which
 * would work now; so what it has sent goes nowhere. Rejects when it cannot be run.
 */
export async function unstick(
  run: Run,
  namespace: Pick<ContainerNamespace, 'open'>,
  vips: readonly string[],
): Promise<void> {
  const script = [
    'ip -o neigh show nud incomplete | while read -r addr _ device _; do',
    `  case ' ${vips.join(' ')} ' in *" $addr "*) ip neigh replace "$addr" lladdr ${nowhere} dev "$device" nud stale;; esac`,
    'done',
    'exit 0',
  ];
  await run({ namespace, script: script.join('\n') });
}

/** Whatever was written into the guest's network; it goes on without. */
export async function clear(run: Run, namespace: Pick<ContainerNamespace, 'open'>): Promise<void> {
  const lines = ['swarmd_names', 'swarmd_vip'].map((name) => `nft delete table inet ${name} 2>/dev/null`);
  await run({ namespace, script: [...lines, 'exit 0'].join('\n') });
}
