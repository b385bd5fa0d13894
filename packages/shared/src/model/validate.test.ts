import { describe, expect, test } from 'vitest';
import { isClusterError } from '../kit/index.ts';
import type { ServiceSpec } from './specs.ts';
import { completeServiceSpec } from './validate.ts';

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

  const wrong = 'invalid-argument: rpc error: code = InvalidArgument desc = ';
  test.each([
    [spec({ Name: 'x y' }), `${wrong}name must be valid as a DNS name component`],
    [{ Name: 'a' }, `${wrong}mismatched Runtime and *Spec fields`],
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
    [spec({}, { Secrets: [{}] }), 'unimplemented: secrets are not supported yet'],
    [spec({}, { Configs: [{}] }), 'unimplemented: configs are not supported yet'],
    [spec({}, {}, { Networks: [{ Target: 'n' }] }), 'unimplemented: user networks are not supported yet'],
    [spec({ Mode: { GlobalJob: {} } }), 'unimplemented: jobs are not supported yet'],
    [
      spec({ Labels: { 'swarmctl.drain-timeot': '3s' } }),
      "invalid-argument: unknown label 'swarmctl.drain-timeot': the prefix swarmctl. is reserved; did you mean 'swarmctl.drain-timeout'?",
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
