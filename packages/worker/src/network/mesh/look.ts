import { access } from 'node:fs/promises';
import { ClusterError } from '@swarmctl/shared/kit';
import { formatIp, parseIp } from '@swarmctl/shared/model';
import type { RunCommand } from '../command.ts';
import { type Family, isOurMark, isOurRule, type Link, type MeshFound, type Rule } from './plan.ts';
import { withLines } from './tool.ts';

// What the kernel has, read with the system's tools.

type Fields = Readonly<Record<string, unknown>>;

/** One of the machine's devices. */
export interface Device {
  readonly name: string;
  readonly mtu: number;
  readonly addresses: readonly { readonly addr: string; readonly prefix: number; readonly isOfLink: boolean }[];
}

export class Looker {
  readonly #run: RunCommand;

  constructor(run: RunCommand) {
    this.#run = run;
  }

  async devices(): Promise<Device[]> {
    return (await this.#json('ip', '-j', 'address', 'show')).map((device) => ({
      name: String(device['ifname']),
      mtu: Number(device['mtu']),
      addresses: list(device['addr_info'])
        .filter((one) => one['local'] !== undefined)
        .map((one) => ({
          addr: canonical(String(one['local'])),
          prefix: Number(one['prefixlen']),
          isOfLink: one['scope'] === 'link' && String(one['local']).startsWith('fe80'),
        })),
    }));
  }

  async mesh(device: string, mark: number, devices: readonly Device[]): Promise<MeshFound> {
    const known = devices.find(({ name }) => name === device);
    const rules = (await this.rules()).filter((rule) => isOurRule(rule, device, mark));
    if (!known) return { addresses: [], forwards: [], neighbours: [], rules, routes: [] };
    const [link, forwards, neighbours, routes4, routes6] = await Promise.all([
      this.#link(device),
      this.#json('bridge', '-j', 'fdb', 'show', 'dev', device),
      this.#json('ip', '-j', 'neigh', 'show', 'dev', device),
      this.#routes(device, 4),
      this.#routes(device, 6),
    ]);
    return {
      ...(link && { link }),
      addresses: known.addresses.filter(({ isOfLink }) => !isOfLink).map(({ addr, prefix }) => `${addr}/${prefix}`),
      forwards: forwards
        .filter((one) => one['dst'] !== undefined)
        .map((one) => ({ mac: String(one['mac']), dst: canonical(String(one['dst'])) })),
      neighbours: neighbours
        .filter((one) => one['lladdr'] !== undefined)
        .map((one) => ({
          addr: canonical(String(one['dst'])),
          mac: String(one['lladdr']),
          isPermanent: (one['state'] as string[] | undefined)?.includes('PERMANENT') ?? false,
        })),
      rules,
      routes: [...routes4, ...routes6].filter(({ table }) => isOurMark(table, mark)),
    };
  }

  async rules(): Promise<Rule[]> {
    const of = async (family: Family): Promise<Rule[]> =>
      (await this.#json('ip', '-j', `-${family}`, 'rule', 'show')).map((rule) => ({
        family,
        priority: Number(rule['priority']),
        ...(rule['fwmark'] !== undefined && { mark: Number(rule['fwmark']) }),
        ...(rule['iif'] !== undefined && { iif: String(rule['iif']) }),
        table: String(rule['table']),
      }));
    return (await Promise.all(([4, 6] as const).map(of))).flat();
  }

  /** The MTUs of the ways to `addrs` (canonical) as the kernel knows them; nothing for one without a way. */
  async mtusTo(addrs: readonly string[], devices: readonly Device[]): Promise<ReadonlyMap<string, number>> {
    const mtus = new Map<string, number>();
    const { stdout } = await this.#batch(addrs.map((addr) => `route get ${addr}`));
    for (const line of stdout.split('\n').filter((text) => text.startsWith('['))) {
      const [route] = JSON.parse(line) as Fields[];
      const metric = list(route?.['metrics']).find((one) => one['mtu'] !== undefined)?.['mtu'];
      const mtu = metric ?? devices.find(({ name }) => name === route?.['dev'])?.mtu;
      if (mtu !== undefined) mtus.set(canonical(String(route?.['dst'])), Number(mtu));
    }
    return mtus;
  }

  async #batch(lines: readonly string[]): Promise<{ stdout: string }> {
    if (lines.length === 0) return { stdout: '' };
    return withLines(lines, (file) => this.#run('ip', ['-j', '-force', '-batch', file]));
  }

  async #link(device: string): Promise<Link | undefined> {
    const [link] = await this.#json('ip', '-j', '-d', 'link', 'show', 'dev', device);
    if (!link) return undefined;
    const info = (link['linkinfo'] ?? {}) as Fields;
    const data = (info['info_data'] ?? {}) as Fields;
    return {
      kind: String(info['info_kind'] ?? ''),
      mac: String(link['address']),
      mtu: Number(link['mtu']),
      isUp: (link['flags'] as string[]).includes('UP'),
      vni: Number(data['id']),
      port: Number(data['port']),
      local: canonical(String(data['local'] ?? data['local6'] ?? '')),
      isLearning: data['learning'] !== false,
    };
  }

  async #routes(device: string, family: Family): Promise<MeshFound['routes'][number][]> {
    return (await this.#json('ip', '-j', `-${family}`, 'route', 'show', 'table', 'all', 'dev', device))
      .filter((route) => route['dst'] === 'default' && route['gateway'] !== undefined)
      .map((route) => ({ family, table: Number(route['table']), gateway: canonical(String(route['gateway'])) }));
  }

  async #json(program: string, ...args: string[]): Promise<Fields[]> {
    const { code, stdout, stderr } = await this.#run(program, args);
    // A kernel without IPv6 has no such rules either.
    if (code !== 0 && args.includes('-6')) return [];
    if (code !== 0) throw new ClusterError('internal', `${program} ${args.join(' ')}: ${stderr.trim() || code}`);
    return stdout.trim() === '' ? [] : list(JSON.parse(stdout));
  }
}

const list = (value: unknown): Fields[] =>
  Array.isArray(value)
    ? value.filter((one) => typeof one === 'object' && one !== null && Object.keys(one).length > 0)
    : [];

export function canonical(addr: string): string {
  const ip = parseIp(addr);
  return ip ? formatIp(ip) : addr;
}

export const hasIpv6 = (): Promise<boolean> =>
  access('/proc/sys/net/ipv6/conf').then(
    () => true,
    () => false,
  );
