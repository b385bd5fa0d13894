import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterError } from '@swarmctl/shared/kit';
import type { RunCommand } from '../command.ts';
import { bareAddress } from './identity.ts';
import type { NetworkState, Steps } from './plan.ts';

// The kernel's devices, neighbours and forwarding tables by `ip` and `bridge`: read as a whole, changed in batches.

export interface Kernel {
  of(bridge: string, port: string): NetworkState;
  /** Devices that say that they are this owner's. */
  devicesOf(owner: string): string[];
  /** Networks whose packets go by this device. */
  networksOver(device: string): { readonly vni: number; readonly port: number }[];
}

interface Link {
  readonly ifname: string;
  readonly address: string;
  readonly mtu: number;
  readonly flags: readonly string[];
  readonly ifalias?: string;
  readonly master?: string;
  readonly linkinfo?: {
    readonly info_data?: {
      readonly id?: number;
      readonly local?: string;
      readonly local6?: string;
      readonly port?: number;
      readonly link?: string;
      readonly learning?: boolean;
    };
    readonly info_slave_data?: { readonly learning?: boolean; readonly flood?: boolean };
  };
}

interface Addressed {
  readonly ifname: string;
  readonly addr_info: readonly { readonly local: string; readonly prefixlen: number; readonly scope: string }[];
}

interface Forwarding {
  readonly mac: string;
  readonly ifname: string;
  readonly dst?: string;
  readonly viaIf?: string;
  readonly flags: readonly string[];
  readonly master?: string;
  readonly state?: string;
}

interface Neighbour {
  readonly dst: string;
  readonly dev: string;
  readonly lladdr?: string;
}

export async function readKernel(run: RunCommand): Promise<Kernel> {
  const [bridges, ports, addresses, forwarding, neighbours] = await Promise.all([
    listing<Link>(run, 'ip', '-d', '-j', 'link', 'show', 'type', 'bridge'),
    listing<Link>(run, 'ip', '-d', '-j', 'link', 'show', 'type', 'vxlan'),
    listing<Addressed>(run, 'ip', '-j', 'addr', 'show', 'type', 'bridge'),
    listing<Forwarding>(run, 'bridge', '-j', 'fdb', 'show'),
    listing<Neighbour>(run, 'ip', '-j', 'neigh', 'show', 'nud', 'permanent'),
  ]);
  const links = new Map([...bridges, ...ports].map((link) => [link.ifname, link]));
  const addressesOf = new Map(addresses.map((one) => [one.ifname, one.addr_info ?? []]));
  const forwardingOf = grouped(forwarding, ({ ifname }) => ifname);
  const neighboursOf = grouped(neighbours, ({ dev }) => dev);
  return {
    of: (bridge, port) => ({
      ...bridgeState(links.get(bridge), addressesOf.get(bridge) ?? []),
      ...portState(links.get(port), forwardingOf.get(port) ?? [], neighboursOf.get(port) ?? []),
    }),
    devicesOf: (owner) => [...links.values()].filter(({ ifalias }) => ifalias === owner).map(({ ifname }) => ifname),
    networksOver: (device) =>
      ports
        .flatMap(({ linkinfo }) => linkinfo?.info_data ?? [])
        .filter(({ link }) => link === device)
        .map(({ id = 0, port = 0 }) => ({ vni: id, port })),
  };
}

function bridgeState(link: Link | undefined, addresses: Addressed['addr_info']): Pick<NetworkState, 'bridge'> {
  if (!link) return {};
  return {
    bridge: {
      ...common(link),
      mac: link.address,
      addresses: addresses
        .filter(({ scope }) => scope === 'global')
        .map(({ local, prefixlen }) => `${bareAddress(local)}/${prefixlen}`),
    },
  };
}

function portState(
  link: Link | undefined,
  forwarding: readonly Forwarding[],
  neighbours: readonly Neighbour[],
): Pick<NetworkState, 'port'> {
  if (!link) return {};
  const { info_data: vxlan = {}, info_slave_data: slave } = link.linkinfo ?? {};
  return {
    port: {
      ...common(link),
      vxlan: {
        vni: vxlan.id ?? 0,
        local: bareAddress(vxlan.local ?? vxlan.local6 ?? ''),
        port: vxlan.port ?? 0,
        ...(vxlan.link !== undefined && { device: vxlan.link }),
      },
      master: link.master ?? '',
      isStatic: vxlan.learning === false && slave?.learning === false && slave.flood === false,
      nodes: new Map(
        forwarding
          .filter(({ flags, dst }) => flags.includes('self') && dst !== undefined)
          // One that leads by another device is another.
          .map(({ mac, dst, viaIf }) => [mac, viaIf === vxlan.link ? bareAddress(String(dst)) : `${dst} via ${viaIf}`]),
      ),
      bridged: new Set(forwarding.filter(({ master, state }) => master && state === 'static').map(({ mac }) => mac)),
      neighbours: new Map(
        neighbours.flatMap(({ dst, lladdr }) => (lladdr ? [[bareAddress(dst), lladdr] as const] : [])),
      ),
    },
  };
}

const common = ({ ifalias, mtu, flags }: Link) => ({ owner: ifalias ?? '', mtu, isUp: flags.includes('UP') });

/** Does the steps, in order and as far as they go; throws when one that makes something failed. */
export async function execute(run: RunCommand, steps: Steps): Promise<void> {
  await batch(run, 'ip', steps.ip);
  await batch(run, 'bridge', steps.bridge);
}

async function batch(run: RunCommand, tool: 'ip' | 'bridge', lines: readonly string[]): Promise<void> {
  if (lines.length === 0) return;
  const folder = await mkdtemp(join(tmpdir(), 'swarmd-overlay-'));
  try {
    const file = join(folder, 'batch');
    await writeFile(file, `${lines.join('\n')}\n`);
    const { code, stderr } = await run(tool, ['-force', '-batch', file]);
    const failed = failures(stderr, lines);
    if (failed.length > 0 || (code !== 0 && stderr.trim() === ''))
      throw new ClusterError('internal', `${tool} failed: ${failed[0] ?? `exit code ${code}`}`, { code });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** With what each line that failed was to do. What is to go and is gone already has not failed. */
export function failures(stderr: string, lines: readonly string[]): string[] {
  const failed: string[] = [];
  let words: string[] = [];
  for (const text of stderr.split('\n')) {
    const number = /^Command failed .*:(\d+)\s*$/.exec(text)?.[1];
    if (number === undefined) {
      if (text.trim()) words.push(text.trim());
      continue;
    }
    const line = lines[Number(number) - 1] ?? '';
    if (!/^\S+ del /.test(line)) failed.push(`${words.join(' ')} (${line})`);
    words = [];
  }
  return failed;
}

/** What `ip` and `bridge` print; nothing at all for an empty list. */
async function listing<T>(run: RunCommand, program: string, ...args: string[]): Promise<T[]> {
  const { code, stdout, stderr } = await run(program, args);
  if (code !== 0) throw new ClusterError('internal', `${program} ${args.join(' ')} failed: ${stderr.trim()}`, { code });
  return (JSON.parse(stdout.trim() || '[]') as T[]).filter((one) => Object.keys(one as object).length > 0);
}

function grouped<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group) group.push(item);
    else groups.set(keyOf(item), [item]);
  }
  return groups;
}
