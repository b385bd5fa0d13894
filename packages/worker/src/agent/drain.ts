import { type Clock, delay } from '@swarmctl/shared/kit';
import { drainTimeoutMsOf, type Task, type TaskEndpoint } from '@swarmctl/shared/model';
import { type RunCommand, runCommand } from '../network/command.ts';
import type { Runtime } from '../runtime/types.ts';

// The last connections of a task that no node routes to any more: TCP until the clients have ended them, UDP, which nobody ends, until the clients
// have been silent for a while.

const lookEveryMs = 75;
/** A look at UDP is a program that lists all the machine's connections. */
const lookAtUdpEveryMs = 500;
/** Where the runtime cannot tell, requests get this long. */
const blindMs = 2_000;
/** A client of UDP that says nothing for so long has gone. More than two looks, and more than the kernel rounds by. */
const quietMs = 2_000;

/** A UDP client, and for how long the kernel will remember it if nothing more passes. */
export interface UdpFlow {
  readonly client: string;
  readonly remainingMs: number;
}

/** Flows that lead to an endpoint, by this node's kernel; undefined where it cannot be told. Never rejects. */
export type UdpFlows = (endpoint: TaskEndpoint) => Promise<readonly UdpFlow[] | undefined>;

export interface DrainModules {
  readonly runtime: Pick<Runtime, 'connections' | 'inspect'>;
  readonly clock: Clock;
  readonly flows?: UdpFlows;
}

export interface DrainTime {
  readonly leastMs: number;
  /** Also the drain time-out of the service bounds it. */
  readonly mostMs: number;
}

/** Resolves when the task has had no connection, and no UDP client that speaks, twice in a row, or its time is over. */
export async function drainConnections(
  task: Task,
  modules: DrainModules,
  signal: AbortSignal,
  time: DrainTime = { leastMs: 0, mostMs: Number.POSITIVE_INFINITY },
): Promise<void> {
  const mostMs = Math.min(time.mostMs, drainTimeoutMsOf(task.ServiceAnnotations.Labels));
  const least = time.leastMs > 0 ? delay(modules.clock, time.leastMs, signal).catch(() => undefined) : undefined;
  await Promise.all([drainTcp(task, mostMs, modules, signal), drainUdp(task, mostMs, modules, signal), least]);
}

async function drainTcp(task: Task, mostMs: number, modules: DrainModules, signal: AbortSignal): Promise<void> {
  const { runtime, clock } = modules;
  const began = clock.monotonic();
  for (let quiet = 0; quiet < 2 && !signal.aborted; ) {
    const count = await runtime.connections(task).catch(() => undefined);
    quiet = count === 0 ? quiet + 1 : 0;
    const waited = clock.monotonic() - began;
    if (quiet >= 2 || waited >= (count === undefined ? Math.min(mostMs, blindMs) : mostMs)) return;
    await delay(clock, lookEveryMs, signal).catch(() => undefined);
  }
}

async function drainUdp(task: Task, mostMs: number, modules: DrainModules, signal: AbortSignal): Promise<void> {
  const { runtime, clock, flows = conntrackFlows(runCommand) } = modules;
  const state = await runtime.inspect(task.ID).catch(() => undefined);
  const endpoints = (state?.endpoints ?? []).filter(({ protocol }) => protocol === 'udp');
  if (endpoints.length === 0) return;
  const began = clock.monotonic();
  const speakers = new Speakers();
  for (let quiet = 0; quiet < 2 && !signal.aborted; ) {
    const seen = (await Promise.all(endpoints.map(flows))).flat();
    const now = clock.monotonic();
    const known = seen.filter((flow) => flow !== undefined);
    const isBlind = known.length < seen.length;
    const speaks = speakers.look(known, now) || (isBlind && now - began < blindMs);
    quiet = speaks ? 0 : quiet + 1;
    if (quiet >= 2 || now - began >= mostMs) return;
    await delay(clock, Math.min(lookAtUdpEveryMs, began + mostMs - now), signal).catch(() => undefined);
  }
}

/** Who speaks shows by the time at which the kernel would forget it: each packet puts it off. */
class Speakers {
  readonly #known = new Map<string, { forgottenAt: number; spokeAt: number }>();

  /** True while any of these flows has not been quiet for long. */
  look(flows: readonly UdpFlow[], now: number): boolean {
    let speaks = false;
    for (const { client, remainingMs } of flows) {
      const before = this.#known.get(client);
      const forgottenAt = now + remainingMs;
      // The kernel tells whole seconds, so a silent one may seem to move by less than one.
      const spoke = !before || forgottenAt - before.forgottenAt >= 1_000;
      const known = spoke ? { forgottenAt, spokeAt: now } : before;
      this.#known.set(client, known);
      if (now - known.spokeAt < quietMs) speaks = true;
    }
    return speaks;
  }
}

export const conntrackFlows =
  (run: RunCommand): UdpFlows =>
  async ({ localAddr, localPort, nodeAddr }) => {
    const family = localAddr.includes(':') ? 'ipv6' : 'ipv4';
    try {
      const { code, stdout } = await run('conntrack', [
        '-L',
        '-f',
        family,
        '-p',
        'udp',
        '--reply-port-src',
        `${localPort}`,
      ]);
      return code === 0 ? parseFlows(stdout, new Set([localAddr, nodeAddr]), localPort) : undefined;
    } catch {
      return undefined;
    }
  };

const line =
  /^udp\s+17\s+(\d+)\s+src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+).*? src=(\S+) dst=\S+ sport=(\d+) dport=\d+/;

/** Of `conntrack -L`, what is answered from `port` of one of `addrs`. */
export function parseFlows(text: string, addrs: ReadonlySet<string>, port: number): UdpFlow[] {
  const flows: UdpFlow[] = [];
  for (const each of text.split('\n')) {
    const [, seconds, src, dst, sport, dport, answering = '', from] = line.exec(each) ?? [];
    if (seconds === undefined || !addrs.has(answering) || Number(from) !== port) continue;
    flows.push({ client: `${src}:${sport} ${dst}:${dport}`, remainingMs: Number(seconds) * 1_000 });
  }
  return flows;
}
