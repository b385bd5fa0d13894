import { describe, expect, test } from 'vitest';
import { isClusterError } from '../kit/index.ts';
import { normalise, parseJson } from './normalise.ts';
import { NetworkCreateRequest, ServiceSpec } from './specs.ts';

const failure = (value: unknown, strict = false) => {
  try {
    normalise(ServiceSpec, value, { strict });
  } catch (error) {
    if (isClusterError(error, 'invalid-argument')) return error.message;
    throw error;
  }
  return 'no error';
};

describe('normalise', () => {
  test.each([
    [
      'null is absent',
      { Name: 'a', Labels: null, TaskTemplate: { ContainerSpec: { Args: null } } },
      { Name: 'a', TaskTemplate: { ContainerSpec: {} } },
    ],
    ['unknown keys go', { Name: 'a', Nonsense: { x: 1 } }, { Name: 'a' }],
    ['keys match without case, the exact one first', { name: 'b', Name: 'a' }, { Name: 'a' }],
    [
      'another case alone is taken',
      { TaskTemplate: { ContainerSpec: { HealthCheck: { Retries: 2 } } } },
      { TaskTemplate: { ContainerSpec: { Healthcheck: { Retries: 2 } } } },
    ],
    ['a null in a map is an empty string', { Labels: { a: null } }, { Labels: { a: '' } }],
    ['empty objects stay', { Mode: { Replicated: {} } }, { Mode: { Replicated: {} } }],
  ])('%s', (_, given, wanted) => {
    expect(normalise(ServiceSpec, given)).toEqual(wanted);
  });

  test('__proto__ is harmless', () => {
    const spec = normalise(
      ServiceSpec,
      parseJson('{"Name":"a","__proto__":{"polluted":1},"Labels":{"__proto__":"x","a":"b"}}'),
    );
    expect(spec).toEqual({ Name: 'a', Labels: { a: 'b' } });
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    expect(Object.getPrototypeOf(spec.Labels)).toBe(Object.prototype);
  });

  test.each([
    ['17958703482878564', 17_958_703_482_878_564 % 2 ** 53],
    ['9007199254740991', 2 ** 53 - 1],
    ['7', 7],
  ])('ForceUpdate %s, as by the time of day, is kept so that one more is another number', (given, kept) => {
    const spec = normalise(ServiceSpec, parseJson(`{"TaskTemplate":{"ForceUpdate":${given}}}`));
    expect(spec.TaskTemplate?.ForceUpdate).toBe(kept);
  });

  test.each([
    [
      { TaskTemplate: { ForceUpdate: 2 ** 64 } },
      'invalid JSON: TaskTemplate.ForceUpdate must be an integer below 2^64, not 18446744073709552000',
    ],
    [{ Name: 3 }, 'invalid JSON: Name must be a string, not 3'],
    [
      { Mode: { Replicated: { Replicas: '3' } } },
      'invalid JSON: Mode.Replicated.Replicas must be an integer of at least 0, not "3"',
    ],
    [
      { Mode: { Replicated: { Replicas: -1 } } },
      'invalid JSON: Mode.Replicated.Replicas must be an integer of at least 0, not -1',
    ],
    [
      { Mode: { Replicated: { Replicas: 2 ** 53 } } },
      'invalid JSON: Mode.Replicated.Replicas must be an integer below 2^53, not 9007199254740992',
    ],
    [
      { TaskTemplate: { ContainerSpec: { Args: ['a', null] } } },
      'invalid JSON: TaskTemplate.ContainerSpec.Args[1] must be a string, not null',
    ],
    [
      { UpdateConfig: { Order: 'sideways' } },
      'unrecognized update order sideways: UpdateConfig.Order must be one of stop-first, start-first',
    ],
    [
      { TaskTemplate: { RestartPolicy: { Condition: 'x'.repeat(99) } } },
      `invalid RestartCondition: "${'x'.repeat(57)}...": TaskTemplate.RestartPolicy.Condition must be one of none, on-failure, any`,
    ],
    [
      { TaskTemplate: { RestartPolicy: { Delay: -1 } } },
      'rpc error: code = InvalidArgument desc = TaskSpec: restart-delay cannot be negative: TaskTemplate.RestartPolicy.Delay must be an integer of at least 0',
    ],
    [
      { UpdateConfig: { MaxFailureRatio: 1.5 } },
      'rpc error: code = InvalidArgument desc = TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1: UpdateConfig.MaxFailureRatio must be a number from 0 to 1',
    ],
    [{ UpdateConfig: { Delay: 0.5 } }, 'invalid JSON: UpdateConfig.Delay must be an integer of at least 0, not 0.5'],
    [[], 'invalid JSON: the body must be an object, not []'],
    [null, 'invalid JSON: the body must be an object, not null'],
  ])('%j is refused', (given, message) => {
    expect(failure(given)).toBe(message);
  });

  test("a network as Docker's command line posts it", () => {
    const body = {
      Attachable: true,
      CheckDuplicate: true,
      ConfigFrom: null,
      ConfigOnly: false,
      Driver: 'overlay',
      EnableIPv6: false,
      IPAM: { Config: [{ Subnet: '10.9.0.0/24', AuxiliaryAddresses: null }], Driver: 'default', Options: null },
      Ingress: false,
      Internal: false,
      Labels: {},
      Name: 'back',
      Options: { encrypted: '' },
      Scope: '',
    };
    const { ConfigFrom, IPAM, ...same } = body;
    expect(normalise(NetworkCreateRequest, body, { strict: true })).toEqual({
      ...same,
      IPAM: { Config: [{ Subnet: '10.9.0.0/24' }], Driver: 'default' },
    });
  });

  test('strict refuses unknown keys by name', () => {
    expect(failure({ Name: 'a', Replica: 1 }, true)).toMatch(/^unknown field Replica; known: Name, Labels/);
  });
});
