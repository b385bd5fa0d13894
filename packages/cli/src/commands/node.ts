import { ClusterError } from '@swarmctl/shared/kit';
import type { Node } from '@swarmctl/shared/model';
import { isNotFound } from '../client.ts';
import { renderInspect, renderList } from '../output.ts';
import { apiFilters, explain, forEach, type Shell } from '../runtime.ts';
import { pair } from '../service/parse.ts';
import { capital, oneOf, showBytes } from '../units.ts';
import { printTasks } from './print-tasks.ts';
import { type Args, type Command, inspectOptions, listOptions, taskListOptions } from './types.ts';

// swarmctl node: ls, inspect, ps, update, promote, demote, rm.

interface Info {
  Swarm: { NodeID: string };
}

/** A node as the API shows it. */
export type ShownNode = Omit<Node, 'ManagerStatus'> & {
  ManagerStatus?: { Leader?: boolean; Reachability: string; Addr: string };
};

const columns = [
  { header: 'ID', field: 'ID' },
  { header: 'HOSTNAME', field: 'Hostname' },
  { header: 'STATUS', field: 'Status' },
  { header: 'AVAILABILITY', field: 'Availability' },
  { header: 'MANAGER STATUS', field: 'ManagerStatus' },
  { header: 'ADDRESS', field: 'Addr' },
  { header: 'ENGINE VERSION', field: 'EngineVersion' },
];

async function list(args: Args, shell: Shell): Promise<void> {
  const client = shell.client();
  const nodes = await client.get<ShownNode[]>('/nodes', { filters: apiFilters(args.list('filter')) });
  const self = args.flag('quiet') ? '' : (await client.get<Info>('/info')).Swarm.NodeID;
  shell.out(
    renderList(nodeRows(nodes, self), columns, 'FullID', { quiet: args.flag('quiet'), format: args.text('format') }),
  );
}

export const nodeRows = (nodes: readonly ShownNode[], self: string) =>
  [...nodes]
    .sort(
      (a, b) =>
        (a.Description?.Hostname ?? '').localeCompare(b.Description?.Hostname ?? '') || a.ID.localeCompare(b.ID),
    )
    .map((node) => ({
      ID: node.ID === self ? `${node.ID} *` : node.ID,
      FullID: node.ID,
      Self: node.ID === self,
      Hostname: node.Description?.Hostname ?? '',
      Status: capital(node.Status.State),
      Availability: capital(node.Spec.Availability),
      ManagerStatus: node.ManagerStatus
        ? node.ManagerStatus.Leader
          ? 'Leader'
          : capital(node.ManagerStatus.Reachability)
        : '',
      Addr: node.Status.Addr,
      EngineVersion: node.Description?.Engine.EngineVersion ?? '',
    }));
export const nodeColumns = columns;

async function getNode(shell: Shell, reference: string): Promise<ShownNode> {
  const id = reference === 'self' ? (await shell.client().get<Info>('/info')).Swarm.NodeID : reference;
  return shell.client().get<ShownNode>(`/nodes/${encodeURIComponent(id)}`);
}

async function inspect(args: Args, shell: Shell): Promise<void> {
  const found: ShownNode[] = [];
  for (const reference of args.list('node')) {
    try {
      found.push(await getNode(shell, reference));
    } catch (error) {
      if (!isNotFound(error)) throw error;
      shell.fail(explain(error));
    }
  }
  shell.out(args.flag('pretty') ? found.map(pretty).join('\n') : renderInspect(found, args.text('format')));
}

function pretty(node: ShownNode): string {
  const description = node.Description;
  const lines = [
    `ID:\t\t\t${node.ID}`,
    ...Object.entries(node.Spec.Labels).map(([key, value], i) => `${i === 0 ? 'Labels:\n' : ''} - ${key}=${value}`),
    `Hostname:\t\t${description?.Hostname ?? ''}`,
    `Joined at:\t\t${node.CreatedAt}`,
    'Status:',
    ` State:\t\t\t${capital(node.Status.State)}${node.Status.Message ? ` (${node.Status.Message})` : ''}`,
    ` Availability:\t\t${capital(node.Spec.Availability)}`,
    ` Address:\t\t${node.Status.Addr}`,
    ...(node.ManagerStatus
      ? [
          'Manager status:',
          ` Address:\t\t${node.ManagerStatus.Addr}`,
          ` Raft status:\t\t${capital(node.ManagerStatus.Reachability)}`,
          ` Leader:\t\t${node.ManagerStatus.Leader ? 'Yes' : 'No'}`,
        ]
      : []),
    'Platform:',
    ` Operating system:\t${description?.Platform.OS ?? ''}`,
    ` Architecture:\t\t${description?.Platform.Architecture ?? ''}`,
    'Resources:',
    ` CPUs:\t\t\t${(description?.Resources.NanoCPUs ?? 0) / 1e9}`,
    ` Memory:\t\t${showBytes(description?.Resources.MemoryBytes ?? 0)}`,
    `Engine version:\t\t${description?.Engine.EngineVersion ?? ''}`,
    ...(description?.Ingress ? [`Ingress:\t\t${description.Ingress.Kind}`] : []),
    ...(description?.Ingress?.Problems ?? []).map((problem) => ` - ${problem}`),
    ...(description?.NetworkProblems ? ['Network problems:'] : []),
    ...(description?.NetworkProblems ?? []).map((problem) => ` - ${problem}`),
  ];
  return `${lines.join('\n')}\n`;
}

