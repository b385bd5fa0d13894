import { connect } from 'node:net';
import { canonical, families, familyOf } from '../address.ts';
import type { RunCommand } from '../command.ts';
import type { NodeTable, Target } from '../plan.ts';
import type { MeshState } from '../types.ts';
import { flowsOf, forget } from './conntrack.ts';

// Backends that nothing new is sent to, but that TCP connections may still lead to. Those end by themselves, within the drain time and the
// grace: a host that is there answers for a task that is not. Only where nobody answers any more, because the container's network or its whole
// node is gone, would clients wait for minutes; then the kernel is told to forget the connection, and the client's next segment is reset.

/** True when nobody is at the address any more; false when somebody is, or in doubt. */
export type IsDead = (probe: Target) => Promise<boolean>;

interface Departed {
  readonly target: Target;
  /** Where to ask after it: on other nodes beside the mesh. */
  readonly probe: Target;
}

/** More than so many listings of one address each cost more than one of all. */
const fewAddresses = 4;

export class DepartedTargets {
  readonly #targets = new Map<string, Departed>();

  get size(): number {
    return this.#targets.size;
  }

  /** Looks at what changed alone, of tables that may be large. One that another port still leads to is no worse for being asked after. */
  changed(from: NodeTable, to: NodeTable): void {
    const nodes = new Map(from.mesh?.own.map(({ node, mesh }) => [canonical(mesh), node]));
    for (const target of tcpTargets(from, to))
      this.#targets.set(keyOf(target), { target, probe: { ...target, addr: nodes.get(target.addr) ?? target.addr } });
    for (const target of tcpTargets(to, from)) this.#targets.delete(keyOf(target));
  }

  /** Ends the connections to the dead, and forgets those that have none. Rejects when there is no `conntrack`. */
  async look(run: RunCommand, isDead: IsDead): Promise<void> {
    for (const family of families) {
      const departed = [...this.#targets].filter(([, { target }]) => familyOf(target.addr) === family);
      if (departed.length === 0) continue;
      const addrs = new Set(departed.map(([, { target }]) => target.addr));
      const from = addrs.size <= fewAddresses ? [...addrs] : [undefined];
      const query = { protocol: 'tcp', family } as const;
      const lists = await Promise.all(from.map((addr) => flowsOf(run, { ...query, ...(addr && { from: addr }) })));
      await Promise.all(
        departed.map(async ([key, { target, probe }]) => {
          const flows = lists.flat().filter(({ answering }) => keyOf(answering) === keyOf(target));
          if (flows.length > 0 && !(await isDead(probe))) return;
          // Back meanwhile.
          if (!this.#targets.has(key)) return;
          const each = new Map(flows.map((flow) => [JSON.stringify(flow), flow]));
          for (const flow of each.values()) await forget(run, query, flow);
          this.#targets.delete(key);
        }),
      );
    }
  }
}

const keyOf = ({ addr, port }: Target): string => `${addr} ${port}`;

/** Of what is not the same in another table: its targets that are not there, each. */
function* tcpTargets({ ports, doors }: NodeTable, other: NodeTable): Generator<Target> {
  for (const rule of ports.values()) {
    const its = other.ports.get(rule.key);
    if (rule.protocol !== 'tcp' || its === rule) continue;
    for (const family of families) {
      const there = new Set(its?.targets[family].map(keyOf));
      for (const target of rule.targets[family]) if (!there.has(keyOf(target))) yield target;
    }
  }
  for (const family of families)
    for (const [from, to] of doors[family]) {
      if (!from.startsWith('tcp') || other.doors[family].get(from) === to) continue;
      const [addr = '', port] = to.split(' . ');
      yield { addr, port: Number(port) };
    }
}

/** What the kernel takes to notice that a neighbour that it knew is gone, and some. */
const askMs = 15_000;
const nobody: ReadonlySet<string> = new Set(['EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN']);

/** By the neighbours' word and the mesh's. A refusal is an answer, and silence may be a firewall's. */
export const asksIfDead =
  (run: RunCommand, mesh: () => MeshState | undefined, signal: AbortSignal): IsDead =>
  async (probe) => {
    const state = mesh();
    for (const nodeId of state?.gone ?? []) if (state?.wayTo(nodeId).v4 === probe.addr) return true;
    await doubt(run, probe.addr);
    return new Promise((resolve) => {
      const socket = connect({ host: probe.addr, port: probe.port, timeout: askMs });
      const end = (isDead: boolean) => {
        socket.destroy();
        resolve(isDead);
      };
      const stop = () => end(false);
      signal.addEventListener('abort', stop);
      socket.once('close', () => signal.removeEventListener('abort', stop));
      socket.once('connect', () => end(false));
      socket.once('timeout', () => end(false));
      socket.once('error', (error: NodeJS.ErrnoException) => end(nobody.has(error.code ?? '')));
    });
  };

/** The kernel would take a neighbour that it knows for reachable for most of a minute yet; so it looks again. */
async function doubt(run: RunCommand, addr: string): Promise<void> {
  const { stdout } = await run('ip', ['neigh', 'show', 'to', addr]);
  const [, device] = /\bdev (\S+) lladdr .*\b(?:REACHABLE|STALE|DELAY)\b/.exec(stdout) ?? [];
  if (device) await run('ip', ['neigh', 'change', addr, 'dev', device, 'nud', 'probe']);
}
