import { ClusterError } from '@swarmctl/shared/kit';
import type { Service, Task } from '@swarmctl/shared/model';
import type { Argv } from 'yargs';
import { namespaceLabel } from '../compose/names.ts';
import { renderList } from '../output.ts';
import { apiFilters, explain, type Shell } from '../runtime.ts';
import { remove } from '../stack/apply.ts';
import type { Current, ShownNetwork, StoredPayload } from '../stack/current.ts';
import { ownedBy } from '../stack/plan.ts';
import { waitUntilGone } from '../stack/wait.ts';
import { printServices } from './print-services.ts';
import { printTasks } from './print-tasks.ts';
import { config, deploy } from './stack-deploy.ts';
import { type Args, type Command, listOptions, taskListOptions } from './types.ts';

// swarmctl stack: deploy, ls, ps, services, rm, config.

const columns = [
  { header: 'NAME', field: 'Name' },
  { header: 'SERVICES', field: 'Services' },
];

async function list(args: Args, shell: Shell): Promise<void> {
  const filters = apiFilters(undefined, { label: [namespaceLabel] });
  const counts = new Map<string, number>();
  for (const { Spec } of await shell.client().get<Service[]>('/services', { filters })) {
    const name = Spec.Labels[namespaceLabel] ?? '';
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const rows = [...counts].map(([Name, Services]) => ({ Name, Services })).sort((a, b) => a.Name.localeCompare(b.Name));
  shell.out(renderList(rows, columns, 'Name', { quiet: args.flag('quiet'), format: args.text('format') }));
}

const ofStack = (args: Args) =>
  apiFilters(args.list('filter'), { label: [`${namespaceLabel}=${args.text('stack') ?? ''}`] });

async function ps(args: Args, shell: Shell): Promise<void> {
  const filters = ofStack(args);
  const tasks = await shell.client().get<Task[]>('/tasks', { filters });
  if (tasks.length === 0) throw new ClusterError('not-found', `nothing found in stack: ${args.text('stack')}`);
  await printTasks(args, shell, filters);
}

async function services(args: Args, shell: Shell): Promise<void> {
  const filters = ofStack(args);
  const found = await shell.client().get<Service[]>('/services', { filters });
  if (found.length === 0) shell.err(`Nothing found in stack: ${args.text('stack')}\n`);
  else await printServices(args, shell, filters);
}

async function rm(args: Args, shell: Shell): Promise<void> {
  const client = shell.client();
  for (const stack of args.list('stack')) {
    const filters = apiFilters(undefined, { label: [`${namespaceLabel}=${stack}`] });
    const [found, networks, secret, configs] = await Promise.all([
      client.get<Service[]>('/services', { filters }),
      client.get<ShownNetwork[]>('/networks', { filters }),
      client.get<StoredPayload[]>('/secrets', { filters }),
      client.get<StoredPayload[]>('/configs', { filters }),
    ]);
    const all: Pick<Current, 'services' | 'networks' | 'payloads'> = {
      ...{ services: found, networks, payloads: { secret, config: configs } },
    };
    const owned = ownedBy(stack, all);
    if (owned.length === 0) shell.err(`Nothing found in stack: ${stack}\n`);
    for (const one of owned) {
      try {
        await remove(client, one, (line) => shell.out(`${line}\n`));
      } catch (error) {
        shell.fail(`${one.what} ${one.name}: ${explain(error)}`);
      }
    }
    if (args.flag('wait') || args.all['detach'] === false) {
      await waitUntilGone(stack, { client, clock: shell.clock, signal: shell.signal });
    }
  }
}

const fileOptions = (yargs: Argv) =>
  yargs
    .option('compose-file', {
      alias: 'c',
      type: 'string',
      array: true,
      nargs: 1,
      describe: 'A compose file, or - for the standard input; more are laid over it',
    })
    .option('env-file', {
      type: 'string',
      array: true,
      nargs: 1,
      describe: "Variables for the files (.env beside the first one); the environment's count before them",
    })
    .option('profile', {
      type: 'string',
      array: true,
      nargs: 1,
      describe: "Services with this profile as well, '*' for all (COMPOSE_PROFILES)",
    });

const waitOptions = (yargs: Argv, until: string) =>
  yargs
    .option('wait', { type: 'boolean', describe: `Wait until ${until}` })
    .option('detach', { alias: 'd', type: 'boolean', describe: 'Do not wait (as is usual); --detach=false is --wait' });

export const stackCommands: readonly Command[] = [
  {
    usage: 'deploy [stack]',
    aliases: ['up'],
    describe: 'Make or change the services, networks, secrets and configs of compose files',
    options: (yargs) =>
      waitOptions(fileOptions(yargs), 'all services have converged; fail when one does not')
        .option('prune', { type: 'boolean', describe: 'Remove what the files no longer have' })
        .option('dry-run', { type: 'boolean', describe: 'Show what would be done, and do nothing' })
        .option('resolve-image', {
          type: 'string',
          describe: 'When to pin images to what their registries have: always, changed or never (always)',
        })
        .option('with-registry-auth', {
          type: 'boolean',
          describe: "Hand the nodes the credentials of 'docker login' for the registry of each image",
        }),
    run: deploy,
  },
  { usage: 'ls', aliases: ['list'], describe: 'List the stacks', options: listOnly, run: list },
  { usage: 'ps <stack>', describe: 'List the tasks of a stack', options: taskListOptions, run: ps },
  {
    usage: 'services <stack>',
    describe: 'List the services of a stack',
    options: (yargs) => listOptions(yargs).option('no-trunc', { type: 'boolean', describe: 'Do not shorten' }),
    run: services,
  },
  {
    usage: 'rm <stack...>',
    aliases: ['remove', 'down'],
    describe: 'Remove all that belongs to stacks',
    options: (yargs) => waitOptions(yargs, 'their tasks have ended'),
    run: rm,
  },
  {
    usage: 'config',
    describe: 'Check compose files, and print what they come to',
    options: fileOptions,
    run: config,
  },
];

function listOnly(yargs: Argv): Argv {
  return yargs
    .option('format', { type: 'string', describe: "'table', 'table TEMPLATE', 'json' or a Go template" })
    .option('quiet', { alias: 'q', type: 'boolean', describe: 'Only names' });
}
