import { expect, test } from 'vitest';
import { type TestApiOptions, testApi } from '../../../../test/kit/api.ts';
import { aCluster, aNode, aStore } from '../../../../test/kit/index.ts';

// `GET /info`: of the cluster on a manager, of its own engine on each node.

const engine = {
  ...{ ID: 'engine', Driver: 'overlay2', DriverStatus: [['Backing Filesystem', 'extfs']], CgroupVersion: '1' },
  ...{ CgroupDriver: 'systemd', DefaultRuntime: 'runc', DockerRootDir: '/var/lib/docker', NCPU: 64, MemTotal: 1 },
  ...{ Containers: 3, ContainersRunning: 1, ContainersPaused: 1, ContainersStopped: 1, Images: 7, NGoroutines: 90 },
  Warnings: ['WARNING: No swap limit support'],
  Plugins: { Volume: ['nfs'], Network: ['bridge'], Authorization: null, Log: ['gelf'] },
  GenericResources: [{ DiscreteResourceSpec: { Kind: 'gpu', Value: 1 } }],
};
const gpus = (Value: number) => ({ DiscreteResourceSpec: { Kind: 'gpu', Value } });
const card = { NamedResourceSpec: { Kind: 'card', Value: 'a' } };
const nodes = [
  aNode({ id: 'n1', hostname: 'm1', role: 'manager', raftId: 1, cpus: 2, memoryMb: 1024, generic: [gpus(2)] }),
  aNode({ id: 'n2', cpus: 4, memoryMb: 512, generic: [gpus(1), card], plugins: [{ Type: 'Log', Name: 'gelf' }] }),
  aNode({ id: 'n3', cpus: 8, state: 'down' }),
  aNode({ id: 'n4', described: false }),
];

async function info(options: Partial<TestApiOptions> = {}, facts: object | null = engine) {
  const local = {
    engineFacts: async () => (facts ?? undefined) as Record<string, unknown> | undefined,
    ...options.local,
  };
  const store = aStore({ cluster: aCluster(), nodes });
  const api = await testApi({ store, ...options, local });
  return (await api.call('GET', '/v1.50/info')).json;
}

test('a manager tells of its engine as that does, and of all nodes what they offer', async () => {
  expect(await info()).toMatchObject({
    ...{ ID: 'n1', Driver: 'overlay2', CgroupVersion: '1', CgroupDriver: 'systemd', DefaultRuntime: 'runc' },
    ...{ DockerRootDir: '/var/lib/docker', ServerVersion: '0.1.0', NGoroutines: 0 },
    DriverStatus: [
      ['Backing Filesystem', 'extfs'],
      ['Runtime', 'docker'],
      ['Runtime ready', 'true'],
      ['Ingress', 'proxy'],
      ['Data folder', '/d'],
    ],
    ...{ NCPU: 6, MemTotal: 1536 * 2 ** 20 },
    GenericResources: [gpus(3), card],
    Plugins: { Volume: ['local'], Network: expect.arrayContaining(['overlay']), Authorization: null, Log: ['gelf'] },
    Swarm: { NodeID: 'n1', Nodes: 4, Managers: 1 },
    Warnings: ['WARNING: No swap limit support'],
  });
});

test.each(['active', 'inactive'] as const)(
  'a node that is no manager (%s) tells of its own engine alone',
  async (state) => {
    const local = { state: () => state };
    expect(await info({ hasManager: () => false, local })).toMatchObject({
      ...{ Containers: 3, ContainersRunning: 1, ContainersPaused: 1, ContainersStopped: 1, Images: 7, NCPU: 2 },
      ...{ Plugins: engine.Plugins, GenericResources: engine.GenericResources, CgroupVersion: '1' },
      Swarm: { LocalNodeState: state, ControlAvailable: false },
    });
  },
);

test('without an engine that answers, what is known without', async () => {
  const shown = { CgroupVersion: '2', Driver: 'docker', DockerRootDir: '/d', Warnings: null };
  expect(await info({}, null)).toMatchObject(shown);
  expect(await info({ hasManager: () => false }, null)).toMatchObject({ ...shown, Containers: 0, NCPU: 2 });
});
