import type { Task } from '@swarmctl/shared/model';
import { isNotFound } from '../client.ts';
import { renderInspect } from '../output.ts';
import { apiFilters, explain, type Shell } from '../runtime.ts';
import { printTasks } from './print-tasks.ts';
import { type Args, type Command, taskListOptions } from './types.ts';

// swarmctl task: ls, inspect.

const list = (args: Args, shell: Shell): Promise<void> => printTasks(args, shell, apiFilters(args.list('filter')));

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
