import { ClusterError, formatJoinToken, newSharedKey, newTokenSecret, newUnlockKey } from '@swarmctl/shared/kit';
import {
  type Cluster,
  ClusterSpec,
  checkReservedLabels,
  InitRequest,
  JoinRequest,
  normalise,
  parseJson,
  type TunnelKeys,
  UnlockRequest,
  withNextKey,
} from '@swarmctl/shared/model';
import type { FastifyInstance } from 'fastify';
import { fixedTicks } from '../ca/new-cluster.ts';
import { wantedRootCa } from '../ca/root-rotation.ts';
import { type ApiContext, clusterOf, leading, managerOf, readView } from './context.ts';
import { showSwarm } from './projection.ts';
import { flag, type Query, strictFlag, versionOf } from './query.ts';
import { initAsOf, minorOf } from './version.ts';

// The cluster as one object: init, join and leave act on this node, the rest on the replicated state.

export function swarmRoutes(app: FastifyInstance, context: ApiContext): void {
  app.post('/swarm/init', async (request, reply) => {
    const body = initAsOf(minorOf(request), normalise(InitRequest, parseJson(request.body as Buffer) ?? {}));
    checkDataPathPort(body.DataPathPort ?? 0);
    if (body.Spec) checkSpec(body.Spec, fixedTicks);
    const { SigningCACert, SigningCAKey } = body.Spec?.CAConfig ?? {};
    if (SigningCACert || SigningCAKey) throw notYet('a CA of your own from the start is (rotate to it afterwards)');
    const AutoLockManagers = body.AutoLockManagers || body.Spec?.EncryptionConfig?.AutoLockManagers || false;
    const Spec = { ...body.Spec, EncryptionConfig: { AutoLockManagers } };
    const nodeId = await context.local.init({ ...body, Spec });
    // Fastify sends a text as it is; clients read a JSON string.
    return reply.type('application/json').send(`${JSON.stringify(nodeId)}\n`);
  });

  app.post('/swarm/join', async (request, reply) => {
    await context.local.join(normalise(JoinRequest, parseJson(request.body as Buffer) ?? {}));
    return reply.status(200).send();
  });

  app.post<{ Querystring: Query }>('/swarm/leave', async (request, reply) => {
    await context.local.leave(flag(request.query, 'force'));
    return reply.status(200).send();
  });

  app.get('/swarm', async () => showSwarm(clusterOf(await readView(context))));

  app.post<{ Querystring: Query }>('/swarm/update', { config: { leaderOnly: true } }, async (request, reply) => {
    const version = versionOf(request.query, 'swarm');
    const spec = normalise(ClusterSpec, parseJson(request.body as Buffer) ?? {});
    const manager = await leading(context);
    const cluster = clusterOf(manager.view());
    checkSpec(spec, { ...fixedTicks, ...cluster.Spec.Raft });
    const Spec = mergeSpec(cluster, spec);
    const UnlockKey = unlockKeyOf(cluster, Spec, request.query);
    const RootCA = await wantedRootCa(cluster.RootCA, spec.CAConfig ?? {}, context.clock.now());
    await manager.propose([
      {
        op: 'update',
        table: 'cluster',
        id: cluster.ID,
        version,
        ...(UnlockKey === undefined && { unset: ['UnlockKey'] as const }),
        set: {
          Spec,
          ...(UnlockKey !== undefined && { UnlockKey }),
          RootCA: rotateTokens(RootCA, request.query),
          ...(strictFlag(request.query, 'rotateNetworkKeys') && {
            TunnelKeys: rotatedKeys(cluster, context.clock.now()),
          }),
        },
      },
    ]);
    return reply.status(200).send();
  });

  app.get('/swarm/unlockkey', async () => ({ UnlockKey: clusterOf(await readView(context)).UnlockKey ?? '' }));

  app.post('/swarm/unlock', async (request, reply) => {
    if (context.local.state() !== 'locked') {
      managerOf(context);
      throw new ClusterError('conflict', 'swarm is not locked');
    }
    const { UnlockKey = '' } = normalise(UnlockRequest, parseJson(request.body as Buffer) ?? {});
    await context.local.unlock(UnlockKey.trim());
    return reply.status(200).send();
  });
}

const notYet = (what: string) => new ClusterError('unimplemented', `${what} not supported yet`);

/** Undefined: the managers' disks are not locked. */
function unlockKeyOf(cluster: Cluster, spec: Cluster['Spec'], query: Query): string | undefined {
  if (!spec.EncryptionConfig?.AutoLockManagers) return undefined;
  const kept = strictFlag(query, 'rotateManagerUnlockKey') ? undefined : cluster.UnlockKey;
  return kept ?? newUnlockKey();
}

