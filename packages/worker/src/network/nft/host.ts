import { readdir, readFile, writeFile } from 'node:fs/promises';
import { type Logger, messageOf } from '@swarmctl/shared/kit';
import type { RunCommand } from '../command.ts';

// What the node needs around its table: the kernel's switches, and a word in the firewall of Docker or of the host.

export interface NodeHost {
  routeLocalnet(): Promise<string>;
  /** Makes sure that the kernel forwards, and routes between 127.0.0.0/8 and other addresses. */
  prepare(): Promise<void>;
  /** Makes sure that the kernel forwards IPv6. */
  prepareIPv6(): Promise<void>;
  /** Sets `route_localnet` again. */
  restore(routeLocalnet: string): Promise<void>;
  /** Lets connections of ours through the firewall, where there is one. Idempotent; never throws. */
  admit(): Promise<void>;
  /** Lets containers on these bridges reach themselves through a published port. Idempotent; never throws. */
  reflect(bridges: readonly string[]): Promise<void>;
  /** Takes back what `admit` did. */
  dismiss(): Promise<void>;
}

const sysctls = '/proc/sys/net';
const tools = ['iptables', 'ip6tables'] as const;
type Iptables = (typeof tools)[number];

export class LinuxHost implements NodeHost {
  readonly #run: RunCommand;
  readonly #log: Logger;
  readonly #rule: readonly string[];
  readonly #missing = new Set<Iptables>();
  #forwardsIPv6 = false;

  constructor(owner: string, run: RunCommand, log: Logger) {
    this.#run = run;
    this.#log = log;
    this.#rule = ['-m', 'conntrack', '--ctstate', 'DNAT', '-m', 'comment', '--comment', owner, '-j', 'ACCEPT'];
  }

  routeLocalnet(): Promise<string> {
    return readSwitch('ipv4/conf/all/route_localnet');
  }

  async prepare(): Promise<void> {
    await this.#set('ipv4/ip_forward', '1', 'connections to other nodes and to containers will not get through');
    await this.#set(
      'ipv4/conf/all/route_localnet',
      '1',
      'published ports will not answer between 127.0.0.1 and other addresses',
    );
    // A packet that comes out of its window is not known to belong to its connection, is not sent on, and this machine itself would reset it.
    await this.#set('netfilter/nf_conntrack_tcp_be_liberal', '1', 'now and then a busy connection is reset');
  }

  async prepareIPv6(): Promise<void> {
    if (this.#forwardsIPv6) return;
    this.#forwardsIPv6 = true;
    if ((await readSwitch('ipv6/conf/all/forwarding')) !== '0') return;
    // A host that forwards takes no router's word any more, and would lose its way out; 2 means that it goes on.
    for (const device of await readdir(`${sysctls}/ipv6/conf`).catch(() => []))
      if ((await readSwitch(`ipv6/conf/${device}/accept_ra`)) === '1')
        await this.#set(`ipv6/conf/${device}/accept_ra`, '2', 'the way out that a router announced may be lost');
    await this.#set('ipv6/conf/all/forwarding', '1', 'connections over IPv6 will not get through to containers');
  }

  async restore(routeLocalnet: string): Promise<void> {
    if (routeLocalnet === '0') await this.#set('ipv4/conf/all/route_localnet', '0', 'set it to 0 by hand');
  }

  async admit(): Promise<void> {
    for (const tool of tools) await this.#admit(tool);
  }

  /** An accept of our own table does not overrule another's drop. */
  async #admit(tool: Iptables): Promise<void> {
    if (await this.#iptables(tool, '-C', 'DOCKER-USER')) return;
    // Docker's default is to drop what it did not ask for; this is its place for others.
    if (await this.#iptables(tool, '-I', 'DOCKER-USER')) {
      this.#log.info({ tool }, 'connections to published ports let through Docker’s firewall');
      while (await this.#iptables(tool, '-D', 'FORWARD'));
      return;
    }
    const rules = await this.#list(tool, 'FORWARD');
    if (!/^-P FORWARD DROP|^-A FORWARD -j (DROP|REJECT)\b/m.test(rules)) return;
    if (await this.#iptables(tool, '-C', 'FORWARD')) return;
    if (await this.#iptables(tool, '-I', 'FORWARD'))
      this.#log.info({ tool }, 'connections to published ports let through the host’s firewall');
  }

  async reflect(bridges: readonly string[]): Promise<void> {
    // Where bridged packets pass the netfilter hooks, one that is sent back to its own port is dropped unless the port is a hairpin.
    try {
      const { stdout } = await this.#run('bridge', ['-d', '-j', 'link', 'show']);
      const ports = JSON.parse(stdout || '[]') as { ifname: string; master?: string; hairpin?: boolean }[];
      for (const { ifname, master, hairpin } of ports) {
        if (hairpin || !master || !bridges.includes(master)) continue;
        await this.#run('bridge', ['link', 'set', 'dev', ifname, 'hairpin', 'on']);
      }
    } catch (error) {
      this.#log.debug({ error: messageOf(error) }, 'containers may not reach themselves through a published port');
    }
  }

  async dismiss(): Promise<void> {
    for (const tool of tools)
      for (const chain of ['DOCKER-USER', 'FORWARD']) while (await this.#iptables(tool, '-D', chain));
  }

  /** False when the rule or the chain is not there. */
  async #iptables(tool: Iptables, verb: '-C' | '-I' | '-D', chain: string): Promise<boolean> {
    return (await this.#call(tool, verb, chain, ...this.#rule)) !== undefined;
  }

  async #list(tool: Iptables, chain: string): Promise<string> {
    return (await this.#call(tool, '-S', chain)) ?? '';
  }

  async #call(tool: Iptables, ...args: string[]): Promise<string | undefined> {
    if (this.#missing.has(tool)) return undefined;
    try {
      const { code, stdout } = await this.#run(tool, ['-w', '5', ...args]);
      return code === 0 ? stdout : undefined;
    } catch {
      // Without it there is no such firewall.
      this.#missing.add(tool);
      return undefined;
    }
  }

  async #set(name: string, value: string, otherwise: string): Promise<void> {
    if ((await readSwitch(name)) === value) return;
    try {
      await writeFile(`${sysctls}/${name}`, value);
      this.#log.info({ name: `net.${name.replaceAll('/', '.')}`, value }, 'kernel setting changed');
    } catch (error) {
      this.#log.warn({ name, value, error: messageOf(error) }, `kernel setting cannot be changed: ${otherwise}`);
    }
  }
}

const readSwitch = (name: string): Promise<string> =>
  readFile(`${sysctls}/${name}`, 'utf8').then(
    (text) => text.trim(),
    () => '?',
  );
