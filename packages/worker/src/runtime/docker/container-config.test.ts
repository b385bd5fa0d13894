import {
  type ContainerSpec,
  ContainerSpec as ContainerSpecSchema,
  type PortConfig,
  type Schema,
  type TaskSpec,
} from '@swarmctl/shared/model';
import { describe, expect, it } from 'vitest';
import { makeTask } from '../../../../../test/kit/runtime-contract.ts';
import { containerConfig } from './container-config.ts';

const node = { nodeId: 'n1', clusterId: 'c1', hostname: 'host1', addr: '10.0.0.1' };

function translate(container: ContainerSpec, spec: TaskSpec = {}, ports?: PortConfig[], addr = node.addr) {
  const task = makeTask({ node, container: {} }, '', { ...(ports && { ports }) });
  const ContainerSpec = { Image: 'web:1', ...container };
  return containerConfig({ ...task, ID: 'task1', Spec: { ...spec, ContainerSpec } }, { ...node, addr });
}
/** Each field of the schema, with a value that has it alone. */
function fieldsOf(schema: Schema): [path: string, value: object][] {
  return Object.entries(schema['properties'] as Record<string, Schema>).flatMap(([name, property]) =>
    valuesOf(property, name).map(([rest, value]): [string, object] => [[name, ...rest].join('.'), { [name]: value }]),
  );
}

/** What a mode or a mount must say so that the rest counts. */
const sample: Record<string, unknown> = { Mode: 'unconfined', Hosts: ['1.2.3.4 a'], Mounts: [{ Target: '/t' }] };

function valuesOf(schema: Schema, name: string): [path: string[], value: unknown][] {
  if (name === 'AppArmor') return [[['Mode'], { Mode: 'disabled' }]];
  if (name === 'Seccomp')
    return [
      [['Mode'], { Mode: 'unconfined' }],
      [['Profile'], { Mode: 'custom', Profile: 'e30=' }],
    ];
  if (name in sample) return [[[], sample[name]]];
  switch (schema['type']) {
    case 'array':
      return valuesOf(schema['items'], '').map(([path, value]) => [path, [value]]);
    case 'integer':
      return [[[], 7]];
    case 'boolean':
      return [[[], true]];
    case 'object':
      return schema['properties']
        ? fieldsOf(schema).map(([path, value]) => [path.split('.'), value])
        : [[[], { key: 'value' }]];
    default:
      return [[[], 'text']];
  }
}

const host = (...given: Parameters<typeof translate>) => translate(...given).HostConfig;

