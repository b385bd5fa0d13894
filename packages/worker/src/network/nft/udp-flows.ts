import { type Logger, messageOf } from '@swarmctl/shared/kit';
import type { IngressEntry } from '@swarmctl/shared/wire';
import { familyOf, isLoopback } from '../address.ts';
import type { RunCommand } from '../command.ts';
import { endsOf, type NodeTable, type PortRule, sameEnds, type Target } from '../plan.ts';
import { forgetStaleUdp } from './conntrack.ts';
import type { TableNames } from './names.ts';

// Which flows of UDP the ingress table has made wrong, and that the kernel forgets them: UDP has no end by itself.

/** What says where a flow should lead. */
export interface InForce {
  readonly table: NodeTable;
  readonly names: Pick<TableNames, 'addresses' | 'mesh'>;
  /** Keys of ports that other programs have. */
  readonly taken: { has(key: string): boolean };
}

export class UdpFlows {
  readonly #run: RunCommand;
  readonly #log: Logger;
  readonly #own: () => ReadonlySet<string>;
  /** Why they could not be forgotten the last time. */
  #problem: string | undefined;

  /** `own`: this machine's addresses. */
  constructor(modules: { readonly run: RunCommand; readonly log: Logger; readonly own: () => ReadonlySet<string> }) {
    this.#run = modules.run;
    this.#log = modules.log;
    this.#own = modules.own;
  }

  /** Forgets those to `ports` that lead elsewhere than they should. `inForce`: undefined while that is just being written. Never rejects. */
  async forget(ports: ReadonlySet<number>, inForce: () => InForce | undefined): Promise<void> {
    if (ports.size === 0) return;
    try {
      // What was listed may be of a table that is just being written; then it is looked at once more.
      for (let attempt = 0, isUnsure = true; attempt < 3 && isUnsure; attempt++) {
        isUnsure = false;
        const own = this.#own();
        await forgetStaleUdp(this.#run, ports, (asked) => {
          const now = inForce();
          if (now) return targetsOf(asked, now, own);
          isUnsure = true;
          return undefined;
        });
      }
      this.#problem = undefined;
    } catch (error) {
      const why = messageOf(error);
      if (why !== this.#problem)
        this.#log.warn({ error: why }, 'UDP clients may go on talking to backends that are gone; it is tried again');
      this.#problem = why;
    }
  }
}

/** Where a flow of UDP to this target should lead; undefined: it is nothing of ours. `own`: this machine's addresses. Pure. */
export function targetsOf(
  { addr, port }: Target,
  { table, names, taken }: InForce,
  own: ReadonlySet<string>,
): readonly Target[] | undefined {
  const { addresses, mesh } = names;
  const family = familyOf(addr) ?? 4;
  if (mesh && (addr === mesh.v4 || addr === mesh.v6)) return doorTargets(table.doors[family].get(`udp . ${port}`));
  const isOurs = addresses.length > 0 ? addresses.includes(addr) : own.has(addr) || isLoopback(addr);
  const bound = table.ports.get(`udp/${port}@${addr}`);
  if (!bound && (!isOurs || taken.has(`udp/${port}`))) return undefined;
  const rule = bound ?? table.ports.get(`udp/${port}`) ?? noTargets;
  const ends = endsOf(rule, family);
  // One family alone has targets: who asks by the other is somebody else's.
  return ends.length === 0 && endsOf(rule, family === 4 ? 6 : 4).length > 0 ? undefined : ends;
}

const noTargets: Pick<PortRule, 'targets'> = { targets: { 4: [], 6: [] } };

function doorTargets(door: string | undefined): Target[] {
  const [addr = '', port] = door?.split(' . ') ?? [];
  return door === undefined ? [] : [{ addr, port: Number(port) }];
}

const doorPort = (key: string): number => Number(key.split(' . ')[1]);

/** Ports of flows that may have become wrong between two tables: published ones and doors. */
export function changedUdp(from: NodeTable, to: NodeTable): Set<number> {
  const ports = new Set<number>();
  for (const key of new Set([...from.ports.keys(), ...to.ports.keys()])) {
    const [old, rule] = [from.ports.get(key), to.ports.get(key)];
    const any = old ?? rule;
    if (any?.protocol !== 'udp' || (old && rule && sameEnds(old, rule))) continue;
    ports.add(any.port);
  }
  for (const family of [4, 6] as const) {
    const [had, has] = [from.doors[family], to.doors[family]];
    for (const [key, value] of had) if (key.startsWith('udp') && has.get(key) !== value) ports.add(doorPort(key));
  }
  return ports;
}

/** All ports that UDP may be sent to us at. */
export function udpPorts({ doors }: NodeTable, wanted: readonly IngressEntry[]): Set<number> {
  const keys = [...doors[4].keys(), ...doors[6].keys()].filter((key) => key.startsWith('udp'));
  const published = wanted.filter(({ protocol }) => protocol === 'udp').map(({ publishedPort }) => publishedPort);
  return new Set([...published, ...keys.map(doorPort)]);
}
