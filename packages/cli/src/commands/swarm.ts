import { createInterface } from 'node:readline';
import { ClusterError } from '@swarmctl/shared/kit';
import type { ClusterSpec } from '@swarmctl/shared/model';
import type { Argv } from 'yargs';
import type { Shell } from '../runtime.ts';
import { durationNs, uint } from '../units.ts';
import type { ShownNode } from './node.ts';
import { swarmCa } from './swarm-ca.ts';
import type { Args, Command } from './types.ts';

// swarmctl swarm: init, join, leave, join-token, update, unlock, unlock-key, ca.

interface Swarm {
  ID: string;
  Version: { Index: number };
  Spec: ClusterSpec;
  JoinTokens: { Worker: string; Manager: string };
}
interface Info {
  Swarm: { NodeID: string; NodeAddr: string; ControlAvailable: boolean; LocalNodeState: string };
}

async function init(args: Args, shell: Shell): Promise<void> {
  const spec = specFlags(args, {});
  const port = args.text('data-path-port');
  const id = await shell.client().post<string>('/swarm/init', {
    ListenAddr: args.text('listen-addr') ?? '',
    AdvertiseAddr: args.text('advertise-addr') ?? '',
    Availability: args.text('availability') ?? 'active',
    SubnetSize: 24,
    ForceNewCluster: args.flag('force-new-cluster'),
    ...(port !== undefined && { DataPathPort: uint('data-path-port', port) }),
    Spec: { Labels: {}, ...spec },
  });
  shell.out(`Swarm initialized: current node (${id}) is now a manager.\n\n`);
  await printToken(shell, 'worker', 'To add a worker to this swarm, run the following command:');
  shell.out("To add a manager to this swarm, run 'swarmctl swarm join-token manager' and follow the instructions.\n");
  if (args.flag('autolock')) await printUnlockKey(shell);
}

async function unlockKey(args: Args, shell: Shell): Promise<void> {
  const client = shell.client();
  if (args.flag('rotate')) {
    const swarm = await client.get<Swarm>('/swarm');
    if (!swarm.Spec.EncryptionConfig?.AutoLockManagers)
      throw new ClusterError('failed-precondition', 'cannot rotate because autolock is not turned on');
    await client.post('/swarm/update', swarm.Spec, {
      version: swarm.Version.Index,
      rotateWorkerToken: false,
      rotateManagerToken: false,
      rotateManagerUnlockKey: true,
    });
    if (!args.flag('quiet')) shell.out('Successfully rotated manager unlock key.\n');
  }
  if (args.flag('quiet')) shell.out(`${await currentUnlockKey(shell)}\n`);
  else await printUnlockKey(shell);
}

async function currentUnlockKey(shell: Shell): Promise<string> {
  const { UnlockKey } = await shell.client().get<{ UnlockKey: string }>('/swarm/unlockkey');
  if (UnlockKey === '') throw new ClusterError('failed-precondition', 'no unlock key is set');
  return UnlockKey;
}

async function printUnlockKey(shell: Shell): Promise<void> {
  shell.out(`
To unlock a swarm manager after it restarts, run the 'swarmctl swarm unlock' command and provide the following key:

    ${await currentUnlockKey(shell)}

Keep it in a safe place, with the keys before it: without it a restarted manager cannot be used again, and one that was off
while the key changed wants the one before.
`);
}

/** Not as an argument: others would see it in the list of processes. */
async function unlock(_args: Args, shell: Shell): Promise<void> {
  if (shell.terminal.isTty) shell.err('Enter unlock key: ');
  await shell.client().post('/swarm/unlock', { UnlockKey: (await firstLine()).trim() });
}

async function firstLine(): Promise<string> {
  const lines = createInterface({ input: process.stdin });
  for await (const line of lines) return line;
  return '';
}

