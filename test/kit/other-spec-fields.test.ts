import { createRootCa } from '@swarmctl/shared/kit';
import {
  ClusterSpec,
  NetworkCreateRequest,
  type NetworkCreateRequest as NetworkRequest,
  NodeSpec,
  PayloadSpec,
} from '@swarmctl/shared/model';
import { beforeEach, expect, test } from 'vitest';
import { type TestApi, testApi } from './api.ts';
import { aCluster, aNode, aStore } from './index.ts';
import { leavesOf, pathsOf } from './spec-paths.ts';

// No field of a network, a node, a secret, a config or the cluster is passed over: each is given back as it was asked for, or refused.

const { certificate: Certificate } = await createRootCa(1_700_000_000_000);
let api: TestApi;

beforeEach(async () => {
  const cluster = { ...aCluster(), RootCA: { ...aCluster().RootCA, Certificate } };
  api = await testApi({
    store: aStore({ cluster, nodes: [aNode({ id: 'n1', role: 'manager', raftId: 1 }), aNode({ id: 'n2' })] }),
  });
});

interface Kind {
  readonly schema: Parameters<typeof leavesOf>[0];
  readonly write: (spec: object) => Promise<{ readonly status: number; readonly json: { readonly message?: string } }>;
  readonly read: () => Promise<unknown>;
  /** What is shown of it is the same unless it is said. */
  readonly kept: readonly (readonly [spec: object, shown?: object])[];
  /** With a word of the refusal. */
  readonly refused: readonly (readonly [word: string, spec: object])[];
  /** Without a meaning of their own: Docker passes them over as well. */
  readonly idle?: readonly string[];
}

const get = async (url: string) => (await api.call('GET', url)).json;
const version = async (url: string) => (await get(url)).Version.Index;
const overlay = (more: NetworkRequest): NetworkRequest => ({ Name: 'made', Driver: 'overlay', ...more });

const payload = (kind: 'secrets' | 'configs'): Kind => ({
  schema: PayloadSpec,
  write: (spec) => api.call('POST', `/${kind}/create`, { Data: 'YQ==', ...spec, Name: 'made' }),
  read: async () => (await get(`/${kind}/made`)).Spec,
  kept: [
    [{ Name: 'made', Labels: { a: 'b' } }],
    [{ Templating: { Name: 'golang' } }],
    kind === 'configs' ? [{ Data: 'YWI=' }] : [{ Data: 'YWI=' }, { Name: 'made' }],
  ],
  refused: [
    ...(kind === 'secrets' ? ([['drivers', { Driver: { Name: 'vault', Options: { a: 'b' } } }]] as const) : []),
    ['option', { Templating: { Name: 'golang', Options: { a: 'b' } } }],
    ['template driver', { Templating: { Name: 'jinja' } }],
  ],
  // Docker passes over a config's driver.
  idle: kind === 'configs' ? ['Driver.Name', 'Driver.Options'] : [],
});

