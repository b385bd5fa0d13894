import { ClusterError } from '@swarmctl/shared/kit';
import type { RunCommand } from '../command.ts';

// The tunnel's device as the kernel has it, whoever does the encryption.

export interface FoundLink {
  /** `wireguard`: the kernel's own; `tun`: of a program. */
  readonly kind: string;
  readonly owner: string;
  readonly mtu: number;
  readonly isUp: boolean;
  readonly addr: string | undefined;
}

interface Shown {
  readonly ifname?: string;
  readonly mtu: number;
  readonly flags: readonly string[];
  readonly ifalias?: string;
  readonly linkinfo?: { readonly info_kind?: string };
  readonly addr_info?: readonly { readonly family: string; readonly local: string; readonly prefixlen: number }[];
}

/** Undefined when there is none. */
export async function findLink(run: RunCommand, device: string): Promise<FoundLink | undefined> {
  const { code, stdout, stderr } = await run('ip', ['-d', '-j', 'addr', 'show', 'dev', device]);
  if (code !== 0 && /does not exist|Cannot find device/.test(stderr)) return undefined;
  if (code !== 0) throw new ClusterError('internal', `ip addr show failed: ${stderr.trim()}`, { code });
  const link = (JSON.parse(stdout || '[]') as Shown[]).find(({ ifname }) => ifname === device);
  if (!link) return undefined;
  const v4 = link.addr_info?.find(({ family }) => family === 'inet');
  return {
    kind: link.linkinfo?.info_kind ?? '',
    owner: link.ifalias ?? '',
    mtu: link.mtu,
    isUp: link.flags.includes('UP'),
    addr: v4 && `${v4.local}/${v4.prefixlen}`,
  };
}

/** Runs `ip` to its end; rejects with what it was to do. */
export async function ip(run: RunCommand, ...args: string[]): Promise<void> {
  const { code, stderr } = await run('ip', args);
  if (code !== 0) throw new ClusterError('internal', `ip ${args.join(' ')}: ${stderr.trim() || code}`, { code });
}