async function printToken(shell: Shell, role: 'worker' | 'manager', heading: string): Promise<void> {
  const [swarm, info] = await Promise.all([shell.client().get<Swarm>('/swarm'), shell.client().get<Info>('/info')]);
  const node = await shell.client().get<ShownNode>(`/nodes/${info.Swarm.NodeID}`);
  const token = role === 'worker' ? swarm.JoinTokens.Worker : swarm.JoinTokens.Manager;
  shell.out(
    `${heading}\n\n    swarmctl swarm join --token ${token} ${node.ManagerStatus?.Addr ?? info.Swarm.NodeAddr}\n\n`,
  );
}

async function join(args: Args, shell: Shell): Promise<void> {
  const token = args.text('token');
  if (!token)
    throw new ClusterError(
      'invalid-argument',
      '"swarmctl swarm join" needs --token; "swarmctl swarm join-token worker" on a manager prints it',
    );
  const client = shell.client();
  await client.post('/swarm/join', {
    ListenAddr: args.text('listen-addr') ?? '',
    AdvertiseAddr: args.text('advertise-addr') ?? '',
    RemoteAddrs: args.list('remote'),
    JoinToken: token,
    Availability: args.text('availability') ?? 'active',
  });
  const info = await client.get<Info>('/info');
  shell.out(`This node joined a swarm as a ${info.Swarm.ControlAvailable ? 'manager' : 'worker'}.\n`);
}

async function leave(args: Args, shell: Shell): Promise<void> {
  await shell.client().post('/swarm/leave', undefined, { force: args.flag('force') ? 1 : undefined });
  shell.out('Node left the swarm.\n');
}

async function joinToken(args: Args, shell: Shell): Promise<void> {
  const role = args.text('role');
  if (role !== 'worker' && role !== 'manager')
    throw new ClusterError('invalid-argument', `unknown role ${role}: expected worker or manager`);
  const client = shell.client();
  if (args.flag('rotate')) {
    const swarm = await client.get<Swarm>('/swarm');
    await client.post('/swarm/update', swarm.Spec, {
      version: swarm.Version.Index,
      rotateWorkerToken: role === 'worker',
      rotateManagerToken: role === 'manager',
      rotateManagerUnlockKey: false,
    });
  }
  if (args.flag('quiet')) {
    const { JoinTokens } = await client.get<Swarm>('/swarm');
    shell.out(`${role === 'worker' ? JoinTokens.Worker : JoinTokens.Manager}\n`);
    return;
  }
  if (args.flag('rotate')) shell.out(`Successfully rotated ${role} join token.\n\n`);
  await printToken(shell, role, `To add a ${role} to this swarm, run the following command:`);
}

const withSpec = (yargs: Argv) =>
  yargs
    .option('task-history-limit', { type: 'string', describe: 'Finished tasks kept for each slot (5)' })
    .option('cert-expiry', { type: 'string', describe: 'Life of node certificates (2160h)' })
    .option('dispatcher-heartbeat', { type: 'string', describe: "Between a node's signs of life (1s)" })
    .option('snapshot-interval', { type: 'string', describe: 'Log entries between raft snapshots (10000)' })
    .option('allow', {
      type: 'string',
      describe:
        "What services may have beyond their containers, all of it: 'privileged,devices=/dev/snd', or '' for nothing",
    })
    .option('autolock', {
      type: 'boolean',
      describe: "Lock the keys on the managers' disks: a restarted manager waits for 'swarm unlock' (false)",
    });

const specNames = [
  'allow',
  'task-history-limit',
  'cert-expiry',
  'dispatcher-heartbeat',
  'snapshot-interval',
  'autolock',
] as const;

function specFlags(args: Args, base: ClusterSpec): ClusterSpec {
  const limit = args.text('task-history-limit');
  const expiry = args.text('cert-expiry');
  const heartbeat = args.text('dispatcher-heartbeat');
  const interval = args.text('snapshot-interval');
  const autolock = args.text('autolock');
  const allow = args.text('allow');
  return {
    ...base,
    ...(allow !== undefined && { Labels: { ...base.Labels, 'swarmctl.allow': allow } }),
    ...(autolock !== undefined && { EncryptionConfig: { AutoLockManagers: autolock === 'true' } }),
    ...(limit !== undefined && {
      Orchestration: { ...base.Orchestration, TaskHistoryRetentionLimit: uint('task-history-limit', limit) },
    }),
    ...(expiry !== undefined && { CAConfig: { ...base.CAConfig, NodeCertExpiry: durationNs('cert-expiry', expiry) } }),
    ...(heartbeat !== undefined && {
      Dispatcher: { ...base.Dispatcher, HeartbeatPeriod: durationNs('dispatcher-heartbeat', heartbeat) },
    }),
    ...(interval !== undefined && {
      Raft: { ...base.Raft, SnapshotInterval: uint('snapshot-interval', interval) },
    }),
  };
}

