import type { Node, Service, Task } from '@swarmctl/shared/model';
import { isNotFound } from '../client.ts';
import { renderInspect, renderList } from '../output.ts';
import { apiFilters, explain, type Shell } from '../runtime.ts';
import { taskColumns, taskRows } from '../task-table.ts';
import { byId } from './node.ts';
import { type Args, type Command, taskListOptions } from './types.ts';

// swarmctl task: ls, inspect.

async function list(args: Args, shell: Shell): Promise<void> {
  const client = shell.client();
  const [tasks, services, nodes] = await Promise.all([
    client.get<Task[]>('/tasks', { filters: apiFilters(args.list('filter')) }),
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

async function inspect(args: Args, shell: Shell): Promise<void> {
  const found: Task[] = [];
  for (const reference of args.list('task')) {
    try {
      found.push(await shell.client().get<Task>(`/tasks/${encodeURIComponent(reference)}`));
    } catch (error) {
      if (!isNotFound(error)) throw error;
      shell.fail(explain(error));
    }
  }
  shell.out(renderInspect(found, args.text('format')));
}

export const taskCommands: readonly Command[] = [
  { usage: 'ls', aliases: ['list'], describe: 'List the tasks of the cluster', options: taskListOptions, run: list },
  {
    usage: 'inspect <task...>',
    describe: 'Show tasks in full',
    options: (yargs) => yargs.option('format', { alias: 'f', type: 'string', describe: "'json' or a Go template" }),
    run: inspect,
  },
];
