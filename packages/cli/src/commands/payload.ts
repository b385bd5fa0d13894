import { readFileSync } from 'node:fs';
import { ClusterError, messageOf } from '@swarmctl/shared/kit';
import { type PayloadKind, payloadTables, versionOf } from '@swarmctl/shared/model';
import { isNotFound } from '../client.ts';
import { renderInspect, renderList } from '../output.ts';
import { getPayload, type ShownPayload } from '../payloads.ts';
import { apiFilters, explain, forEach, type Shell, shortId } from '../runtime.ts';
import { pair } from '../service/parse.ts';
import { watchService } from '../service/progress.ts';
import { ago } from '../units.ts';
import { type Args, type Command, inspectOptions, listOptions } from './types.ts';

// swarmctl secret, swarmctl config: create, ls, inspect, update, prune, rm. Only what they are called differs.

/** What the word `-` stands for. */
export const standardInput = '/dev/stdin';

function content(path: string): string {
  try {
    // By its number, since what is no file cannot be opened again.
    return readFileSync(path === standardInput ? 0 : path).toString('base64');
  } catch (error) {
    throw new ClusterError(
      'invalid-argument',
      `cannot read ${path === standardInput ? 'the standard input' : path}: ${messageOf(error)}`,
    );
  }
}

const given = (args: Args) => {
  const driver = args.text('template-driver');
  return {
    Labels: Object.fromEntries(args.list('label').map((text) => pair('label', text))),
    Data: content(args.text('file') ?? ''),
    ...(driver !== undefined && { Templating: { Name: driver } }),
  };
};

const create = (kind: PayloadKind) => async (args: Args, shell: Shell) => {
  const body = { Name: args.text('name') ?? '', ...given(args) };
  const { ID } = await shell.client().post<{ ID: string }>(`/${payloadTables[kind]}/create`, body);
  shell.out(`${ID}\n`);
};

interface Rotated {
  readonly Name: string;
  readonly Created: boolean;
  readonly Services: readonly { readonly ID: string; readonly Name: string }[];
  readonly Warnings?: readonly string[];
}

const update = (kind: PayloadKind) => async (args: Args, shell: Shell) => {
  const path = `/${payloadTables[kind]}/${encodeURIComponent(args.text('name') ?? '')}/rotate`;
  const {
    Name,
    Created,
    Services,
    Warnings = [],
  } = await shell.client().post<Rotated>(path, given(args), { roll: !args.flag('no-roll') });
  shell.out(`${Name}${Created ? '' : ' holds this already'}\n`);
  for (const warning of Warnings) shell.err(`warning: ${warning}\n`);
  for (const service of Services) shell.out(`rolling ${service.Name}\n`);
  if (args.flag('detach')) return;
  const { clock, terminal, signal } = shell;
  for (const { ID } of Services) {
    await watchService(shell.client(), ID, { clock, terminal, signal, quiet: args.flag('quiet') });
  }
};

const columns = [
  { header: 'ID', field: 'ID' },
  { header: 'NAME', field: 'Name' },
  { header: 'VERSION', field: 'Version' },
  { header: 'CREATED', field: 'CreatedAt' },
  { header: 'UPDATED', field: 'UpdatedAt' },
];