async function ps(args: Args, shell: Shell): Promise<void> {
  const references = args.list('node').length > 0 ? args.list('node') : ['self'];
  const nodes = await Promise.all(references.map((reference) => getNode(shell, reference)));
  await printTasks(args, shell, apiFilters(args.list('filter'), { node: nodes.map((node) => node.ID) }));
}

type Spec = { -readonly [K in keyof Node['Spec']]: Node['Spec'][K] };

async function change(shell: Shell, reference: string, edit: (spec: Spec) => boolean): Promise<boolean> {
  const node = await getNode(shell, reference);
  const spec: Spec = { ...node.Spec, Labels: { ...node.Spec.Labels } };
  if (!edit(spec)) return false;
  await shell.client().post(`/nodes/${node.ID}/update`, spec, { version: node.Version.Index });
  return true;
}

function choice<const T extends string>(args: Args, flag: string, allowed: readonly T[]): T | undefined {
  const value = args.text(flag);
  return value === undefined ? undefined : oneOf(flag, value, allowed);
}

async function update(args: Args, shell: Shell): Promise<void> {
  // Before any node is asked: what is wrong here is wrong for all of them.
  const role = choice(args, 'role', ['worker', 'manager']);
  const availability = choice(args, 'availability', ['active', 'pause', 'drain']);
  const added = args.list('label-add').map((text) => pair('label-add', text));
  const edit = (spec: Spec) => {
    if (role !== undefined) spec.Role = role;
    if (availability !== undefined) spec.Availability = availability;
    const labels: Record<string, string> = { ...spec.Labels, ...Object.fromEntries(added) };
    for (const key of args.list('label-rm')) {
      if (!Object.hasOwn(labels, key)) throw new ClusterError('not-found', `key ${key} doesn't exist in node's labels`);
      delete labels[key];
    }
    spec.Labels = labels;
    return true;
  };
  await forEach(shell, args.list('node'), async (reference) => {
    await change(shell, reference, edit);
    return reference;
  });
}

const toRole = (role: 'manager' | 'worker') => async (args: Args, shell: Shell) =>
  forEach(shell, args.list('node'), async (reference) => {
    const changed = await change(shell, reference, (spec) => {
      if (spec.Role === role) return false;
      spec.Role = role;
      return true;
    });
    if (!changed) return `Node ${reference} is already a ${role}.`;
    return role === 'manager'
      ? `Node ${reference} promoted to a manager in the swarm.`
      : `Manager ${reference} demoted in the swarm.`;
  });

export const nodeCommands: readonly Command[] = [
  { usage: 'ls', aliases: ['list'], describe: 'List the nodes', options: listOptions, run: list },
  {
    usage: 'inspect <node...>',
    describe: 'Show nodes in full (self: this one)',
    options: inspectOptions,
    run: inspect,
  },
  { usage: 'ps [node...]', describe: 'List the tasks on nodes (default: this one)', options: taskListOptions, run: ps },
  {
    usage: 'update <node...>',
    describe: "Change a node's role, availability or labels",
    options: (yargs) =>
      yargs
        .option('role', { type: 'string', describe: 'worker or manager' })
        .option('availability', { type: 'string', describe: 'active, pause or drain' })
        .option('label-add', { type: 'string', array: true, nargs: 1, describe: 'Add or change a label (key=value)' })
        .option('label-rm', { type: 'string', array: true, nargs: 1, describe: 'Remove a label by key' }),
    run: update,
  },
  { usage: 'promote <node...>', describe: 'Make nodes managers', run: toRole('manager') },
  { usage: 'demote <node...>', describe: 'Make managers workers', run: toRole('worker') },
  {
    usage: 'rm <node...>',
    aliases: ['remove'],
    describe: 'Remove nodes from the cluster',
    options: (yargs) => yargs.option('force', { alias: 'f', type: 'boolean', describe: 'Even if it is not down' }),
    run: (args, shell) =>
      forEach(shell, args.list('node'), async (reference) => {
        await shell
          .client()
          .delete(`/nodes/${encodeURIComponent(reference)}`, { force: args.flag('force') ? 1 : undefined });
        return reference;
      }),
  },
];
