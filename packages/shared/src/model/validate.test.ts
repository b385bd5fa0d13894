import { describe, expect, test } from 'vitest';
import { isClusterError } from '../kit/index.ts';
import { checkNetworkDrivers } from './service-networks.ts';
import type { PortConfig, ServiceSpec } from './specs.ts';
import { checkPortLabels, completeServiceSpec } from './validate.ts';

const spec = (more: ServiceSpec = {}, container: object = {}, template: object = {}): ServiceSpec => ({
  Name: 'web',
  ...more,
  TaskTemplate: { ...template, ContainerSpec: { Image: 'web:1', ...container } },
});

const refusal = (given: ServiceSpec) => {
  try {
    completeServiceSpec(given);
  } catch (error) {
    if (isClusterError(error)) return `${error.code}: ${error.message}`;
    throw error;
  }
  return 'accepted';
};

describe('completeServiceSpec', () => {
  test('stores the defaults that Swarm stores', () => {
    expect(completeServiceSpec(spec())).toEqual({
      Name: 'web',
      Labels: {},
      TaskTemplate: { ContainerSpec: { Image: 'web:1', Isolation: 'default' }, ForceUpdate: 0, Runtime: 'container' },
      Mode: { Replicated: { Replicas: 1 } },
    });
  });

  test('completes ports', () => {
    expect(completeServiceSpec(spec({ EndpointSpec: { Ports: [{ TargetPort: 80 }] } })).EndpointSpec).toEqual({
      Mode: 'vip',
      Ports: [{ TargetPort: 80, Protocol: 'tcp', PublishMode: 'ingress' }],
    });
  });

  const published = (given: Partial<ServiceSpec>) => spec({ ...given, EndpointSpec: { Ports: [{ TargetPort: 80 }] } });
  const wrong = 'invalid-argument: rpc error: code = InvalidArgument desc = ';
  test.each([
    [spec({ Name: 'x y' }), `${wrong}name must be valid as a DNS name component`],
    [{ Name: 'a' }, 'invalid-argument: mismatched Runtime and *Spec fields'],
    [{ Name: 'x y' }, 'invalid-argument: mismatched Runtime and *Spec fields'],
    [spec({}, {}, { Runtime: 'plugin' }), 'invalid-argument: mismatched Runtime and *Spec fields'],
    [spec({}, {}, { Runtime: 'attachment' }), 'invalid-argument: unsupported runtime'],
    [
      { Name: 'a', TaskTemplate: { Runtime: 'plugin', PluginSpec: {} } },
      'unimplemented: TaskTemplate.PluginSpec: plugin tasks are not supported yet',
    ],
    [spec({ Name: 'a.b' }), `${wrong}name must be valid as a DNS name component`],
    [
      spec({}, { Image: `${'a'.repeat(256)}:1` }),
      `${wrong}ContainerSpec: "${'a'.repeat(256)}:1" is not a valid repository/tag`,
    ],
    [spec({}, { Image: `${'a'.repeat(255)}:1@sha256:${'b'.repeat(64)}` }), 'accepted'],
    [
      spec({}, {}, { Resources: { Limits: { NanoCPUs: 1 } } }),
      `${wrong}invalid cpu value 1e-09: Must be at least 0.001`,
    ],
    [spec({}, { Image: '' }), `${wrong}ContainerSpec: image reference must be provided`],
    [spec({}, { Image: 'BAD::x' }), `${wrong}ContainerSpec: "BAD::x" is not a valid repository/tag`],
    [
      spec({}, {}, { Resources: { Limits: { MemoryBytes: 1 } } }),
      `${wrong}invalid memory value 1: Must be at least 4MiB`,
    ],
    [spec({ Mode: { Global: {}, Replicated: {} } }), 'invalid-argument: must specify only one service mode'],
    [
      spec({}, {}, { Placement: { Constraints: ['garbage'] } }),
      'unknown: rpc error: code = Unknown desc = constraint expected one operator from ==, !=',
    ],
    [spec({}, {}, { Placement: { Constraints: ['node.bogus==1'] } }), 'accepted'],
    [
      spec({ EndpointSpec: { Mode: 'dnsrr', Ports: [{ TargetPort: 80 }] } }),
      `${wrong}EndpointSpec: port published with ingress mode can't be used with dnsrr mode`,
    ],
    [
      spec({
        EndpointSpec: {
          Ports: [
            { TargetPort: 80, PublishedPort: 8080 },
            { TargetPort: 81, PublishedPort: 8080 },
          ],
        },
      }),
      `${wrong}EndpointSpec: duplicate published ports provided`,
    ],
    [
      spec({
        EndpointSpec: {
          Ports: [
            { TargetPort: 80, PublishedPort: 8080 },
            { TargetPort: 81, PublishedPort: 8080, PublishMode: 'host' },
          ],
        },
      }),
      `${wrong}EndpointSpec: duplicate published ports provided`,
    ],
    [spec({}, { Secrets: [{}] }), `${wrong}malformed secret reference`],
    [spec({}, { Configs: [{}] }), 'invalid-argument: invalid Config: either File or Runtime should be set'],
    [
      spec({}, { Configs: [{ File: {}, Runtime: {} }] }),
      'invalid-argument: invalid Config: cannot specify both File and Runtime',
    ],
    [spec({}, { Configs: [{ File: {} }] }), `${wrong}malformed config reference`],
    [spec({}, {}, { Networks: [{ Target: 'n' }] }), 'accepted'],
    [spec({ Networks: [{ Target: 'n' }] }), 'accepted'],
    [spec({ Mode: { GlobalJob: {} } }), 'accepted'],
    [spec({ Mode: { ReplicatedJob: {} } }), 'accepted'],
    [
      spec({ Mode: { ReplicatedJob: {} }, UpdateConfig: {} }),
      `${wrong}Jobs may not have an update config: each change of its spec starts it anew; leave it out`,
    ],
    [
      spec({ Mode: { GlobalJob: {} }, RollbackConfig: {} }),
      `${wrong}Jobs may not have a rollback config: each change of its spec starts it anew; leave it out`,
    ],
    [
      spec({}, { Privileges: { CredentialSpec: { File: 'f' } } }),
      `${wrong}ContainerSpec: Privileges.CredentialSpec is for Windows only`,
    ],
    [spec({ EndpointSpec: { Ports: [{ TargetPort: 80, Protocol: 'sctp' }] } }), 'accepted'],
    [spec({ EndpointSpec: { Ports: [{ TargetPort: 80, Protocol: 'sctp', PublishMode: 'host' }] } }), 'accepted'],
    [
      published({ Labels: { 'swarmctl.ingress.address': '10.0.0.5', 'swarmctl.ingress.allow': '10.0.0.0/8' } }),
      'accepted',
    ],
    [published({ Labels: { 'swarmctl.ingress.client-address': 'masquerade' } }), 'accepted'],
    [published({ Labels: { 'swarmctl.ingress.client-address': 'keep' } }), 'accepted'],
    [published({ Labels: { 'swarmctl.ingress.client-address': 'proxy-v1' } }), 'accepted'],
    [published({ Labels: { 'swarmctl.ingress.balance': 'least-connections' } }), 'accepted'],
    [spec({ Labels: { 'swarmctl.publish-not-ready': 'true' } }), 'accepted'],
    [spec({ Labels: { 'swarmctl.stable-address': 'true' } }), 'accepted'],
    [
      spec({ Labels: { 'swarmctl.stable-address': 'false', 'swarmctl.publish-not-ready': 'false', constructor: 'x' } }),
      'accepted',
    ],
    [
      spec({ Labels: { 'swarmctl.ingress.allow': '10.0.0.1/8' } }),
      "invalid-argument: label 'swarmctl.ingress.allow': '10.0.0.1/8' is not a list of ranges: 10.0.0.1/8 lies in 10.0.0.0/8; write that, or the address alone",
    ],
    [
      spec({ Labels: { 'swarmctl.drain-timeot': '3s' } }),
      "invalid-argument: unknown label 'swarmctl.drain-timeot': the prefix swarmctl. is reserved; did you mean 'swarmctl.drain-timeout'?",
    ],
    [spec({}, { Isolation: 'hyperv' }), `${wrong}ContainerSpec: Isolation 'hyperv' is for Windows only`],
    [spec({}, {}, { PluginSpec: {} }), 'unimplemented: TaskTemplate.PluginSpec: plugin tasks are not supported yet'],
    [
      spec({}, {}, { NetworkAttachmentSpec: { ContainerID: 'c' } }),
      'unimplemented: TaskTemplate.NetworkAttachmentSpec: network attachment tasks are not supported yet',
    ],
    [
      spec({}, { Mounts: [{ Type: 'bind', Source: '/a', Target: '/b', TmpfsOptions: { SizeBytes: 1 } }] }),
      `${wrong}ContainerSpec: mount of /b: TmpfsOptions is for type tmpfs, not bind`,
    ],
    [
      spec({}, { Mounts: [{ Type: 'bind', Source: '/a', Target: '/b', BindOptions: { Propagation: 'odd' } }] }),
      'invalid-argument: invalid MountPropagation: "odd": for the mount of /b it must be one of private, rprivate, shared, rshared, slave, rslave',
    ],
    [
      spec({ Labels: { 'swarmctl.drain-timeout': 'soon' } }),
      "invalid-argument: label 'swarmctl.drain-timeout': 'soon' is not a duration such as 30s or 1m30s",
    ],
    [
      spec({ Labels: { 'swarmctl.runtime': 'process' } }, { Args: ['x'], Mounts: [{ Type: 'tmpfs', Target: '/t' }] }),
      `${wrong}the process runtime does not support ContainerSpec.Mounts`,
    ],
  ])('%#', (given, message) => {
    expect(refusal(given)).toBe(message);
  });
});

