import { type Clock, delay } from '@swarmctl/shared/kit';
import { isTerminal, type Node, type Service, type Task } from '@swarmctl/shared/model';
import type { Client } from '../client.ts';
import { namespaceLabel } from '../compose/names.ts';
import { Follower, pollMs, type Step, type Terminal } from '../service/progress.ts';

// Waits until services of a stack have converged, all at once; the ways of each are printed in a line of its own.

export interface WaitModules {
  readonly client: Client;
  readonly clock: Clock;
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
}

/** What became of each: undefined when it converged, else why it cannot. The others are followed to their end. */
export async function waitForServices(
  stack: string,
  ids: readonly string[],
  { client, clock, terminal, signal }: WaitModules,
): Promise<ReadonlyMap<string, string | undefined>> {
  const startedMs = clock.now();
  const followers = new Map(ids.map((id) => [id, new Follower({ startedMs, rollback: false })]));
  const outcomes = new Map<string, string | undefined>();
  const print = printer(terminal);
  for (;;) {
    const { services, tasks, current, nodes } = await look(client, stack);
    for (const [id, follower] of followers) {
      if (outcomes.has(id)) continue;
      const service = services.find(({ ID }) => ID === id);
      if (!service) {
        outcomes.set(id, 'it was removed');
        continue;
      }
      const own = tasks.filter(({ ServiceID }) => ServiceID === id);
      const step = follower.see({ service, tasks: own, current, nodes, nowMs: clock.now() });
      const { verdict } = step.progress;
      if (step.converged) outcomes.set(id, undefined);
      else if (verdict.kind === 'failed') outcomes.set(id, verdict.reason);
      print.put(service.Spec.Name, lineOf(service.Spec.Name, step));
    }
    print.draw();
    if (outcomes.size === followers.size) return outcomes;
    await delay(clock, pollMs, signal);
  }
}

async function look(client: Client, stack: string) {
  const filters = (more: object = {}) => JSON.stringify({ label: { [`${namespaceLabel}=${stack}`]: true }, ...more });
  const [services, tasks, upToDate, nodes] = await Promise.all([
    client.get<Service[]>('/services', { filters: filters() }),
    client.get<Task[]>('/tasks', { filters: filters() }),
    client.get<Task[]>('/tasks', { filters: filters({ '_up-to-date': { true: true } }) }),
    client.get<Node[]>('/nodes'),
  ]);
  return { services, tasks, current: new Set(upToDate.map(({ ID }) => ID)), nodes };
}

function lineOf(name: string, { progress, converged, leftMs }: Step): string {
  const { done, wanted, lines, verdict } = progress;
  const state = converged
    ? 'converged'
    : verdict.kind === 'failed'
      ? `failed: ${verdict.reason}`
      : leftMs !== undefined
        ? 'verifying that tasks are stable'
        : (lines.find(({ error }) => error !== '')?.error ?? 'under way');
  return `${name}: ${done} out of ${wanted} tasks, ${state}`;
}

/** Redraws in place on a terminal; prints only what changed elsewhere. */
function printer(terminal: Terminal): { put(name: string, line: string): void; draw(): void } {
  const lines = new Map<string, string>();
  const fresh = new Set<string>();
  let drawn = 0;
  return {
    put: (name, line) => {
      if (lines.get(name) !== line) fresh.add(name);
      lines.set(name, line);
    },
    draw: () => {
      if (fresh.size === 0) return;
      const shown = terminal.isTty ? [...lines.keys()] : [...fresh];
      const up = terminal.isTty && drawn > 0 ? `\x1b[${drawn}A` : '';
      const texts = shown.map((name) => {
        const line = lines.get(name) ?? '';
        return terminal.isTty ? `\x1b[2K${line.slice(0, Math.max(20, terminal.columns - 1))}\n` : `${line}\n`;
      });
      terminal.write(up + texts.join(''));
      drawn = lines.size;
      fresh.clear();
    },
  };
}

/** Resolves when no task of the stack runs any more. */
export async function waitUntilGone(
  stack: string,
  { client, clock, signal }: Omit<WaitModules, 'terminal'>,
): Promise<void> {
  const filters = JSON.stringify({ label: { [`${namespaceLabel}=${stack}`]: true } });
  for (;;) {
    const tasks = await client.get<Task[]>('/tasks', { filters });
    if (tasks.every(({ Status }) => isTerminal(Status.State))) return;
    await delay(clock, pollMs, signal);
  }
}
