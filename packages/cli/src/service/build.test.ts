import { describe, expect, test } from 'vitest';
import { buildCreateSpec, buildUpdateSpec } from './build.ts';

const create = (given: Record<string, unknown>) => buildCreateSpec('web:1', [], given, { FROM_HERE: 'x' });

describe('create', () => {
  test.each<[Record<string, unknown>, object]>([
    [
      { name: 'web', replicas: '3' },
      { Name: 'web', Mode: { Replicated: { Replicas: 3 } } },
    ],
    [{ mode: 'global' }, { Mode: { Global: {} } }],
    [
      { publish: ['8080:80', '53:53/udp'] },
      {
        EndpointSpec: {
          Ports: [
            { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' },
            { Protocol: 'udp', TargetPort: 53, PublishedPort: 53, PublishMode: 'ingress' },
          ],
        },
      },
    ],
    [{ publish: ['80'] }, { EndpointSpec: { Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishMode: 'ingress' }] } }],
    [
      { publish: ['mode=host,target=80,published=8080'] },
      { EndpointSpec: { Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' }] } },
    ],
    [
      { env: ['A=1', 'A=2', 'FROM_HERE', 'NOT_HERE'] },
      { TaskTemplate: { ContainerSpec: { Image: 'web:1', Env: ['A=2', 'FROM_HERE=x'] } } },
    ],
    [
      { mount: ['type=bind,source=/a,target=/b,readonly'] },
      {
        TaskTemplate: {
          ContainerSpec: { Image: 'web:1', Mounts: [{ Type: 'bind', Source: '/a', Target: '/b', ReadOnly: true }] },
        },
      },
    ],
    [
      { 'limit-cpu': '0.5', 'limit-memory': '64m', 'reserve-memory': '1g' },
      {
        TaskTemplate: {
          ContainerSpec: { Image: 'web:1' },
          Resources: { Limits: { NanoCPUs: 5e8, MemoryBytes: 67108864 }, Reservations: { MemoryBytes: 1073741824 } },
        },
      },
    ],
    [
      { 'update-order': 'start-first', 'update-delay': '1m30s' },
      { UpdateConfig: { Parallelism: 1, Order: 'start-first', Delay: 9e10 } },
    ],
    [
      { publish: ['10.0.0.5:8080:80', '[FD00:0::5]:53:53/udp'] },
      {
        Labels: { 'swarmctl.ingress.address.8080/tcp': '10.0.0.5', 'swarmctl.ingress.address.53/udp': 'fd00::5' },
        EndpointSpec: {
          Ports: [
            { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' },
            { Protocol: 'udp', TargetPort: 53, PublishedPort: 53, PublishMode: 'ingress' },
          ],
        },
      },
    ],
    [
      { publish: ['10.0.0.5:80-81:80-81', '10.0.0.6:81:81', '10.0.0.5:81:81'] },
      {
        Labels: {
          'swarmctl.ingress.address.80/tcp': '10.0.0.5',
          'swarmctl.ingress.address.81/tcp': '10.0.0.6,10.0.0.5',
        },
        EndpointSpec: { Ports: [{ PublishedPort: 80 }, { PublishedPort: 81 }] },
      },
    ],
    [{ mode: 'global-job' }, { Mode: { GlobalJob: {} } }],
    [{ mode: 'replicated-job' }, { Mode: { ReplicatedJob: {} } }],
    [{ mode: 'replicated-job', replicas: '5' }, { Mode: { ReplicatedJob: { MaxConcurrent: 5, TotalCompletions: 5 } } }],
    [
      { mode: 'replicated-job', replicas: '5', 'max-concurrent': '2' },
      { Mode: { ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 5 } } },
    ],
    [
      { mode: 'replicated-job', 'max-concurrent': '0' },
      { Mode: { ReplicatedJob: { MaxConcurrent: 0, TotalCompletions: 1 } } },
    ],
    [{ 'drain-timeout': '30s' }, { Labels: { 'swarmctl.drain-timeout': '30s' } }],
    [
      { entrypoint: 'sh -c "a b"' },
      { TaskTemplate: { ContainerSpec: { Image: 'web:1', Command: ['sh', '-c', 'a b'] } } },
    ],
  ])('%j', (given, wanted) => {
    expect(create(given)).toMatchObject(wanted);
  });

  test.each<[Record<string, unknown>, RegExp]>([
    [{ replicas: 'x' }, /invalid argument "x" for "--replicas": expected a whole number/],
    [{ mode: 'global', replicas: '2' }, /can only be used with replicated or replicated-job mode/],
    [{ mode: 'global-job', replicas: '2' }, /can only be used with replicated or replicated-job mode/],
    [{ 'max-concurrent': '2' }, /max-concurrent can only be used with replicated-job mode/],
    [{ publish: ['1.2.3:80:80'] }, /'1.2.3' is not an IP address/],
    [{ publish: ['0.0.0.0:80:80'] }, /leave out 0.0.0.0: without an address every one answers/],
    [{ publish: ['10.0.0.5::80'] }, /an address needs a published port: ADDRESS:PUBLISHED:TARGET/],
    [{ publish: ['fd00::5:80:80'] }, /an IPv6 address in brackets/],
    [{ publish: ['[fd00::5]:80'] }, /an IPv6 address in brackets/],
    [{ publish: ['[]:80:80'] }, /'' is not an IP address/],
    [{ publish: ['80:80:80/tcp/x'] }, /expected \[\[ADDRESS:\]PUBLISHED:\]TARGET/],
    [{ publish: [':80:80'] }, /'' is not an IP address/],
    [{ publish: ['8000-8001:80'] }, /2 published ports do not fit 1 target ports/],
    [{ mount: ['type=bind,sorce=/a,target=/b'] }, /unknown field 'sorce'; did you mean 'source'/],
    [{ mount: ['type=tmpfs,target=/b,volume-nocopy=true'] }, /volume options do not fit a mount of type tmpfs/],
    [{ 'limit-memory': 'lots' }, /expected a size such as 512m/],
    [{ 'oom-score-adj': 'low' }, /invalid argument "low" for "--oom-score-adj": expected a whole number/],
    [{ 'update-delay': '5' }, /expected a duration such as 10s/],
    [{ ulimit: ['nofile'] }, /expected NAME=SOFT/],
  ])('%j is refused', (given, message) => {
    expect(() => create(given)).toThrow(message);
  });
});

describe('update', () => {
  const current = {
    Name: 'web',
    Labels: { a: '1' },
    TaskTemplate: { ContainerSpec: { Image: 'web:1', Env: ['A=1', 'B=2'] }, ForceUpdate: 2 },
    Mode: { Replicated: { Replicas: 2 } },
    EndpointSpec: { Ports: [{ Protocol: 'tcp' as const, TargetPort: 80, PublishedPort: 8080 }] },
  };
  const update = (given: Record<string, unknown>) => buildUpdateSpec(current, given, {});

  test('changes what was given and nothing else, and leaves the original alone', () => {
    const before = structuredClone(current);
    const after = update({
      image: 'web:2',
      'env-add': ['A=3'],
      'env-rm': ['B'],
      'publish-rm': ['80'],
      'label-add': ['b=2'],
      force: true,
    });
    expect(after).toEqual({
      ...current,
      Labels: { a: '1', b: '2' },
      TaskTemplate: { ContainerSpec: { Image: 'web:2', Env: ['A=3'] }, ForceUpdate: 3 },
      EndpointSpec: { Ports: [] },
    });
    expect(current).toEqual(before);
  });

  test('the addresses of a port come and go with it', () => {
    const bound = update({ 'publish-rm': ['80'], 'publish-add': ['10.0.0.5:8080:80', '10.0.0.6:443:443'] });
    expect(bound.Labels).toEqual({
      a: '1',
      'swarmctl.ingress.address.8080/tcp': '10.0.0.5',
      'swarmctl.ingress.address.443/tcp': '10.0.0.6',
    });
    const allowed = { ...bound, Labels: { ...bound.Labels, 'swarmctl.ingress.allow.8080/tcp': '10.0.0.0/8' } };
    const after = buildUpdateSpec(allowed, { 'publish-rm': ['80'] }, {});
    expect(after.Labels).toEqual({ a: '1', 'swarmctl.ingress.address.443/tcp': '10.0.0.6' });
    expect(after.EndpointSpec?.Ports?.map((port) => port.PublishedPort)).toEqual([443]);
    expect(() => update({ 'publish-rm': ['10.0.0.5:8080:80'] })).toThrow(/expected TARGET\[\/PROTOCOL\]/);
  });

  test('without flags it is the same spec', () => {
    expect(update({})).toEqual(current);
  });
});