describe('checkPortLabels', () => {
  const tcp: PortConfig = { TargetPort: 80, PublishedPort: 8080, Protocol: 'tcp', PublishMode: 'ingress' };
  const udp: PortConfig = { TargetPort: 53, PublishedPort: 53, Protocol: 'udp', PublishMode: 'ingress' };
  const host: PortConfig = { TargetPort: 81, PublishedPort: 81, Protocol: 'tcp', PublishMode: 'host' };
  const allow = (port: string) => ({ [`swarmctl.ingress.allow.${port}`]: '10.0.0.0/8' });
  const client = (value: string, port = '') => ({ [`swarmctl.ingress.client-address${port}`]: value });
  const sctp: PortConfig = { ...tcp, Protocol: 'sctp' };
  const balance = { 'swarmctl.ingress.balance': 'least-connections' };
  const health = { 'swarmctl.ingress.health-interval': '5s' };
  const route = { 'swarmctl.http.route': 'a.example.com' };

  test.each<[Record<string, string>, PortConfig[]]>([
    [allow('8080/tcp'), [tcp, host]],
    [client('proxy-v2'), [tcp]],
    [client('proxy-v2', '.8080/tcp'), [tcp, udp]],
    [client('masquerade'), [tcp, udp]],
    [{ ...balance, ...client('proxy-v1'), ...health, 'swarmctl.ingress.health-retries': '2' }, [tcp]],
    [{ ...balance, 'swarmctl.ingress.idle-timeout': '1m', ...client('masquerade') }, [tcp, udp]],
    [{ 'swarmctl.ingress.balance.8080/tcp': 'least-connections', ...client('keep', '.53/udp') }, [tcp, udp, sctp]],
    [{ 'swarmctl.ingress.balance': 'round-robin', ...client('keep') }, [tcp, sctp]],
    [{ ...route, 'swarmctl.http.tls': 'a.crt,a.key', 'swarmctl.http.protocol': 'h2', ...client('keep') }, [tcp]],
    [{ 'swarmctl.http.route.8080/tcp': '*', 'swarmctl.http.sticky': 'cookie' }, [tcp, udp]],
  ])('%j fits %j', (labels, ports) => {
    expect(() => checkPortLabels(labels, ports)).not.toThrow();
  });

  test.each<[Record<string, string>, PortConfig[], string | RegExp]>([
    [
      { 'swarmctl.ingress.allow': '10.0.0.0/8' },
      [],
      "label 'swarmctl.ingress.allow': the service publishes no port in ingress mode",
    ],
    [client('proxy-v2'), [host], 'the service publishes no port in ingress mode'],
    [
      { ...route, 'swarmctl.http.sticky': 'cookie' },
      [host],
      "label 'swarmctl.http.route': the service publishes no port in ingress mode",
    ],
    [
      { 'swarmctl.http.sticky': 'cookie' },
      [tcp],
      "label 'swarmctl.http.sticky': the port has no swarmctl.http.route; give that as well",
    ],
    [
      route,
      [tcp, udp],
      "label 'swarmctl.http.route': it is for tcp ports, and the service publishes udp port 53; give it to tcp ports one by one, as swarmctl.http.route.PUBLISHED/tcp",
    ],
    [
      { ...route, ...client('proxy-v2') },
      [tcp],
      "label 'swarmctl.ingress.client-address': it cannot be had on tcp port 8080, which swarmctl.http.route makes one of HTTP; X-Forwarded-For names the client there",
    ],
    [{ ...route, ...balance }, [tcp], /swarmctl.ingress.balance': it cannot be had on tcp port 8080.*one of HTTP$/],
    [
      allow('8081/tcp'),
      [tcp, udp],
      "label 'swarmctl.ingress.allow.8081/tcp': the service publishes no port 8081/tcp in ingress mode; it publishes 8080/tcp, 53/udp",
    ],
    [allow('8080/udp'), [tcp], 'publishes no port 8080/udp in ingress mode; it publishes 8080/tcp'],
    [allow('81/tcp'), [host], 'publishes no port 81/tcp in ingress mode; it publishes none by number'],
    [
      allow('80/tcp'),
      [{ TargetPort: 80, Protocol: 'tcp', PublishMode: 'ingress' }],
      'in ingress mode; it publishes none by number',
    ],
    [
      client('proxy-v1'),
      [tcp, udp],
      "label 'swarmctl.ingress.client-address': 'proxy-v1' is for tcp ports, and the service publishes udp port 53; give it to tcp ports one by one, as swarmctl.ingress.client-address.PUBLISHED/tcp",
    ],
    [client('proxy-v1', '.53/udp'), [udp], "'proxy-v1' is for tcp ports"],
    [
      balance,
      [tcp, sctp],
      "label 'swarmctl.ingress.balance': 'least-connections' is for tcp and udp ports, and the service publishes sctp port 8080",
    ],
    [health, [udp], "'5s' is for tcp ports, and the service publishes udp port 53"],
    [
      { 'swarmctl.ingress.health-retries': '5' },
      [tcp],
      "label 'swarmctl.ingress.health-retries': without swarmctl.ingress.health-interval tasks are not checked; give both",
    ],
    [
      { ...balance, ...client('keep', '.8080/tcp') },
      [tcp],
      "label 'swarmctl.ingress.client-address': 'keep' cannot be had with swarmctl.ingress.balance, which the proxy does",
    ],
  ])('%j does not fit %j', (labels, ports, message) => {
    expect(() => checkPortLabels(labels, ports)).toThrow(message);
  });
});

describe('services on networks', () => {
  const wrong = 'invalid-argument: rpc error: code = InvalidArgument desc = ';
  const on = (...Networks: object[]) => spec({}, {}, { Networks });
  const publishing = (network: string, port: PortConfig) => ({
    ...on({ Target: network }),
    EndpointSpec: { Ports: [port] },
  });
  test.each([
    [on({ Target: 'n', Aliases: ['db', '_srv.x'] }), 'accepted'],
    [on({ Target: 'host' }), 'accepted'],
    [on({ Target: 'none' }), 'accepted'],
    [on({ Target: 'n' }, { Target: 'bridge' }), 'accepted'],
    [
      on({ Target: 'n' }, { Target: 'host' }),
      `${wrong}network host cannot be combined with others: a container has it alone`,
    ],
    [on({ Target: 'bridge', Aliases: ['db'] }), `${wrong}network bridge has no names: leave the alias 'db' out`],
    [publishing('bridge', { TargetPort: 80, PublishedPort: 80 }), 'accepted'],
    [publishing('host', { TargetPort: 80, PublishedPort: 80, PublishMode: 'host' }), 'accepted'],
    [
      publishing('host', { TargetPort: 80, PublishedPort: 80 }),
      `${wrong}port 80 cannot be published in ingress mode: on network host a container listens on its node itself; leave the port out, or publish it with mode=host,target=80,published=80`,
    ],
    [
      publishing('host', { TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' }),
      `${wrong}port 80 cannot be published as 8080: on network host a container listens on its node itself; leave the port out, or publish it with mode=host,target=80,published=80`,
    ],
    [
      publishing('none', { TargetPort: 80, PublishedPort: 80, PublishMode: 'host' }),
      `${wrong}network none reaches nobody: ports cannot be published, leave them out`,
    ],
    [on({}), `${wrong}network attachment: the target must be provided`],
    [on({ Target: 'n', Aliases: ['a b'] }), `${wrong}network alias 'a b' is not a name that can be asked for`],
    [
      {
        ...spec({}, { Command: ['x'] }, { Networks: [{ Target: 'n' }] }),
        Labels: { 'swarmctl.runtime': 'process' },
      },
      `${wrong}the process runtime has no networks but the machine's`,
    ],
  ])('%j', (given, expected) => {
    expect(refusal(given as ServiceSpec)).toBe(expected);
  });

  test.each(['macvlan', 'ipvlan'])('of the driver %s, they publish no ports', (Name) => {
    const networks = [{ Spec: { Name: 'lan', Labels: {}, DriverConfiguration: { Name } } }];
    expect(() => checkNetworkDrivers(spec(), networks)).not.toThrow();
    const Ports = [{ TargetPort: 80, PublishedPort: 80 }];
    expect(() => checkNetworkDrivers(spec({ EndpointSpec: { Ports } }), networks)).toThrow(
      `network lan is of the driver ${Name}, where containers are reached by addresses of their own`,
    );
  });

  test("the old place of a spec's networks counts where the new one is empty", () => {
    const old = completeServiceSpec(spec({ Networks: [{ Target: 'a' }] }));
    expect([old.Networks, old.TaskTemplate.Networks]).toEqual([[{ Target: 'a' }], [{ Target: 'a' }]]);
    const both = completeServiceSpec(spec({ Networks: [{ Target: 'a' }] }, {}, { Networks: [{ Target: 'b' }] }));
    expect([both.Networks, both.TaskTemplate.Networks]).toEqual([undefined, [{ Target: 'b' }]]);
  });
});