const kinds: Readonly<Record<string, Kind>> = {
  network: {
    schema: NetworkCreateRequest,
    write: (spec) => api.call('POST', '/v1.50/networks/create', spec),
    read: () => get('/v1.50/networks/made'),
    kept: [
      [overlay({ Scope: 'swarm', Internal: true, Attachable: true, EnableIPv6: true, Labels: { a: 'b' } })],
      [overlay({ Options: { encrypted: 'true' } })],
      [overlay({ EnableIPv4: true, ConfigOnly: false })],
      [
        { ...overlay({ Driver: 'macvlan', Scope: 'swarm' }), ConfigFrom: { Network: 'lan' } },
        { ConfigFrom: { Network: 'lan' } },
      ],
      [
        {
          ...overlay({ Driver: 'bridge', Scope: 'swarm' }),
          IPAM: {
            Driver: 'default',
            Config: [
              {
                ...{ Subnet: '10.9.0.0/24', IPRange: '10.9.0.128/25', Gateway: '10.9.0.1' },
                AuxiliaryAddresses: { a: '10.9.0.9' },
              },
            ],
          },
        },
      ],
    ],
    refused: [
      ['without IPv4', overlay({ EnableIPv4: false })],
      ['config-only', overlay({ ConfigOnly: true })],
      ['IPAM driver', overlay({ IPAM: { Driver: 'dhcp' } })],
      ['IPAM options', overlay({ IPAM: { Options: { a: 'b' } } })],
      ['unknown option', overlay({ Options: { fancy: '1' } })],
    ],
    // The ingress network has tests of its own.
    idle: ['CheckDuplicate', 'Ingress'],
  },
  node: {
    schema: NodeSpec,
    write: async (spec) => api.call('POST', `/nodes/n2/update?version=${await version('/nodes/n2')}`, spec),
    read: async () => (await get('/nodes/n2')).Spec,
    kept: [[{ Name: 'one', Labels: { a: 'b' }, Role: 'worker', Availability: 'pause' }]],
    refused: [
      ['Role', { Role: 'boss', Availability: 'active' }],
      ['Availability', { Role: 'worker', Availability: 'off' }],
    ],
  },
  secret: payload('secrets'),
  config: payload('configs'),
  cluster: {
    schema: ClusterSpec,
    write: async (spec) => api.call('POST', `/swarm/update?version=${await version('/swarm')}`, spec),
    read: async () => (await get('/swarm')).Spec,
    kept: [
      [{ Name: 'default', Labels: { a: 'b' }, Orchestration: { TaskHistoryRetentionLimit: 0 } }],
      [{ Raft: { SnapshotInterval: 5_000, LogEntriesForSlowFollowers: 100 } }],
      [{ Dispatcher: { HeartbeatPeriod: 2e9 } }],
      [{ CAConfig: { NodeCertExpiry: 7_200e9 } }],
      [{ TaskDefaults: { LogDriver: { Name: 'local', Options: { 'max-size': '1m' } } } }],
      [{ EncryptionConfig: { AutoLockManagers: true } }],
    ],
    refused: [
      ['default', { Name: 'other' }],
      ['KeepOldSnapshots', { Raft: { KeepOldSnapshots: 3 } }],
      ['ElectionTick', { Raft: { ElectionTick: 99 } }],
      ['HeartbeatTick', { Raft: { HeartbeatTick: 99 } }],
      ['external CAs', { CAConfig: { ExternalCAs: [{ Protocol: 'cfssl', URL: 'https://ca' }] } }],
    ],
    // How the root is rotated has tests of its own.
    idle: ['CAConfig.SigningCACert', 'CAConfig.SigningCAKey', 'CAConfig.ForceRotate'],
  },
};

const each = <T>(of: (kind: Kind) => readonly T[]) =>
  Object.entries(kinds).flatMap(([name, kind]) => of(kind).map((row) => ({ name, kind, row })));

test.each(each(({ kept }) => kept))('$name is given back: $row', async ({ kind, row: [spec, shown = spec] }) => {
  const { status, json } = await kind.write(spec);
  expect([[200, 201].includes(status), json]).toEqual([true, json]);
  expect(await kind.read()).toMatchObject(shown);
});

test.each(each(({ refused }) => refused))('$name is refused: $row', async ({ kind, row: [word, spec] }) => {
  const { status, json } = await kind.write(spec);
  expect([400, 501]).toContain(status);
  expect(json.message).toContain(word);
});

test.each(Object.entries(kinds))(
  'each field of a %s is in one of these tables',
  (_, { schema, kept, refused, idle = [] }) => {
    const told = new Set([
      ...kept.flatMap(([spec]) => pathsOf(spec)),
      ...refused.flatMap(([, spec]) => pathsOf(spec)),
      ...idle,
    ]);
    expect(leavesOf(schema).filter((path) => !told.has(path))).toEqual([]);
  },
);
