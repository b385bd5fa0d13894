import { isIPv4 } from 'node:net';
import { parseIp } from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';

// The rules that give a container the virtual addresses of services: in its own namespace, what it sends to one goes to a task, by turns; to one
// without a task, it is refused at once. Pure: addresses and tasks in, transactions for nft out.

/** By virtual address: the tasks' addresses, in a stable order. */
export type Services = ReadonlyMap<string, readonly string[]>;

/** What the kernel has, in the order of its turns. */
export type Turns = ReadonlyMap<string, readonly string[]>;

const table = 'inet swarmd_vip';

/** Views never change in place. */
const cache = new WeakMap<NetworkView, Services>();

export function servicesOf(views: readonly NetworkView[]): Services {
  const [only, ...more] = views.map(servicesOfOne);
  if (only && more.length === 0) return only;
  return new Map([only, ...more].flatMap((services) => [...(services ?? [])]));
}

function servicesOfOne(view: NetworkView): Services {
  const known = cache.get(view);
  if (known) return known;
  const services = new Map<string, readonly string[]>();
  for (const { vip, tasks } of view.names) {
    // A service has one address under all its names.
    if (vip === undefined || services.has(vip)) continue;
    const addrs = tasks.map(({ addr }) => addr).filter((addr) => isIPv4(addr) === isIPv4(vip));
    services.set(vip, [...new Set(addrs)]);
  }
  cache.set(view, services);
  return services;
}

/** `turn` says with which task each address begins, so that not all containers begin with the same. */
export function turnsOf(services: Services, turn: (vip: string, count: number) => number): Turns {
  return new Map(
    [...services].map(([vip, targets]) => {
      const first = targets.length > 1 ? turn(vip, targets.length) : 0;
      return [vip, [...targets.slice(first), ...targets.slice(0, first)]];
    }),
  );
}

export const isSameSet = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((one) => b.includes(one));

/** The whole table, in place of whatever was there. */
export function replacement(turns: Turns): string {
  const all = [...turns];
  const lines = (family: 4 | 6) => all.filter(([vip]) => isIPv4(vip) === (family === 4));
  const elements = (name: string, type: string, items: readonly string[]) =>
    `  ${name} { type ${type};${items.length > 0 ? ` elements = { ${items.join(', ')} };` : ''} }`;
  const active = (family: 4 | 6) => lines(family).filter(([, targets]) => targets.length > 0);
  const idle = (family: 4 | 6) => lines(family).filter(([, targets]) => targets.length === 0);
  const verdicts = (family: 4 | 6) => active(family).map(([vip]) => `${vip} : goto ${chain(vip)}`);
  const text = [
    `table ${table}`,
    `delete table ${table}`,
    `table ${table} {`,
    ...[...active(4), ...active(6)].map(([vip, targets]) => `  chain ${chain(vip)} { ${rule(vip, targets)}; }`),
    elements('map vips4', 'ipv4_addr : verdict', verdicts(4)),
    elements('map vips6', 'ipv6_addr : verdict', verdicts(6)),
    ...[4, 6].map((family) =>
      elements(
        `set idle${family}`,
        `ipv${family}_addr`,
        idle(family as 4 | 6).map(([vip]) => vip),
      ),
    ),
    '  chain c_refuse {',
    '    type filter hook output priority -150; policy accept;',
    // What began earlier may end in peace.
    ...['ip daddr @idle4', 'ip6 daddr @idle6'].flatMap((match) => [
      `    ${match} ct state new meta l4proto tcp reject with tcp reset`,
      `    ${match} ct state new reject with icmpx type port-unreachable`,
    ]),
    '  }',
    '  chain c_output {',
    '    type nat hook output priority -110; policy accept;',
    '    ip daddr vmap @vips4',
    '    ip6 daddr vmap @vips6',
    '  }',
    '}',
  ];
  return `${text.join('\n')}\n`;
}

/** From one to the other, by what differs; empty: nothing does. */
export function changes(from: Turns, to: Turns): string {
  const lines: string[] = [];
  for (const [vip, targets] of from) if (!to.has(vip)) lines.push(...leave(vip, targets));
  for (const [vip, targets] of to) {
    const old = from.get(vip);
    if (old && isSameSet(old, targets)) continue;
    if (old && old.length > 0 && targets.length > 0) {
      lines.push(`flush chain ${table} ${chain(vip)}`, `add rule ${table} ${chain(vip)} ${rule(vip, targets)}`);
      continue;
    }
    if (old) lines.push(...leave(vip, old));
    lines.push(...enter(vip, targets));
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

function enter(vip: string, targets: readonly string[]): string[] {
  if (targets.length === 0) return [`add element ${table} idle${family(vip)} { ${vip} }`];
  return [
    `add chain ${table} ${chain(vip)}`,
    `add rule ${table} ${chain(vip)} ${rule(vip, targets)}`,
    `add element ${table} vips${family(vip)} { ${vip} : goto ${chain(vip)} }`,
  ];
}

function leave(vip: string, targets: readonly string[]): string[] {
  if (targets.length === 0) return [`delete element ${table} idle${family(vip)} { ${vip} }`];
  return [
    `delete element ${table} vips${family(vip)} { ${vip} : goto ${chain(vip)} }`,
    `flush chain ${table} ${chain(vip)}`,
    `delete chain ${table} ${chain(vip)}`,
  ];
}

const family = (addr: string): 4 | 6 => (isIPv4(addr) ? 4 : 6);

const chain = (vip: string): string => `v_${parseIp(vip)?.value.toString(16)}`;

function rule(vip: string, targets: readonly string[]): string {
  const to = `dnat ${family(vip) === 4 ? 'ip' : 'ip6'} to`;
  if (targets.length === 1) return `${to} ${targets[0]}`;
  return `${to} numgen inc mod ${targets.length} map { ${targets.map((addr, i) => `${i} : ${addr}`).join(', ')} }`;
}

/** A flow that the kernel remembers, and that leads where it should not: to a task that is gone, or to the virtual address itself. */
export interface StaleFlow {
  readonly protocol?: 'udp';
  readonly vip: string;
  readonly answering: string;
}

/** What a change makes stale. UDP has no end, so flows to tasks that left go on unless they are forgotten; TCP ends by itself. */
export function staleFlows(from: Turns, to: Turns): StaleFlow[] {
  const flows: StaleFlow[] = [];
  for (const [vip, targets] of from) {
    const left = targets.filter((addr) => !to.get(vip)?.includes(addr));
    flows.push(...left.map((answering) => ({ protocol: 'udp' as const, vip, answering })));
  }
  // Whoever was quicker than the rules has found nobody, and would go on so.
  for (const vip of to.keys()) if (!from.has(vip)) flows.push({ vip, answering: vip });
  return flows;
}

/** What is stale among `conntrack -L`'s flows, whatever there was before. */
export function strayFlows(text: string, turns: Turns): StaleFlow[] {
  const found = new Map<string, StaleFlow>();
  for (const [, protocol, vip = '', answering = ''] of text.matchAll(flowLine)) {
    const targets = turns.get(vip);
    if (!targets || targets.includes(answering)) continue;
    if (answering === vip) found.set(`${vip} ${answering}`, { vip, answering });
    else if (protocol === 'udp') found.set(`udp ${vip} ${answering}`, { protocol, vip, answering });
  }
  return [...found.values()];
}

const flowLine = /^(\S+) .*? dst=(\S+) .*? src=(\S+) dst=\S+/gm;
