import { ClusterError } from '@swarmctl/shared/kit';
import type { Service, ServiceSpec } from '@swarmctl/shared/model';
import type { Argv } from 'yargs';
import { isNotFound } from '../client.ts';
import { renderInspect } from '../output.ts';
import { resolvePayload, versionNames } from '../payloads.ts';
import { registryAuthHeader } from '../registry-auth.ts';
import { apiFilters, explain, forEach, type Shell } from '../runtime.ts';
import { buildCreateSpec, buildUpdateSpec, type Given } from '../service/build.ts';
import { listFlags } from '../service/list-flags.ts';
import { printLogs } from '../service/logs.ts';
import { attachment } from '../service/parse.ts';
import { encodeNames, encodeReference, payloadFlag } from '../service/payload-flag.ts';
import { prettyService } from '../service/pretty.ts';
import { watchService } from '../service/progress.ts';
import { withDigest } from '../service/resolve-image.ts';
import { absentFlags, scalarFlags } from '../service/scalar-flags.ts';
import { uint } from '../units.ts';
import { printServices } from './print-services.ts';
import { printTasks } from './print-tasks.ts';
import { type Args, type Command, inspectOptions, listOptions, taskListOptions } from './types.ts';

// swarmctl service: create, ls, ps, inspect, update, scale, rollback, logs, rm.

const progressOptions = (yargs: Argv) =>
  yargs
    .option('detach', { alias: 'd', type: 'boolean', describe: 'Do not wait for the service to converge' })
    .option('quiet', { alias: 'q', type: 'boolean', describe: 'No progress output' });

const registryOptions = (yargs: Argv) =>
  yargs
    .option('with-registry-auth', {
      type: 'boolean',
      describe: "Hand the nodes the credentials of 'docker login' for the image's registry",
    })
    .option('no-resolve-image', { type: 'boolean', describe: 'Leave the tag as it is, without asking the registry' });

const imageOf = (spec: ServiceSpec): string => spec.TaskTemplate?.ContainerSpec?.Image ?? '';

/** Headers with credentials, if that was asked for. */
const authHeaders = (args: Args, shell: Shell, spec: ServiceSpec) =>
  args.flag('with-registry-auth') ? registryAuthHeader(imageOf(spec), shell.env) : {};

function specOptions(yargs: Argv, command: 'create' | 'update', env: Shell['env']): Argv {
  for (const flag of scalarFlags) {
    if (flag.only && flag.only !== command) continue;
    yargs.option(flag.name, {
      type: flag.type,
      describe: flag.describe,
      ...(flag.alias && { alias: flag.alias }),
      ...(flag.type === 'string' && { requiresArg: true }),
    });
  }
  for (const flag of listFlags(env)) {
    const common = { type: 'string', array: true, nargs: 1 } as const;
    if (command === 'create') {
      yargs.option(flag.name, { ...common, describe: flag.describe, ...(flag.alias && { alias: flag.alias }) });
    } else {
      yargs.option(`${flag.name}-add`, { ...common, describe: `Add or change: ${flag.describe}` });
      yargs.option(`${flag.name}-rm`, { ...common, describe: `Remove ${flag.removes}` });
    }
  }
  for (const name of Object.keys(absentFlags)) yargs.option(name, { type: 'string', hidden: true });
  return yargs;
}

/** The flags of `service create`, as typed, that take the next word as their value. */
export const valuedCreateFlags = (env: Shell['env']): ReadonlySet<string> =>
  new Set(
    [
      ...scalarFlags.filter((flag) => flag.type === 'string' && flag.only !== 'update'),
      ...listFlags(env),
      { name: 'env-file' },
    ]
      .flatMap((flag) => [`--${flag.name}`, ...('alias' in flag && flag.alias ? [`-${flag.alias}`] : [])])
      .concat(Object.keys(absentFlags).map((name) => `--${name}`)),
  );

/** Every flag of `service create`, without dashes. */
export const createFlagNames = (env: Shell['env']): readonly string[] =>
  [
    ...scalarFlags.filter((flag) => flag.only !== 'update'),
    ...listFlags(env),
    { name: 'env-file' },
    { name: 'detach', alias: 'd' },
    { name: 'quiet', alias: 'q' },
    { name: 'with-registry-auth' },
    { name: 'no-resolve-image' },
    { name: 'help', alias: 'h' },
    ...Object.keys(absentFlags).map((name) => ({ name })),
  ].flatMap((flag) => [flag.name, ...('alias' in flag && flag.alias ? [flag.alias] : [])]);

/** Flags that Docker has and this cluster has not: refused by name. */
function refuseAbsent(args: Args): void {
  for (const [name, why] of Object.entries(absentFlags)) {
    if (args.all[name] !== undefined) throw new ClusterError('unimplemented', `--${name}: ${why}`);
  }
}

const getService = (shell: Shell, reference: string) =>
  shell.client().get<Service>(`/services/${encodeURIComponent(reference)}`, { insertDefaults: false });