const list = (kind: PayloadKind) => async (args: Args, shell: Shell) => {
  const filters = apiFilters(args.list('filter'));
  const payloads = await shell.client().get<ShownPayload[]>(`/${payloadTables[kind]}`, { filters });
  const since = (time: string) => `${ago(Date.parse(time), shell.clock.now())} ago`;
  const rows = payloads
    .map((payload) => ({ payload, version: versionOf(payload.Spec) }))
    .sort((a, b) => a.version.base.localeCompare(b.version.base) || a.version.number - b.version.number)
    .map(({ payload: { ID, Spec, CreatedAt, UpdatedAt }, version }) => ({
      ID: args.flag('no-trunc') || args.flag('quiet') ? ID : shortId(ID, false),
      Name: Spec.Name,
      Version: version.number,
      CreatedAt: since(CreatedAt),
      UpdatedAt: since(UpdatedAt),
      Labels: Object.entries(Spec.Labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(','),
    }));
  shell.out(renderList(rows, columns, 'ID', { quiet: args.flag('quiet'), format: args.text('format') }));
};

const inspect = (kind: PayloadKind) => async (args: Args, shell: Shell) => {
  const found: ShownPayload[] = [];
  for (const reference of args.list('name')) {
    try {
      found.push(await getPayload(shell.client(), kind, reference));
    } catch (error) {
      if (!isNotFound(error)) throw error;
      shell.fail(explain(error));
    }
  }
  shell.out(args.flag('pretty') ? found.map(pretty).join('\n') : renderInspect(found, args.text('format')));
};

function pretty({ ID, Spec, CreatedAt, UpdatedAt }: ShownPayload): string {
  const labels = Object.entries(Spec.Labels).map(([key, value]) => ` - ${key}=${value}\n`);
  return [
    `ID:\t\t${ID}\nName:\t\t${Spec.Name}\n`,
    ...(labels.length > 0 ? ['Labels:\n', ...labels] : []),
    ...(Spec.Templating?.Name ? [`Templating:\t${Spec.Templating.Name}\n`] : []),
    `Created at:\t${CreatedAt}\nUpdated at:\t${UpdatedAt}\n`,
    ...(Spec.Data === undefined ? [] : [`Data:\n${Buffer.from(Spec.Data, 'base64').toString()}\n`]),
  ].join('');
}

const prune = (kind: PayloadKind) => async (_args: Args, shell: Shell) => {
  const { Deleted } = await shell.client().post<{ Deleted: string[] }>(`/${payloadTables[kind]}/prune`);
  for (const name of Deleted) shell.out(`${name}\n`);
};

export const payloadCommands = (kind: PayloadKind): readonly Command[] => [
  {
    usage: 'create <name> <file>',
    describe: `Create a ${kind} from a file, or from the standard input (-)`,
    options: (yargs) =>
      yargs
        .option('label', { alias: 'l', type: 'string', array: true, nargs: 1, describe: 'Label (key=value)' })
        .option('template-driver', { type: 'string', describe: 'golang: the content is a template' }),
    run: create(kind),
  },
  {
    usage: 'ls',
    aliases: ['list'],
    describe: `List the ${kind}s`,
    options: (yargs) => listOptions(yargs).option('no-trunc', { type: 'boolean', describe: 'Do not shorten' }),
    run: list(kind),
  },
  { usage: 'inspect <name...>', describe: `Show ${kind}s in full`, options: inspectOptions, run: inspect(kind) },
  {
    usage: 'update <name> <file>',
    describe: `Make a new version of a ${kind}, and roll the services that use it`,
    options: (yargs) =>
      yargs
        .option('no-roll', { type: 'boolean', describe: 'Only make the version' })
        .option('label', { alias: 'l', type: 'string', array: true, nargs: 1, describe: 'Label (key=value)' })
        .option('template-driver', { type: 'string', describe: 'golang: the content is a template (as before)' })
        .option('detach', { alias: 'd', type: 'boolean', describe: 'Do not wait for the services to converge' })
        .option('quiet', { alias: 'q', type: 'boolean', describe: 'No progress output' }),
    run: update(kind),
  },
  {
    usage: 'prune',
    describe: 'Remove old versions that nothing runs, names or could roll back to',
    options: (yargs) => yargs.option('force', { alias: 'f', type: 'boolean', describe: 'As ever: nothing is asked' }),
    run: prune(kind),
  },
  {
    usage: 'rm <name...>',
    aliases: ['remove'],
    describe: `Remove ${kind}s`,
    run: (args, shell) =>
      forEach(shell, args.list('name'), async (reference) => {
        await shell.client().delete(`/${payloadTables[kind]}/${encodeURIComponent(reference)}`);
        return reference;
      }),
  },
];
