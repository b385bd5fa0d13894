import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterError, messageOf } from '@swarmctl/shared/kit';
import { type RunCommand, runCommand } from '../command.ts';

// The `nft` program. Transactions go on its command line when they are short, which is soonest done, else by a file in a private folder: nft
// cannot read the sockets that Node's pipes are.

export interface Nft {
  /** One transaction: all of it or nothing. */
  apply(text: string): Promise<void>;
  /** The `inet` table as nft's JSON; undefined when there is none. */
  list(table: string): Promise<unknown[] | undefined>;
  tables(): Promise<TableId[]>;
  /** The comment that a table carries. */
  comment(table: TableId): Promise<string | undefined>;
}

/** Ours is of `inet`; older versions had one of `ip`. */
export interface TableId {
  readonly family: 'ip' | 'inet';
  readonly name: string;
}

/** Of 128 KiB that an argument may have. */
const shortBytes = 64 * 1024;

export class NftTool implements Nft {
  readonly #run: RunCommand;

  constructor(run: RunCommand = runCommand) {
    this.#run = run;
  }

  async apply(text: string): Promise<void> {
    if (Buffer.byteLength(text) <= shortBytes) {
      await this.#nft(text);
      return;
    }
    const folder = await mkdtemp(join(tmpdir(), 'swarmd-nft-'));
    try {
      const file = join(folder, 'transaction.nft');
      await writeFile(file, text, { mode: 0o600 });
      await this.#nft('-f', file);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async list(table: string): Promise<unknown[] | undefined> {
    if (!(await this.tables()).some(({ family, name }) => family === 'inet' && name === table)) return undefined;
    const { nftables } = JSON.parse(await this.#nft('-j', 'list', 'table', 'inet', table)) as { nftables: unknown[] };
    return nftables;
  }

  async tables(): Promise<TableId[]> {
    const text = await this.#nft('list', 'tables');
    return [...text.matchAll(/^table (ip|inet) (\S+)$/gm)].map(([, family, name]) => ({
      family: family as TableId['family'],
      name: String(name),
    }));
  }

  async comment({ family, name }: TableId): Promise<string | undefined> {
    // Its JSON leaves comments out.
    const text = await this.#nft('-t', 'list', 'table', family, name);
    return /^\s*comment "([^"]*)"/m.exec(text)?.[1];
  }

  async #nft(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.#run('nft', args);
    if (code === 0) return stdout;
    const lines = stderr.trim().split('\n').slice(0, 3).join(' ').slice(0, 400);
    throw new ClusterError('internal', `nft failed: ${lines || `exit code ${code}`}`, { code });
  }
}

/** Why the kernel's ingress cannot be used here; undefined when it can. Makes a table with all that is needed, and removes it. */
export async function whyNoNftables(nft: Nft, probe: string): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'swarmd does not run as root';
  const lines = [
    `table inet ${probe} {`,
    '  map ports { type inet_proto . inet_service : verdict; }',
    '  chain c_target {',
    '    meta nfproto ipv4 meta l4proto tcp dnat ip to numgen inc mod 2 map { 0 : 192.0.2.1 . 1, 1 : 192.0.2.2 . 1 }',
    '    meta nfproto ipv6 meta l4proto tcp dnat ip6 to [2001:db8::1]:1',
    '  }',
    '  chain c_output {',
    '    type nat hook output priority -110; policy accept;',
    '    fib daddr type local ip daddr 192.0.2.3 meta l4proto . th dport vmap @ports',
    '  }',
    '  chain c_postrouting {',
    '    type nat hook postrouting priority 90; policy accept;',
    '    ct status dnat ip daddr 192.0.2.3 masquerade fully-random',
    '  }',
    '}',
    `delete table inet ${probe}`,
  ];
  try {
    await nft.apply(`${lines.join('\n')}\n`);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}
