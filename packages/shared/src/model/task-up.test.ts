import { describe, expect, it } from 'vitest';
import type { Service, Task } from './objects.ts';
import type { PortConfig, TaskSpec } from './specs.ts';
import type { TaskState } from './task-state.ts';
import { isDirty, isUp, specEquals } from './task-up.ts';

const tcp: PortConfig = { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' };
const udp: PortConfig = { ...tcp, Protocol: 'udp' };
const host: PortConfig = { ...tcp, PublishMode: 'host' };

describe('isUp', () => {
  it.each<[string, TaskState, PortConfig[] | undefined, boolean, boolean]>([
    ['starting', 'starting', undefined, false, false],
    ['running without ports', 'running', undefined, false, true],
    ['running with an ingress port that does not answer yet', 'running', [tcp], false, false],
    ['running with an ingress port that answers', 'running', [tcp], true, true],
    ['running with an udp port, which cannot be asked', 'running', [udp], false, true],
    ['running with a host port', 'running', [host], false, true],
    ['ended', 'failed', [tcp], true, false],
  ])('%s', (_, State, Ports, answers, expected) => {
    const Status = { Timestamp: '', State, ...(answers && { Endpoints: [] }) };
    expect(isUp({ Status, ...(Ports && { Ports }) })).toBe(expected);
    // Given up, it is not.
    expect(isUp({ Status: { ...Status, Withdrawn: true }, ...(Ports && { Ports }) })).toBe(false);
  });
});

describe('specEquals takes zero for absence', () => {
  it.each<[unknown, unknown, boolean]>([
    [{ a: 1 }, { a: 1 }, true],
    [{ a: 1 }, { a: 2 }, false],
    [{}, { ReadOnly: false }, true],
    [{}, { Mounts: [] }, true],
    [{}, { Mounts: null }, true],
    [{}, { Resources: { Limits: {} } }, true],
    [{}, { MaxAttempts: 0 }, true],
    [{}, { ReadOnly: true }, false],
    [{}, { Labels: { empty: '' } }, false],
    [{ Env: ['a', 'b'] }, { Env: ['b', 'a'] }, false],
    [{ Env: ['a'] }, { Env: ['a', 'b'] }, false],
    // Their absence means something else than zero.
    [{}, { Init: false }, false],
    [{}, { StopGracePeriod: 0 }, false],
    [{}, { RestartPolicy: { Delay: 0 } }, false],
    [{}, { Init: null }, true],
  ])('%j and %j: %s', (a, b, expected) => {
    expect(specEquals(a, b)).toBe(expected);
    expect(specEquals(b, a)).toBe(expected);
  });
});

describe('isDirty', () => {
  const spec: TaskSpec = { ContainerSpec: { Image: 'web:1' }, Placement: { Constraints: ['node.role==worker'] } };
  const task = {
    Spec: spec,
    SpecVersion: 'v1',
    Ports: [tcp],
    ServiceAnnotations: { Name: 'web', Labels: {} },
  } as unknown as Task;
  const service = (change: Partial<Service['Spec']> = {}, Ports: PortConfig[] = [tcp], SpecVersion = 'v2') =>
    ({
      Spec: { Name: 'web', Labels: {}, TaskTemplate: spec, ...change },
      SpecVersion,
      Endpoint: { Spec: {}, Ports },
    }) as unknown as Service;

  it.each<[string, Service, boolean]>([
    ['the very version', service({ TaskTemplate: {} }, [], 'v1'), false],
    ['another version with the same template', service(), false],
    ['scale', service({ Mode: { Replicated: { Replicas: 9 } } }), false],
    ['a plain label', service({ Labels: { a: 'b' } }), false],
    ['the drain time-out', service({ Labels: { 'swarmctl.drain-timeout': '1s' } }), false],
    ['the runtime', service({ Labels: { 'swarmctl.runtime': 'process' } }), true],
    ['the image', service({ TaskTemplate: { ...spec, ContainerSpec: { Image: 'web:2' } } }), true],
    ['a forced update', service({ TaskTemplate: { ...spec, ForceUpdate: 1 } }), true],
    ['another published port', service({}, [{ ...tcp, PublishedPort: 9090 }]), false],
    ['another target port', service({}, [{ ...tcp, TargetPort: 81 }]), true],
    ['one port more', service({}, [tcp, { ...tcp, TargetPort: 81 }]), true],
    ['no port any more', service({}, []), true],
    ['another mode of publishing', service({}, [host]), true],
  ])('%s', (_, wanted, expected) => expect(isDirty(wanted, task)).toBe(expected));

  it('leaves a task where it is when constraints alone changed and its node meets them', () => {
    const changed = service({ TaskTemplate: { ...spec, Placement: { Constraints: ['node.hostname==a'] } } });
    expect(isDirty(changed, task, () => true)).toBe(false);
    expect(isDirty(changed, task, () => false)).toBe(true);
    expect(isDirty(changed, task)).toBe(true);
    const image = service({ TaskTemplate: { ContainerSpec: { Image: 'web:2' } } });
    expect(isDirty(image, task, () => true)).toBe(true);
  });

  it('does not judge by ports that a task has not got yet', () => {
    const { Ports: _, ...unallocated } = task;
    expect(isDirty(service({}, []), unallocated as Task)).toBe(false);
  });
});
