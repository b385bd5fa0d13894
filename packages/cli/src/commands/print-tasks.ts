import type { Node, Service, Task } from '@swarmctl/shared/model';
import { renderList } from '../output.ts';
import type { apiFilters, Shell } from '../runtime.ts';
import { taskColumns, taskRows } from '../task-table.ts';
import type { Args } from './types.ts';

// What `service ps`, `node ps` and `task ls` print.

/** The tasks that the API lets through `filters`, with their services' and nodes' names. */
export async function printTasks(args: Args, shell: Shell, filters: ReturnType<typeof apiFilters>): Promise<void> {
  const client = shell.client();
  const [tasks, services, nodes] = await Promise.all([
    client.get<Task[]>('/tasks', { filters }),
    client.get<Service[]>('/services'),
    client.get<Node[]>('/nodes'),
  ]);
  const rows = taskRows(
    tasks,
    { services: byId(services), nodes: byId(nodes) },
    {
      noTrunc: args.flag('no-trunc') || args.flag('quiet'),
      noResolve: args.flag('no-resolve'),
      nowMs: shell.clock.now(),
    },
  );
  shell.out(renderList(rows, taskColumns, 'ID', { quiet: args.flag('quiet'), format: args.text('format') }));
}

const byId = <T extends { readonly ID: string }>(items: readonly T[]): ReadonlyMap<string, T> =>
  new Map(items.map((item) => [item.ID, item]));
