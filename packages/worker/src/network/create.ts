import { availableParallelism } from 'node:os';
import { type Clock, ClusterError, type Logger } from '@swarmctl/shared/kit';
import { answeredAddresses, familyOf } from './address.ts';
import { listeners } from './listeners.ts';
import { NftIngress } from './nft/ingress.ts';
import { tableName } from './nft/names.ts';
import { removal } from './nft/rules.ts';
import { NftTool, whyNoNftables } from './nft/tool.ts';
import { ProxyIngress } from './proxy/ingress.ts';
import { ProxyPool } from './proxy/pool.ts';
import { notOurs, SplitIngress } from './split.ts';
import type { Ingress, IngressOptions } from './types.ts';

// Chooses the ingress of a node: the kernel's where it can be had, with our own proxy beside it for what that cannot do; else the proxy alone.

export type IngressKind = 'auto' | 'nftables' | 'proxy' | 'off';

const mostProcesses = 4;

export interface IngressModules {
  readonly log: Logger;
  readonly clock: Clock;
}

export interface CreateOptions extends IngressOptions {
  /** Of the proxy, for traffic; 0: the daemon's own. Absent: as many as cores, but no more than four, and none on a single one. */
  readonly processes?: number | undefined;
}

/** Throws ClusterError when `nftables` was asked for and cannot be had. */
export async function createIngress(
  kind: IngressKind,
  options: CreateOptions,
  modules: IngressModules,
): Promise<Ingress> {
  const { log } = modules;
  switch (kind) {
    case 'off':
      await removeLeftover(options.nodeId);
      log.info({ ingress: kind }, 'published ports are not answered on this node');
      return off;
    case 'proxy':
      await removeLeftover(options.nodeId);
      log.info({ ingress: kind }, 'published ports are answered by the proxy, as configured');
      return proxyOf(options, modules);
    case 'nftables': {
      const why = await whyNot(options);
      if (why !== undefined)
        throw new ClusterError(
          'failed-precondition',
          `the nftables ingress cannot be used: ${why}; --ingress proxy needs no privileges`,
        );
      log.info({ ingress: kind }, 'published ports are answered by nftables, as configured');
      return withProxy(options, modules);
    }
    case 'auto': {
      const why = await whyNot(options);
      if (why !== undefined) {
        await removeLeftover(options.nodeId);
        log.info({ ingress: 'proxy', reason: why }, 'published ports are answered by the proxy');
        return proxyOf(options, modules);
      }
      log.info({ ingress: 'nftables', reason: 'root, and nft works' }, 'published ports are answered by nftables');
      return withProxy(options, modules);
    }
    default:
      return kind satisfies never;
  }
}

function proxyOf({ processes, ...options }: CreateOptions, modules: IngressModules): ProxyPool {
  const cores = availableParallelism();
  return new ProxyPool(
    { ...options, processes: processes ?? (cores > 1 ? Math.min(cores, mostProcesses) : 0) },
    modules,
  );
}

async function withProxy(options: CreateOptions, modules: IngressModules): Promise<SplitIngress> {
  const proxy = proxyOf(options, modules);
  const relay = new ProxyIngress({ ...options, families: 'ipv6' }, modules);
  const ours = () => [...proxy.listening(), ...relay.listening()];
  const others = async () => {
    // Those that are closed meanwhile are ours as well.
    const before = ours();
    return notOurs(await listeners(), [...before, ...ours()]);
  };
  const kernel = await NftIngress.open(options, { ...modules, listeners: others });
  return new SplitIngress({ kernel, proxy, relay });
}

async function whyNot(options: IngressOptions): Promise<string | undefined> {
  const addresses = answeredAddresses(options);
  if (addresses.length > 0 && addresses.every((addr) => addr === '::1'))
    return 'nothing routes between ::1 and other addresses';
  const foreign = addresses.find((addr) => !familyOf(addr));
  if (foreign !== undefined) return `it answers on addresses alone, and ${foreign} is none`;
  return whyNoNftables(new NftTool(), `${tableName(options.nodeId)}_probe`);
}

/** What an earlier daemon of this node left in the kernel would answer in our place. */
async function removeLeftover(nodeId: string): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const nft = new NftTool();
  try {
    const isThere = (await nft.tables()).some(({ name }) => name === tableName(nodeId));
    if (isThere) await nft.apply(removal(tableName(nodeId)));
  } catch {
    // Without a working nft there is nothing left by it.
  }
}

const off: Ingress = {
  kind: 'off',
  apply: () => Promise.resolve(),
  problems: () => new Map(),
  close: () => Promise.resolve(),
};