async function update(args: Args, shell: Shell): Promise<void> {
  const rotateNetworkKeys = args.flag('rotate-network-keys');
  if (!rotateNetworkKeys && specNames.every((name) => args.text(name) === undefined)) {
    const flags = [...specNames, 'rotate-network-keys'].map((name) => `--${name}`).join(', ');
    throw new ClusterError('invalid-argument', `nothing to change: give one of ${flags}`);
  }
  const swarm = await shell.client().get<Swarm>('/swarm');
  await shell.client().post('/swarm/update', specFlags(args, swarm.Spec), {
    version: swarm.Version.Index,
    ...(rotateNetworkKeys && { rotateNetworkKeys }),
    rotateWorkerToken: false,
    rotateManagerToken: false,
    rotateManagerUnlockKey: false,
  });
  shell.out('Swarm updated.\n');
  if (args.flag('autolock') && !swarm.Spec.EncryptionConfig?.AutoLockManagers) await printUnlockKey(shell);
}

const addresses = (yargs: Argv) =>
  yargs
    .option('listen-addr', { type: 'string', describe: "Must be the daemon's own, if given" })
    .option('advertise-addr', { type: 'string', describe: 'Address that the other nodes reach this one at' })
    .option('availability', {
      type: 'string',
      choices: ['active', 'pause', 'drain'],
      describe: 'Whether tasks may run here (active)',
    });

export const swarmCommands: readonly Command[] = [
  {
    usage: 'init',
    describe: 'Make this node the first manager of a new cluster',
    options: (yargs) =>
      withSpec(addresses(yargs))
        .option('data-path-port', {
          type: 'string',
          describe: "UDP port of the packets between containers of different nodes, for the cluster's life (4789)",
        })
        .option('force-new-cluster', {
          type: 'boolean',
          describe: 'On a manager whose fellows are lost for good: go on alone, with all that it knows',
        }),
    run: init,
  },
  {
    usage: 'join <remote...>',
    describe: 'Join a cluster through one of its managers (HOST:2377)',
    options: (yargs) =>
      addresses(yargs).option('token', { type: 'string', describe: 'Join token; it decides the role' }),
    run: join,
  },
  {
    usage: 'leave',
    describe: 'Leave the cluster',
    options: (yargs) => yargs.option('force', { alias: 'f', type: 'boolean', describe: 'Even as a manager' }),
    run: leave,
  },
  {
    usage: 'join-token <role>',
    describe: 'Show the command that joins as worker or manager',
    options: (yargs) =>
      yargs
        .option('rotate', { type: 'boolean', describe: 'Make a new token; the old one stops working' })
        .option('quiet', { alias: 'q', type: 'boolean', describe: 'Only the token' }),
    run: joinToken,
  },
  {
    usage: 'update',
    describe: 'Change cluster settings',
    options: (yargs) =>
      withSpec(yargs).option('rotate-network-keys', {
        type: 'boolean',
        describe: 'New keys for encrypted networks now, not only every 12 hours',
      }),
    run: update,
  },
  {
    usage: 'unlock',
    describe: 'Unlock this manager with the key on the standard input',
    run: unlock,
  },
  {
    usage: 'unlock-key',
    describe: 'Show the key that unlocks a restarted manager',
    options: (yargs) =>
      yargs
        .option('rotate', { type: 'boolean', describe: 'Make a new key; managers that are up follow' })
        .option('quiet', { alias: 'q', type: 'boolean', describe: 'Only the key' }),
    run: unlockKey,
  },
  swarmCa,
];
