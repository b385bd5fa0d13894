import { ClusterError } from '@swarmctl/shared/kit';
import { currentContext, hostOf, listContexts, removeContext, saveContext, useContext } from '../context.ts';
import { renderInspect, renderList } from '../output.ts';
import { explain, forEach, type Shell } from '../runtime.ts';
import { showBytes } from '../units.ts';
import { contextClients } from './context-clients.ts';
import { contextExport } from './context-export.ts';
import type { Args, Command } from './types.ts';

// swarmctl info, version, and context: ls, use, create, rm (export, clients and revoke have files of their own).

interface Info {
  Name: string;
  ServerVersion: string;
  NCPU: number;
  MemTotal: number;
  OperatingSystem: string;
  KernelVersion: string;
  Architecture: string;
  Driver: string;
  DriverStatus: [string, string][];
  Swarm: {
    LocalNodeState: string;
    NodeID: string;
    NodeAddr: string;
    ControlAvailable: boolean;
    Error: string;
    Nodes?: number;
    Managers?: number;
    Cluster?: { ID: string };
    RemoteManagers: { NodeID: string; Addr: string }[] | null;
  };
}

async function info(args: Args, shell: Shell): Promise<void> {
  const answer = await shell.client().get<Info>('/info');
  const format = args.text('format');
  if (format) return shell.out(renderInspect([answer], format));
  const { Swarm: swarm } = answer;
  const lines = [
    `Server Version: ${answer.ServerVersion}`,
    `Name: ${answer.Name}`,
    `Storage Driver: ${answer.Driver}`,
    ...answer.DriverStatus.map(([name, value]) => ` ${name}: ${value}`),
    `Swarm: ${swarm.LocalNodeState}`,
    ...(swarm.NodeID ? [` NodeID: ${swarm.NodeID}`, ` Is Manager: ${swarm.ControlAvailable}`] : []),
    ...(swarm.Cluster?.ID
      ? [` ClusterID: ${swarm.Cluster.ID}`, ` Managers: ${swarm.Managers}`, ` Nodes: ${swarm.Nodes}`]
      : []),
    ...(swarm.NodeAddr ? [` Node Address: ${swarm.NodeAddr}`] : []),
    ...(swarm.RemoteManagers ? [' Manager Addresses:', ...swarm.RemoteManagers.map((peer) => `  ${peer.Addr}`)] : []),
    ...(swarm.Error ? [` Error: ${swarm.Error}`] : []),
    `Operating System: ${answer.OperatingSystem}`,
    `Kernel Version: ${answer.KernelVersion}`,
    `Architecture: ${answer.Architecture}`,
    `CPUs: ${answer.NCPU}`,
    `Total Memory: ${showBytes(answer.MemTotal)}`,
  ];
  return shell.out(`${lines.join('\n')}\n`);
}

async function version(args: Args, shell: Shell, ours: string): Promise<void> {
  const client = { Version: ours, ApiVersion: '1.50', Node: process.version, Os: process.platform, Arch: process.arch };
  let server: Record<string, unknown> | undefined;
  try {
    server = await shell.client().get<Record<string, unknown>>('/version');
  } catch (error) {
    shell.fail(explain(error));
  }
  const format = args.text('format');
  if (format) return shell.out(renderInspect([{ Client: client, Server: server }], format));
  const block = (title: string, fields: Record<string, unknown>) =>
    `${title}:\n${Object.entries(fields)
      .map(([key, value]) => ` ${`${key}:`.padEnd(15)}${String(value)}\n`)
      .join('')}`;
  shell.out(block('Client', client));
  if (server) {
    const { Version, ApiVersion, MinAPIVersion, Os, Arch, KernelVersion } = server;
    shell.out(`\n${block('Server', { Version, ApiVersion, MinAPIVersion, Os, Arch, KernelVersion })}`);
  }
}

export const systemCommands = (ours: string): readonly Command[] => [
  {
    usage: 'info',
    describe: 'Show the node and its cluster',
    options: (yargs) => yargs.option('format', { alias: 'f', type: 'string', describe: "'json' or a Go template" }),
    run: info,
  },
  {
    usage: 'version',
    describe: 'Show the versions of swarmctl and of the daemon',
    options: (yargs) => yargs.option('format', { alias: 'f', type: 'string', describe: "'json' or a Go template" }),
    run: (args, shell) => version(args, shell, ours),
  },
];

const columns = [
  { header: 'NAME', field: 'Shown' },
  { header: 'DESCRIPTION', field: 'Description' },
  { header: 'HOST', field: 'Host' },
];

export const contextCommands: readonly Command[] = [
  contextExport,
  ...contextClients,
  {
    usage: 'ls',
    aliases: ['list'],
    describe: 'List the recorded clusters',
    options: (yargs) =>
      yargs
        .option('format', { type: 'string', describe: "'table', 'json' or a Go template" })
        .option('quiet', { alias: 'q', type: 'boolean', describe: 'Only names' }),
    run: async (args, shell) => {
      const current = currentContext(shell.env);
      const rows = listContexts(shell.env).map((context) => ({
        Name: context.name,
        Shown: context.name === current ? `${context.name} *` : context.name,
        Current: context.name === current,
        Description: context.description ?? '',
        Host: context.host,
      }));
      shell.out(renderList(rows, columns, 'Name', { quiet: args.flag('quiet'), format: args.text('format') }));
    },
  },
  {
    usage: 'use <name>',
    describe: "Make a recorded cluster the one that swarmctl talks to ('default' for none)",
    run: async (args, shell) => {
      useContext(shell.env, args.text('name'));
      shell.out(`${args.text('name')}\n`);
    },
  },
  {
    usage: 'create <name>',
    describe: 'Record a cluster',
    options: (yargs) =>
      yargs
        .option('endpoint', { type: 'string', demandOption: true, describe: 'unix:///path or tcp://host:port' })
        .option('cert-path', { type: 'string', describe: 'Folder with ca.pem, cert.pem and key.pem' })
        .option('description', { type: 'string', describe: 'For people' }),
    run: async (args, shell) => {
      const certPath = args.text('cert-path');
      const description = args.text('description');
      const endpoint = args.text('endpoint') ?? '';
      saveContext(shell.env, {
        name: args.text('name') ?? '',
        host: hostOf(endpoint, 'the option --endpoint'),
        ...(certPath && { certPath }),
        ...(description && { description }),
      });
      shell.out(`${args.text('name')}\n`);
    },
  },
  {
    usage: 'rm <name...>',
    aliases: ['remove'],
    describe: 'Forget recorded clusters',
    options: (yargs) => yargs.option('force', { alias: 'f', type: 'boolean', describe: 'Even the one that is in use' }),
    run: (args, shell) =>
      forEach(shell, args.list('name'), async (name) => {
        if (!args.flag('force') && currentContext(shell.env) === name)
          throw new ClusterError('failed-precondition', `context '${name}' is in use; use another first, or --force`);
        removeContext(shell.env, name);
        return name;
      }),
  },
];
