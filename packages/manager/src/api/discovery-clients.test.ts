import { beforeEach, expect, test } from 'vitest';
import { type TestApi, testApi } from '../../../../test/kit/api.ts';
import { aCluster, aNetwork, aNode, aService, aStore, aTask } from '../../../../test/kit/index.ts';

// What programs that watch a cluster ask for, and the members of the answers that they go by: call by call, as their sources say.

let api: TestApi;

const containerId = 'c'.repeat(64);

beforeEach(async () => {
  const network = aNetwork({ id: 'net1', name: 'front', subnets: ['10.0.1.0/24'], spec: { Labels: { net: 'l' } } });
  const service = aService({
    ...{ id: 's1', name: 'web', labels: { 'traefik.enable': 'true' }, networks: ['net1'], replicas: 2 },
    container: { Labels: { tier: 'a' } },
    ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' }],
    set: {
      Endpoint: {
        Spec: { Mode: 'vip' },
        Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' }],
        VirtualIPs: [{ NetworkID: 'net1', Addr: '10.0.1.2/24' }],
      },
    },
  });
  const NetworksAttachments = [{ Network: { ID: 'net1' }, Addresses: ['10.0.1.3/24'] }];
  const status = { ContainerStatus: { ContainerID: containerId, PID: 7, ExitCode: 0 } };
  const task = { service, node: 'n1' };
  const store = aStore({
    cluster: aCluster(),
    nodes: [aNode({ id: 'n1', hostname: 'one' })],
    networks: [network],
    services: [service],
    tasks: [
      aTask({ ...task, id: 't1', slot: 1, status, set: { NetworksAttachments } }),
      aTask({ ...task, id: 't2', slot: 2, state: 'shutdown', desired: 'shutdown' }),
    ],
  });
  api = await testApi({ store });
});

const filters = (of: object) => `filters=${encodeURIComponent(JSON.stringify(of))}`;
const running = filters({ service: { s1: true }, 'desired-state': { running: true } });

const shown = {
  network: { Id: 'net1', Name: 'front', Scope: 'swarm', Driver: 'overlay', Ingress: false, Internal: false },
  service: {
    ID: 's1',
    Spec: {
      ...{ Name: 'web', Labels: { 'traefik.enable': 'true' }, Mode: { Replicated: { Replicas: 2 } } },
      EndpointSpec: { Mode: 'vip' },
      TaskTemplate: { ContainerSpec: { Image: 'web:1' } },
    },
    Endpoint: {
      Ports: [{ Protocol: 'tcp', PublishedPort: 8080, PublishMode: 'ingress' }],
      VirtualIPs: [{ NetworkID: 'net1', Addr: '10.0.1.2/24' }],
    },
  },
  task: {
    ...{ ID: 't1', Slot: 1, NodeID: 'n1', ServiceID: 's1', DesiredState: 'running' },
    Spec: { ContainerSpec: { Labels: { tier: 'a' } } },
    Status: { State: 'running', ContainerStatus: { ContainerID: containerId }, PortStatus: {} },
    NetworksAttachments: [{ Network: { ID: 'net1', Spec: { Name: 'front' } }, Addresses: ['10.0.1.3/24'] }],
  },
  node: {
    ID: 'n1',
    Spec: { Role: 'worker', Availability: 'active' },
    Description: { Hostname: 'one', Platform: { OS: 'linux' }, Engine: { EngineVersion: '28.0.0' } },
    Status: { State: 'ready', Addr: expect.any(String) },
  },
};

test.each<[client: string, path: string, goesBy: unknown]>([
  ['Traefik', '/v1.24/version', { ApiVersion: '1.50' }],
  ['Traefik', '/v1.50/services', [shown.service]],
  [
    'Traefik',
    `/v1.50/networks?${filters({ scope: { swarm: true } })}`,
    [shown.network, { Name: 'ingress', Ingress: true }],
  ],
  ['Traefik', `/v1.50/tasks?${running}`, [shown.task]],
  ['Traefik', '/v1.50/nodes/n1', shown.node],
  ['Prometheus, services', '/v1.50/services', [shown.service]],
  ['Prometheus, tasks', '/v1.50/tasks', [shown.task, { ID: 't2', Status: { State: 'shutdown', PortStatus: {} } }]],
  ['Prometheus, nodes', '/v1.50/nodes', [shown.node]],
  [
    'Prometheus, networks',
    '/v1.50/networks',
    expect.arrayContaining([expect.objectContaining({ Labels: { net: 'l' } })]),
  ],
  ['Portainer', '/services?status=true', [{ ID: 's1', ServiceStatus: { RunningTasks: 1, DesiredTasks: 2 } }]],
  ['Portainer', '/tasks', [shown.task, { ID: 't2' }]],
  ['Portainer', '/configs', []],
  ['Portainer', '/secrets', []],
  ['Portainer', '/plugins', []],
])('%s: %s', async (_, path, goesBy) => {
  const { status, json } = await api.call('GET', path);
  expect(status).toBe(200);
  if (Array.isArray(goesBy)) expect(json).toHaveLength(goesBy.length);
  expect(json).toMatchObject(goesBy as object);
});

test('an updater (Shepherd, Diun): the service as it is, with another image, at its version', async () => {
  const { json: before } = await api.call('GET', '/services/web?insertDefaults=false');
  const { TaskTemplate } = before.Spec;
  const Image = `web:1@sha256:${'a'.repeat(64)}`;
  const spec = {
    ...before.Spec,
    TaskTemplate: { ...TaskTemplate, ContainerSpec: { ...TaskTemplate.ContainerSpec, Image }, ForceUpdate: 1 },
  };
  const update = () => api.call('POST', `/services/${before.ID}/update?version=${before.Version.Index}`, spec);
  expect(await update()).toMatchObject({ status: 200, json: { Warnings: null } });
  const { json: after } = await api.call('GET', '/services/web');
  expect(after.Spec).toMatchObject(spec);
  expect(after.PreviousSpec.TaskTemplate.ContainerSpec.Image).toBe('web:1');
  expect((await update()).json.message).toContain('update out of sequence');
});