describe('what a container is made from', () => {
  it('names and labels it; ours go over the user’s', () => {
    const config = translate({ Labels: { mine: '1', 'com.docker.swarm.node.id': 'forged' } });
    expect(config.name).toBe('web.1.task1');
    expect(config.Labels).toEqual({
      mine: '1',
      'com.docker.swarm.node.id': 'n1',
      'com.docker.swarm.service.id': 'service1',
      'com.docker.swarm.service.name': 'web',
      'com.docker.swarm.task': '',
      'com.docker.swarm.task.id': 'task1',
      'com.docker.swarm.task.name': 'web.1.task1',
      'swarmctl.cluster.id': 'c1',
      'swarmctl.task.ports': '[]',
    });
  });

  it('says nothing of what the spec does not say', () => {
    expect(translate({ Command: [], Args: [] })).toEqual({
      name: 'web.1.task1',
      Image: 'web:1',
      Labels: expect.anything(),
      ExposedPorts: {},
      HostConfig: { RestartPolicy: { Name: 'no' }, PortBindings: {} },
    });
  });

  it.each<[string, ContainerSpec, object]>([
    ['a command', { Command: ['a'], Args: ['b'] }, { Entrypoint: ['a'], Cmd: ['b'] }],
    ['arguments alone', { Args: ['b'] }, { Cmd: ['b'] }],
    [
      'the plain fields',
      { Dir: '/d', User: 'u:g', Hostname: 'h', TTY: true, OpenStdin: true, StopSignal: 'SIGINT', Env: ['A=1'] },
      { WorkingDir: '/d', User: 'u:g', Hostname: 'h', Tty: true, OpenStdin: true, StopSignal: 'SIGINT', Env: ['A=1'] },
    ],
    [
      'a healthcheck',
      { Healthcheck: { Test: ['CMD', 'x'], Interval: 5, Retries: 2 } },
      { Healthcheck: { Test: ['CMD', 'x'], Interval: 5, Retries: 2 } },
    ],
  ])('%s', (_, container, wanted) => expect(translate(container)).toMatchObject(wanted));

  it.each<[string, ContainerSpec, object]>([
    [
      'groups, init, read only',
      { Groups: ['a'], Init: true, ReadOnly: true },
      { GroupAdd: ['a'], Init: true, ReadonlyRootfs: true },
    ],
    [
      'names',
      { Hosts: ['1.2.3.4 a b', '::1 c'], DNSConfig: { Nameservers: ['9.9.9.9'], Search: ['s'], Options: ['o'] } },
      { ExtraHosts: ['a:1.2.3.4', 'b:1.2.3.4', 'c:::1'], Dns: ['9.9.9.9'], DnsSearch: ['s'], DnsOptions: ['o'] },
    ],
    [
      'kernel settings',
      {
        Sysctls: { 'net.core.somaxconn': '9' },
        CapabilityAdd: ['NET_ADMIN'],
        CapabilityDrop: ['ALL'],
        Ulimits: [{ Name: 'nofile', Soft: 1, Hard: 2 }],
        OomScoreAdj: 5,
      },
      {
        Sysctls: { 'net.core.somaxconn': '9' },
        CapAdd: ['NET_ADMIN'],
        CapDrop: ['ALL'],
        Ulimits: [{ Name: 'nofile', Soft: 1, Hard: 2 }],
        OomScoreAdj: 5,
      },
    ],
    [
      'privileges',
      {
        Privileges: {
          NoNewPrivileges: true,
          SELinuxContext: { Disable: true, Level: 's0' },
          Seccomp: { Mode: 'custom', Profile: Buffer.from('{"x":1}').toString('base64') },
          AppArmor: { Mode: 'disabled' },
        },
      },
      {
        SecurityOpt: [
          'no-new-privileges=true',
          'label=disable',
          'label=level:s0',
          'seccomp={"x":1}',
          'apparmor=unconfined',
        ],
      },
    ],
    [
      'mounts',
      {
        Mounts: [
          { Type: 'bind', Source: '/a', Target: '/b', ReadOnly: true, BindOptions: { Propagation: 'rshared' } },
          { Source: 'v', Target: '/c', VolumeOptions: { NoCopy: true, DriverConfig: { Name: 'local' } } },
          { Type: 'tmpfs', Target: '/d', TmpfsOptions: { SizeBytes: 9, Mode: 0o700 } },
        ],
      },
      {
        Mounts: [
          { Type: 'bind', Source: '/a', Target: '/b', ReadOnly: true, BindOptions: { Propagation: 'rshared' } },
          {
            Type: 'volume',
            Source: 'v',
            Target: '/c',
            VolumeOptions: { NoCopy: true, DriverConfig: { Name: 'local' } },
          },
          { Type: 'tmpfs', Target: '/d', TmpfsOptions: { SizeBytes: 9, Mode: 0o700 } },
        ],
      },
    ],
  ])('%s', (_, container, wanted) => expect(host(container)).toMatchObject(wanted));

  it('limits and reservations', () => {
    const Limits = { NanoCPUs: 5e8, MemoryBytes: 64e6, Pids: 10 };
    const Resources = { Limits, Reservations: { MemoryBytes: 32e6 }, SwapBytes: 16e6, MemorySwappiness: 10 };
    const LogDriver = { Name: 'local', Options: { 'max-size': '1m' } };
    expect(host({}, { Resources, LogDriver })).toMatchObject({
      NanoCpus: 5e8,
      Memory: 64e6,
      PidsLimit: 10,
      MemoryReservation: 32e6,
      MemorySwap: 80e6,
      MemorySwappiness: 10,
      LogConfig: { Type: 'local', Config: { 'max-size': '1m' } },
    });
    expect(host({}, { Resources: { SwapBytes: -1 } })).toMatchObject({ MemorySwap: -1 });
  });

  it('the generic resources that a task got are in its environment', () => {
    const AssignedGenericResources = [
      ...['a', 'b'].map((Value) => ({ NamedResourceSpec: { Kind: 'gpu', Value } })),
      { DiscreteResourceSpec: { Kind: 'SSD', Value: 3 } },
    ];
    const task = { ...makeTask({ node, container: { Image: 'web:1', Env: ['A=1'] } }, ''), AssignedGenericResources };
    expect(containerConfig(task, node).Env).toEqual(
      expect.arrayContaining(['A=1', 'DOCKER_RESOURCE_GPU=a,b', 'DOCKER_RESOURCE_SSD=3']),
    );
  });

  it('labels reach beyond it', () => {
    const task = makeTask({ node, container: {} }, '', {});
    const labels = (values: Record<string, string>) =>
      Object.fromEntries(Object.entries(values).map(([name, value]) => [`swarmctl.container.${name}`, value]));
    const Labels = labels({
      ...{ privileged: 'true', devices: '/dev/kvm:/dev/x:rw', gpus: 'all', 'shm-size': '1m', ipc: 'host', pid: 'host' },
      ...{ 'security-opt': 'label=disable,systempaths=unconfined', cgroupns: 'host', userns: 'host', runtime: 'runsc' },
    });
    const Spec = { ContainerSpec: { Image: 'web:1', Privileges: { NoNewPrivileges: true } } };
    const config = containerConfig({ ...task, Spec, ServiceAnnotations: { Name: 'web', Labels } }, node);
    expect(config.HostConfig).toMatchObject({
      Privileged: true,
      Devices: [{ PathOnHost: '/dev/kvm', PathInContainer: '/dev/x', CgroupPermissions: 'rw' }],
      DeviceRequests: [{ Count: -1, Capabilities: [['gpu']] }],
      ShmSize: 1_048_576,
      IpcMode: 'host',
      PidMode: 'host',
      CgroupnsMode: 'host',
      UsernsMode: 'host',
      Runtime: 'runsc',
      SecurityOpt: ['no-new-privileges=true', 'label=disable'],
      MaskedPaths: [],
      ReadonlyPaths: [],
    });
  });

  it('the log driver is the spec’s, or else the cluster’s', () => {
    const task = { ...makeTask({ node, container: { Image: 'web:1' } }, ''), LogDriver: { Name: 'syslog' } };
    expect(containerConfig(task, node).HostConfig?.LogConfig).toEqual({ Type: 'syslog', Config: {} });
    const own = { ...task, Spec: { ...task.Spec, LogDriver: { Name: 'local' } } };
    expect(containerConfig(own, node).HostConfig?.LogConfig).toEqual({ Type: 'local', Config: {} });
  });

  it('nothing that a spec may say of a container is passed over', () => {
    // By others: files of their own, the stop, the image's pull.
    const elsewhere = ['Secrets', 'Configs', 'StopGracePeriod', 'Isolation', 'Privileges.CredentialSpec'];
    const plain = JSON.stringify(translate({}));
    const passedOver = fieldsOf(ContainerSpecSchema).filter(
      ([path, value]) =>
        !elsewhere.some((one) => path.startsWith(one)) && JSON.stringify(translate(value as ContainerSpec)) === plain,
    );
    expect(passedOver.map(([path]) => path)).toEqual([]);
  });

  it('ports: ingress at a port of the engine’s choice, host mode as published', () => {
    const ports: PortConfig[] = [
      { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' },
      { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8081, PublishMode: 'ingress' },
      { Protocol: 'udp', TargetPort: 53, PublishedPort: 53, PublishMode: 'host' },
    ];
    const config = translate({}, {}, ports);
    expect(config.ExposedPorts).toEqual({ '80/tcp': {}, '53/udp': {} });
    expect(config.HostConfig?.PortBindings).toEqual({
      '80/tcp': [{ HostIp: '10.0.0.1', HostPort: '' }],
      '53/udp': [{ HostIp: '', HostPort: '53' }],
    });
    expect(host({}, {}, ports, '127.0.0.2')?.PortBindings).toMatchObject({
      '53/udp': [{ HostIp: '127.0.0.2', HostPort: '53' }],
    });
  });

  it('networks: on the first one, with the resolvers of all', () => {
    const task = makeTask({ node, container: {} }, '', {});
    const spec = { Image: 'web:1', DNSConfig: { Nameservers: ['9.9.9.9'], Search: ['example.com'] } };
    const endpoint = { IPAMConfig: { IPv4Address: '10.0.1.5' }, MacAddress: '02:42:0a:00:01:05' };
    const endpoints = {
      networks: { a: endpoint, b: { IPAMConfig: { IPv4Address: '10.0.2.5' } } },
      dns: ['10.0.1.1', '10.0.2.1'],
    };
    const config = containerConfig({ ...task, Spec: { ContainerSpec: spec } }, node, endpoints);
    expect(config.NetworkingConfig).toEqual({ EndpointsConfig: { a: endpoint } });
    expect(config.HostConfig).toMatchObject({
      NetworkMode: 'a',
      // The resolver passes other names on to the nameservers of the task.
      Dns: ['10.0.1.1', '10.0.2.1'],
      DnsSearch: ['example.com'],
    });
    const none = containerConfig({ ...task, Spec: { ContainerSpec: spec } }, node, { networks: {}, dns: [] });
    expect(none).toMatchObject({ HostConfig: { Dns: ['9.9.9.9'] } });
    expect(none).not.toHaveProperty('NetworkingConfig');
  });

  it.each<[ContainerSpec, string]>([
    [{ Image: '' }, 'Image is empty'],
    [{ Privileges: { CredentialSpec: { File: 'x' } } }, 'Windows only'],
    [{ Privileges: { Seccomp: { Mode: 'odd' } } }, 'Seccomp.Mode'],
    [{ Privileges: { AppArmor: { Mode: 'odd' } } }, 'AppArmor.Mode'],
  ])('%j is refused', (container, problem) => expect(() => translate(container)).toThrow(problem));
});
