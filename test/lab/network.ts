import { run } from './run.ts';
import { bridgeNamespace, markOf } from './state.ts';

// The network between the machines of a lab: a bridge in a namespace of its own, so that nothing is added to this machine's network and every
// lab may use the same addresses. A partition is a set of pairs of ports between which the bridge passes nothing.

const bridge = 'br0';

const rules = `
table bridge lab {
  set cut { type ifname . ifname; }
  chain forward {
    type filter hook forward priority 0;
    iifname . oifname @cut drop
  }
}
`;

/** Two machines' names, the lesser first. */
export type Cut = readonly [string, string];

export class Network {
  readonly #lab: string;
  readonly #netns: string;

  constructor(lab: string) {
    this.#lab = lab;
    this.#netns = bridgeNamespace(lab);
  }

  async make(): Promise<void> {
    await this.#run(
      `ip netns add ${this.#netns}
       ip -n ${this.#netns} link add ${bridge} type bridge mcast_snooping 0
       ip -n ${this.#netns} link set ${bridge} up
       ${this.#nft} '${rules}'`,
    );
  }

  /** Gives a namespace an eth0 on the bridge; the port is named after the machine. */
  async plug(machine: string, netns: string, mac: string): Promise<void> {
    await this.#run(
      `ip -n ${this.#netns} link add ${machine} type veth peer name eth0 address ${mac} netns ${netns}
       ip -n ${this.#netns} link set ${machine} master ${bridge} up`,
    );
  }

  /** Both ends go; the other machines see silence. */
  async unplug(machine: string): Promise<void> {
    await this.#run(
      `! ip -n ${this.#netns} link show ${machine} >/dev/null 2>&1 || ip -n ${this.#netns} link del ${machine}`,
    );
  }

  async cut(machine: string, others: readonly string[]): Promise<void> {
    await this.#change(
      'add',
      others.map((other) => pair(machine, other)),
    );
  }

  /** All of them, or those of one machine. */
  async heal(machine?: string): Promise<void> {
    const cuts = await this.cuts();
    await this.#change(
      'delete',
      cuts.filter((cut) => machine === undefined || cut.includes(machine)),
    );
  }

  async cuts(): Promise<Cut[]> {
    const text = await this.#run(`${this.#nft} -j list set bridge lab cut`);
    const { nftables } = JSON.parse(text) as { nftables: { set?: { elem?: { concat: [string, string] }[] } }[] };
    return nftables
      .flatMap(({ set }) => set?.elem ?? [])
      .flatMap(({ concat: [a, b] }) => (a < b ? [[a, b] as const] : []));
  }

  async #change(verb: 'add' | 'delete', cuts: readonly Cut[]): Promise<void> {
    const both = cuts.flatMap(([a, b]) => [`"${a}" . "${b}"`, `"${b}" . "${a}"`]);
    if (both.length > 0) await this.#run(`${this.#nft} '${verb} element bridge lab cut { ${both.join(', ')} }'`);
  }

  get #nft(): string {
    return `nsenter --net=/run/netns/${this.#netns} nft`;
  }

  #run(script: string): Promise<string> {
    return run('sh', ['-ec', script], markOf(this.#lab));
  }
}

const pair = (a: string, b: string): Cut => (a < b ? [a, b] : [b, a]);
