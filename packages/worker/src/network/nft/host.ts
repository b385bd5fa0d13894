import { readFile, writeFile } from 'node:fs/promises';
import { type Logger, messageOf } from '@swarmctl/shared/kit';
import type { RunCommand } from '../command.ts';

// What the node needs around its table: the kernel's switches, and a word in Docker's firewall.

export interface NodeHost {
  routeLocalnet(): Promise<string>;
  /** Makes sure that the kernel forwards, and routes between 127.0.0.0/8 and other addresses. */
  prepare(): Promise<void>;
  /** Sets `route_localnet` again. */
  restore(routeLocalnet: string): Promise<void>;
  /** Lets connections of ours through Docker's firewall, where there is one. Idempotent; never throws. */
  admit(): Promise<void>;
  /** Lets containers on these bridges reach themselves through a published port. Idempotent; never throws. */
  reflect(bridges: readonly string[]): Promise<void>;
  /** Takes back what `admit` did. */
  dismiss(): Promise<void>;
}

const sysctls = '/proc/sys/net/ipv4';

export class LinuxHost implements NodeHost {
  readonly #run: RunCommand;
  readonly #log: Logger;
  readonly #rule: readonly string[];
  #hasIptables = true;

  constructor(owner: string, run: RunCommand, log: Logger) {
    this.#run = run;
    this.#log = log;
    this.#rule = [
      ...['DOCKER-USER', '-m', 'conntrack', '--ctstate', 'DNAT'],
      ...['-m', 'comment', '--comment', owner, '-j', 'ACCEPT'],
    ];
  }

  routeLocalnet(): Promise<string> {
    return readSwitch('conf/all/route_localnet');
  }

  async prepare(): Promise<void> {
    await this.#set('ip_forward', '1', 'connections to other nodes and to containers will not get through');
    await this.#set(
      'conf/all/route_localnet',
      '1',
      'published ports will not answer between 127.0.0.1 and other addresses',
    );
  }

  async restore(routeLocalnet: string): Promise<void> {
    if (routeLocalnet === '0') await this.#set('conf/all/route_localnet', '0', 'set it to 0 by hand');
  }

  async admit(): Promise<void> {
    if (await this.#iptables('-C')) return;
    // Docker's default is to drop what it did not ask for, and an accept of our own table does not overrule that.
    if (await this.#iptables('-I')) this.#log.info('connections to published ports let through Docker’s firewall');
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
    while (await this.#iptables('-D'));
  }

  /** False when the rule or the chain is not there. */
  async #iptables(verb: '-C' | '-I' | '-D'): Promise<boolean> {
    if (!this.#hasIptables) return false;
    try {
      const { code } = await this.#run('iptables', ['-w', '5', verb, ...this.#rule]);
      return code === 0;
    } catch {
      // Without iptables there is no such firewall.
      this.#hasIptables = false;
      return false;
    }
  }

  async #set(name: string, value: string, otherwise: string): Promise<void> {
    if ((await readSwitch(name)) === value) return;
    try {
      await writeFile(`${sysctls}/${name}`, value);
      this.#log.info({ name: `net.ipv4.${name.replaceAll('/', '.')}`, value }, 'kernel setting changed');
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