/** 0: the default. Ports below are the system's, those above are given to whoever asks for any. */
function checkDataPathPort(port: number): void {
  if (port === 0 || (port >= 1_024 && port <= 49_151)) return;
  throw new ClusterError('invalid-argument', `VXLAN UDP port number is not in valid range (1024-49151): ${port}`);
}

const minCertExpiry = 3_600 * 1e9;
const minHeartbeat = 0.2 * 1e9;
const maxHeartbeat = 3_600 * 1e9;

type Ticks = Pick<NonNullable<ClusterSpec['Raft']>, 'ElectionTick' | 'HeartbeatTick'>;

function checkSpec(spec: ClusterSpec, ticks: Ticks): void {
  checkRaft(spec.Raft ?? {}, ticks);
  const period = spec.Dispatcher?.HeartbeatPeriod;
  if (period !== undefined && period !== 0 && (period < minHeartbeat || period > maxHeartbeat)) {
    throw new ClusterError(
      'invalid-argument',
      `Dispatcher.HeartbeatPeriod must be between 200ms and 1h, in nanoseconds, not ${period}`,
    );
  }
  if (spec.Name !== undefined && spec.Name !== '' && spec.Name !== 'default') {
    throw new ClusterError('invalid-argument', 'swarm spec must be named "default"');
  }
  checkReservedLabels('cluster', spec.Labels ?? {});
  if (spec.CAConfig?.ExternalCAs?.length) throw notYet('external CAs are');
  const expiry = spec.CAConfig?.NodeCertExpiry;
  if (expiry !== undefined && expiry !== 0 && expiry < minCertExpiry) {
    throw new ClusterError(
      'invalid-argument',
      'rpc error: code = InvalidArgument desc = minimum certificate expiry time is: 1h0m0s',
    );
  }
}

/** What is given back as it was read is fine; what would change nothing is refused. */
function checkRaft(raft: NonNullable<ClusterSpec['Raft']>, ticks: Ticks): void {
  for (const name of ['ElectionTick', 'HeartbeatTick'] as const) {
    if (raft[name] && raft[name] !== ticks[name]) {
      throw new ClusterError('invalid-argument', `Raft.${name} is ${ticks[name]} and cannot be changed`);
    }
  }
  if (raft.KeepOldSnapshots) throw notYet('Raft.KeepOldSnapshots above 0 is');
}

/** Where Docker tells a zero from nothing given. */
const zeroCounts = new Set(['TaskHistoryRetentionLimit', 'KeepOldSnapshots']);

/** Zero values mean "keep what is", but for a few. */
function mergeSpec(cluster: Cluster, spec: ClusterSpec): Cluster['Spec'] {
  const given = Object.fromEntries(
    Object.entries(spec).filter(([, value]) => typeof value !== 'object' || Object.keys(value).length > 0),
  );
  const merged: Record<string, unknown> = { ...cluster.Spec };
  for (const [key, value] of Object.entries(given)) {
    const before = merged[key];
    merged[key] =
      key !== 'Labels' && typeof value === 'object' && typeof before === 'object'
        ? {
            ...before,
            ...Object.fromEntries(
              Object.entries(value as object).filter(([name, one]) => one !== 0 || zeroCounts.has(name)),
            ),
          }
        : value || before;
  }
  const whole = merged as Cluster['Spec'];
  // A root that was brought is in the cluster's own, where no answer shows its key.
  const { SigningCACert: _, SigningCAKey: __, ...CAConfig } = whole.CAConfig ?? {};
  return { ...whole, CAConfig, Name: cluster.Spec.Name, Labels: spec.Labels ?? cluster.Spec.Labels };
}

/** Ours: Docker's rotate by themselves alone. */
function rotatedKeys({ TunnelKeys }: Cluster, now: number): TunnelKeys {
  if (TunnelKeys) return withNextKey(TunnelKeys, newSharedKey(), now);
  throw new ClusterError('failed-precondition', 'there are no network keys to rotate: no network is encrypted');
}

function rotateTokens(root: Cluster['RootCA'], query: Query): Cluster['RootCA'] {
  const { JoinTokens: tokens, Digest: digest } = root;
  return {
    ...root,
    JoinTokens: {
      Worker: strictFlag(query, 'rotateWorkerToken')
        ? formatJoinToken({ digest, secret: newTokenSecret() })
        : tokens.Worker,
      Manager: strictFlag(query, 'rotateManagerToken')
        ? formatJoinToken({ digest, secret: newTokenSecret() })
        : tokens.Manager,
    },
  };
}