async function converge(args: Args, shell: Shell, id: string, rollback = false): Promise<void> {
  if (args.flag('detach')) return;
  const { clock, terminal, signal } = shell;
  await watchService(shell.client(), id, { clock, terminal, signal, quiet: args.flag('quiet'), rollback });
}

async function create(args: Args, shell: Shell): Promise<void> {
  refuseAbsent(args);
  const built = buildCreateSpec(args.text('image') ?? '', shell.trailing, await withIds(args.all, shell), shell.env);
  const headers = authHeaders(args, shell, built);
  const spec = args.flag('no-resolve-image') ? built : await withDigest(built, headers, shell);
  const { ID: id, Warnings: warnings } = await shell
    .client()
    .post<{ ID: string; Warnings: string[] | null }>('/services/create', spec, {}, headers);
  for (const warning of warnings ?? []) shell.err(`${warning}\n`);
  shell.out(`${id}\n`);
  await converge(args, shell, id);
}

const withIds = async (given: Given, shell: Shell): Promise<Given> =>
  withPayloadIds(await withNetworkIds(given, shell), shell);

/** Specs name secrets and configs by id and name; what is to be removed from a spec may be gone itself. */
async function withPayloadIds(given: Given, shell: Shell): Promise<Given> {
  const resolved: Record<string, unknown> = { ...given };
  for (const kind of ['secret', 'config'] as const) {
    for (const flag of [kind, `${kind}-add`, `${kind}-rm`]) {
      const values = given[flag];
      if (values === undefined) continue;
      resolved[flag] = await Promise.all(
        [values].flat().map(async (value) => {
          if (flag === `${kind}-rm`) return encodeNames(await versionNames(shell.client(), kind, String(value)));
          const { source, file } = payloadFlag(flag, String(value));
          const { ID, Spec } = await resolvePayload(shell.client(), kind, source);
          return encodeReference(kind, { ID, Name: Spec.Name }, file);
        }),
      );
    }
  }
  return resolved;
}

/** Specs name networks by their ids; one to be removed from a spec may be gone itself. */
async function withNetworkIds(given: Given, shell: Shell): Promise<Given> {
  const resolved: Record<string, unknown> = { ...given };
  for (const flag of ['network', 'network-add', 'network-rm']) {
    const values = given[flag];
    if (values === undefined) continue;
    resolved[flag] = await Promise.all(
      (Array.isArray(values) ? values : [values]).map(async (value) => {
        const { target, aliases } = attachment(flag, String(value));
        try {
          const query = { scope: 'swarm' };
          const { Id: id } = await shell.client().get<{ Id: string }>(`/networks/${encodeURIComponent(target)}`, query);
          if (flag === 'network-rm') return id;
          return [`name=${id}`, ...aliases.map((alias) => `alias=${alias}`)].join();
        } catch (error) {
          if (flag === 'network-rm' && isNotFound(error)) return target;
          throw error;
        }
      }),
    );
  }
  return resolved;
}

async function post(
  shell: Shell,
  service: Service,
  spec: ServiceSpec,
  query: Record<string, string> = {},
  headers: Readonly<Record<string, string>> = {},
): Promise<void> {
  const { Warnings: warnings } = await shell
    .client()
    .post<{ Warnings: string[] | null }>(
      `/services/${service.ID}/update`,
      spec,
      { version: service.Version.Index, ...query },
      headers,
    );
  for (const warning of warnings ?? []) shell.err(`${warning}\n`);
}

async function update(args: Args, shell: Shell): Promise<void> {
  refuseAbsent(args);
  const reference = args.text('service') ?? '';
  const service = await getService(shell, reference);
  if (args.flag('rollback')) {
    await post(shell, service, service.Spec, { rollback: 'previous' });
  } else {
    const built = buildUpdateSpec(service.Spec, await withIds(args.all, shell), shell.env);
    const headers = authHeaders(args, shell, built);
    const isNew = args.text('image') !== undefined && !args.flag('no-resolve-image');
    await post(shell, service, isNew ? await withDigest(built, headers, shell) : built, {}, headers);
  }
  shell.out(`${reference}\n`);
  await converge(args, shell, service.ID, args.flag('rollback'));
}

async function rollback(args: Args, shell: Shell): Promise<void> {
  const reference = args.text('service') ?? '';
  const service = await getService(shell, reference);
  await post(shell, service, service.Spec, { rollback: 'previous' });
  shell.out(`${reference}\n`);
  await converge(args, shell, service.ID, true);
}

