import { canonical, type Family } from '../address.ts';
import type { RunCommand } from '../command.ts';
import type { Target } from '../plan.ts';

// What the kernel remembers of connections. UDP has no end, so it would go on sending a client's datagrams to a backend that is gone; and a TCP
// client would wait for a host that is gone until its patience ends. The entries that remember are deleted: the next datagram finds a new
// backend, the next segment is answered by a reset.

export interface Flow {
  readonly asked: Target;
  readonly answering: Target;
}

/** Where what was sent to an address of ours should lead; undefined: nothing of ours. */
export type Wanted = (asked: Target) => readonly Target[] | undefined;

export interface FlowQuery {
  readonly protocol: 'tcp' | 'udp';
  readonly family: Family;
  /** Asked for; absent: any. */
  readonly port?: number;
  /** Who answers; absent: any. */
  readonly from?: string;
}

/** More than so many listings of one port each cost more than one of all. */
const fewPorts = 4;

/** Deletes the flows to `ports` that lead elsewhere than they should. Rejects when `conntrack` cannot be run. */
export async function forgetStaleUdp(run: RunCommand, ports: ReadonlySet<number>, wanted: Wanted): Promise<void> {
  if (ports.size === 0) return;
  const each = ports.size <= fewPorts ? [...ports] : [undefined];
  for (const family of [4, 6] as const) {
    for (const port of each) {
      const query: FlowQuery = { protocol: 'udp', family, ...(port !== undefined && { port }) };
      const flows = (await flowsOf(run, query)).filter(({ asked }) => ports.has(asked.port));
      for (const flow of staleFlows(flows, wanted)) await forget(run, query, flow);
    }
  }
}

/** Each way once, whoever the clients are. */
export function staleFlows(flows: readonly Flow[], wanted: Wanted): Flow[] {
  const stale = flows.filter(({ asked, answering }) => {
    const targets = wanted(asked);
    return targets && !targets.some((target) => target.addr === answering.addr && target.port === answering.port);
  });
  return [...new Map(stale.map((flow) => [JSON.stringify(flow), flow])).values()];
}

/** Rejects when it cannot be asked. */
export async function flowsOf(run: RunCommand, { protocol, family, port, from }: FlowQuery): Promise<Flow[]> {
  const { stdout } = await run('conntrack', [
    ...['-L', '-f', `ipv${family}`, '-p', protocol],
    ...(port === undefined ? [] : ['--orig-port-dst', String(port)]),
    ...(from === undefined ? [] : ['--reply-src', from]),
  ]);
  return parseFlows(stdout);
}

/** All clients' flows that lead from `asked` to `answering`. */
export async function forget(run: RunCommand, query: FlowQuery, { asked, answering }: Flow): Promise<void> {
  await run('conntrack', [
    ...['-D', '-f', `ipv${query.family}`, '-p', query.protocol],
    ...['--orig-dst', asked.addr, '--orig-port-dst', String(asked.port)],
    ...['--reply-src', answering.addr, '--reply-port-src', String(answering.port)],
  ]);
}

const line = /^(?:tcp|udp)\s.*?src=\S+ dst=(\S+) sport=\d+ dport=(\d+).*? src=(\S+) dst=\S+ sport=(\d+) dport=\d+/;
/** They have been ended by those who had them. */
const over = /^tcp\s.* (TIME_WAIT|CLOSE|LAST_ACK) /;

export const parseFlows = (text: string): Flow[] =>
  text
    .split('\n')
    .filter((each) => !over.test(each))
    .map((each) => line.exec(each))
    .filter((match) => match !== null)
    .map(([, asked = '', port, answering = '', from]) => ({
      asked: { addr: canonical(asked), port: Number(port) },
      answering: { addr: canonical(answering), port: Number(from) },
    }));
