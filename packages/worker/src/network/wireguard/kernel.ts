import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterError } from '@swarmctl/shared/kit';
import type { RunCommand } from '../command.ts';
import { findLink, ip } from './links.ts';
import { type DeviceChange, type DevicePeer, type DeviceState, type Driver, keepaliveS } from './types.ts';

// WireGuard of the kernel, by `ip` and `wg`. Keys are handed over in files of a private folder, since others may see command lines.

export class KernelWireGuard implements Driver {
  readonly kind = 'kernel';
  readonly #device: string;
  readonly #owner: string;
  readonly #run: RunCommand;

  constructor(device: string, owner: string, run: RunCommand) {
    this.#device = device;
    this.#owner = owner;
    this.#run = run;
  }

  async ensure(): Promise<void> {
    if (await findLink(this.#run, this.#device)) return;
    await ip(this.#run, 'link', 'add', 'dev', this.#device, 'type', 'wireguard');
    await ip(this.#run, 'link', 'set', 'dev', this.#device, 'alias', this.#owner);
  }

  async read(): Promise<DeviceState> {
    return parseDump(await this.#wg('show', this.#device, 'dump'));
  }

  async change(change: DeviceChange): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), 'swarmd-wg-'));
    try {
      let files = 0;
      const inFile = async (key: string): Promise<string> => {
        const path = join(folder, String(++files));
        await writeFile(path, `${key}\n`, { mode: 0o600 });
        return path;
      };
      await this.#wg('set', this.#device, ...(await changeWords(change, inFile)));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async remove(): Promise<void> {
    if (await findLink(this.#run, this.#device)) await ip(this.#run, 'link', 'del', 'dev', this.#device);
  }

  release(): void {}

  async #wg(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.#run('wg', args);
    if (code !== 0) throw new ClusterError('internal', `wg ${args[0]} failed: ${stderr.trim() || code}`, { code });
    return stdout;
  }
}

export async function changeWords(
  { privateKey, port, removed, peers }: DeviceChange,
  inFile: (key: string) => Promise<string>,
): Promise<string[]> {
  const words: string[] = [];
  if (port !== undefined) words.push('listen-port', String(port));
  if (privateKey !== undefined) words.push('private-key', await inFile(privateKey));
  for (const key of removed) words.push('peer', key, 'remove');
  for (const { key, psk, endpoint, addr } of peers) {
    words.push('peer', key);
    if (psk !== undefined) words.push('preshared-key', await inFile(psk));
    if (endpoint !== undefined) words.push('endpoint', endpoint);
    if (addr !== undefined) words.push('allowed-ips', `${addr}/32`);
    words.push('persistent-keepalive', String(keepaliveS));
  }
  return words;
}

/** `wg show DEVICE dump`: the device's own line, then one a peer, fields with tabs between. */
export function parseDump(text: string): DeviceState {
  const none = (value = '') => (value === '(none)' ? '' : value);
  const [own = [], ...rest] = text
    .trim()
    .split('\n')
    .map((line) => line.split('\t'));
  const peers = rest.map(([key = '', psk, , allowed]): Omit<DevicePeer, 'endpoint'> => {
    return { key, psk: none(psk), addr: none(allowed).replaceAll('/32', '') };
  });
  return {
    privateKey: none(own[0]),
    port: Number(own[2] ?? 0),
    peers: new Map(peers.map((peer) => [peer.key, peer])),
  };
}