async function scale(args: Args, shell: Shell): Promise<void> {
  const wanted = args.list('pairs').map((text) => {
    const match = /^([^=]+)=(.+)$/.exec(text);
    if (!match)
      throw new ClusterError('invalid-argument', `invalid scale specifier '${text}': expected SERVICE=REPLICAS`);
    if (!/^\d+$/.test(match[2] ?? ''))
      throw new ClusterError('invalid-argument', `invalid replicas in '${text}': expected a whole number`);
    return { reference: match[1] ?? '', replicas: uint('replicas', match[2] ?? '') };
  });
  const scaled: string[] = [];
  await forEach(
    shell,
    wanted.map((one) => one.reference),
    async (reference) => {
      const replicas = wanted.find((one) => one.reference === reference)?.replicas ?? 0;
      const service = await getService(shell, reference);
      if (!service.Spec.Mode?.Replicated)
        throw new ClusterError('invalid-argument', `${reference}: scale can only be used with replicated mode`);
      await post(shell, service, { ...service.Spec, Mode: { Replicated: { Replicas: replicas } } });
      scaled.push(service.ID);
      return `${reference} scaled to ${replicas}`;
    },
  );
  for (const id of scaled) await converge(args, shell, id);
}

async function list(args: Args, shell: Shell): Promise<void> {
  await printServices(args, shell, apiFilters(args.list('filter')));
}

async function ps(args: Args, shell: Shell): Promise<void> {
  const services: Service[] = [];
  for (const reference of args.list('service')) {
    try {
      services.push(await getService(shell, reference));
    } catch (error) {
      if (!isNotFound(error)) throw error;
      shell.fail(`no such service: ${reference}`);
    }
  }
  if (services.length === 0) return;
  const ids = services.map((service) => service.ID);
  await printTasks(args, shell, apiFilters(args.list('filter'), { service: ids }));
}

async function inspect(args: Args, shell: Shell): Promise<void> {
  const found: Service[] = [];
  for (const reference of args.list('service')) {
    try {
      found.push(
        await shell.client().get<Service>(`/services/${encodeURIComponent(reference)}`, { insertDefaults: true }),
      );
    } catch (error) {
      if (!isNotFound(error)) throw error;
      shell.fail(explain(error));
    }
  }
  shell.out(args.flag('pretty') ? found.map(prettyService).join('\n') : renderInspect(found, args.text('format')));
}

const logOptions = (yargs: Argv) =>
  yargs
    .option('follow', { alias: 'f', type: 'boolean', describe: 'Go on with new output' })
    .option('tail', { alias: 'n', type: 'string', describe: 'Lines from the end, for each task (all)' })
    .option('since', { type: 'string', describe: 'From this time on (RFC 3339, a Unix time or a duration ago)' })
    .option('until', { type: 'string', describe: 'Up to this time' })
    .option('details', { type: 'boolean', describe: 'Show what the log driver notes with each line' })
    .option('timestamps', { alias: 't', type: 'boolean', describe: 'Show timestamps' })
    .option('raw', { type: 'boolean', describe: 'Without task names' })
    .option('no-trunc', { type: 'boolean', describe: 'Do not shorten' })
    .option('no-resolve', { type: 'boolean', describe: 'Ids instead of names' })
    .option('no-task-ids', { type: 'boolean', describe: 'Without task ids' });

export const serviceCommands = (env: Shell['env']): readonly Command[] => [
  {
    usage: 'create <image>',
    describe: 'Create a service; what follows the image is its command',
    options: (yargs) =>
      registryOptions(progressOptions(specOptions(yargs, 'create', env))).option('env-file', {
        type: 'string',
        array: true,
        nargs: 1,
        describe: 'Read environment variables from a file',
      }),
    run: create,
  },
  {
    usage: 'ls',
    aliases: ['list'],
    describe: 'List the services',
    options: (yargs) => listOptions(yargs).option('no-trunc', { type: 'boolean', describe: 'Do not shorten' }),
    run: list,
  },
  { usage: 'ps <service...>', describe: 'List the tasks of services', options: taskListOptions, run: ps },
  { usage: 'inspect <service...>', describe: 'Show services in full', options: inspectOptions, run: inspect },
  {
    usage: 'update <service>',
    describe: 'Change a service; its tasks are replaced as the update configuration says',
    options: (yargs) =>
      registryOptions(progressOptions(specOptions(yargs, 'update', env)))
        .option('force', { type: 'boolean', describe: 'Replace the tasks even if nothing changed' })
        .option('rollback', { type: 'boolean', describe: 'Go back to the previous specification' }),
    run: update,
  },
  {
    usage: 'scale <pairs...>',
    describe: 'Set the number of replicas: SERVICE=REPLICAS',
    options: progressOptions,
    run: scale,
  },
  {
    usage: 'rollback <service>',
    describe: 'Go back to the previous specification',
    options: progressOptions,
    run: rollback,
  },
  { usage: 'logs <service>', describe: 'Show the output of a service or a task', options: logOptions, run: printLogs },
  {
    usage: 'rm <service...>',
    aliases: ['remove'],
    describe: 'Remove services',
    run: (args, shell) =>
      forEach(shell, args.list('service'), async (reference) => {
        await shell.client().delete(`/services/${encodeURIComponent(reference)}`);
        return reference;
      }),
  },
];
