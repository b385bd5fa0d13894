import { expect, test } from 'vitest';
import { withContainerFields } from './container-fields.ts';
import type { ServiceSpec } from './specs.ts';

const spec: ServiceSpec = { Name: 'web', Labels: { mine: '1' }, TaskTemplate: { ContainerSpec: { Image: 'web:1' } } };
const labelsFor = (container: object, labels: Record<string, string> = {}) =>
  withContainerFields(
    { ...spec, Labels: { ...spec.Labels, ...labels } },
    { TaskTemplate: { ContainerSpec: container } },
  ).Labels;

test.each<[object, string, string]>([
  [{ Privileged: true }, 'privileged', 'true'],
  [{ privileged: true }, 'privileged', 'true'],
  [{ Devices: [{ PathOnHost: '/dev/kvm' }] }, 'devices', '/dev/kvm:/dev/kvm'],
  [
    {
      Devices: [
        { PathOnHost: '/dev/kvm', PathInContainer: '/dev/x', CgroupPermissions: 'rw' },
        { PathOnHost: '/dev/fuse', CgroupPermissions: 'r' },
      ],
    },
    'devices',
    '/dev/kvm:/dev/x:rw,/dev/fuse:/dev/fuse:r',
  ],
  [{ DeviceRequests: [{ Count: -1, Capabilities: [['gpu']] }] }, 'gpus', 'all'],
  [{ DeviceRequests: [{ Driver: 'nvidia', Count: 2, Capabilities: [['gpu']] }] }, 'gpus', '2'],
  [{ DeviceRequests: [{ DeviceIDs: ['0', 'GPU-a'], Capabilities: [['gpu']] }] }, 'gpus', 'device=0,GPU-a'],
  [{ ShmSize: 1_048_576 }, 'shm-size', '1048576'],
  [{ IpcMode: 'host' }, 'ipc', 'host'],
  [{ PidMode: 'host' }, 'pid', 'host'],
  [{ SecurityOpt: ['no-new-privileges', 'label:disable'] }, 'security-opt', 'no-new-privileges,label=disable'],
  [{ CgroupnsMode: 'private' }, 'cgroupns', 'private'],
  [{ UsernsMode: 'host' }, 'userns', 'host'],
  [{ Runtime: 'runsc' }, 'runtime', 'runsc'],
])('%j is the label %s', (container, name, value) => {
  const label = `swarmctl.container.${name}`;
  expect(labelsFor(container)).toEqual({ mine: '1', [label]: value });
  expect(labelsFor(container, { [label]: value })).toEqual({ mine: '1', [label]: value });
});

test('what is empty says nothing', () => {
  const container = { Privileged: false, Devices: [], ShmSize: 0, IpcMode: '', Binds: null, Tmpfs: {}, Fancy: 1 };
  expect(labelsFor(container)).toEqual({ mine: '1' });
  expect(withContainerFields(spec, undefined)).toBe(spec);
});

test.each<[object, string]>([
  [{ Privileged: 'yes' }, 'TaskTemplate.ContainerSpec.Privileged must be true or false'],
  [{ Devices: [{ PathOnHost: '/etc' }] }, 'ContainerSpec.Devices: expected a list of devices'],
  [{ DeviceRequests: [{ Count: -1, Capabilities: [['tpu']] }] }, 'ContainerSpec.DeviceRequests: expected one request'],
  [{ DeviceRequests: [{ Capabilities: [['gpu']] }] }, 'ContainerSpec.DeviceRequests: expected all, a number'],
  [{ IpcMode: 'container:x' }, 'ContainerSpec.IpcMode: expected one of none, private, shareable, host'],
  [{ SecurityOpt: ['seccomp={"a":1}'] }, 'ContainerSpec.SecurityOpt: expected a list'],
  [{ Binds: ['/a:/b'] }, 'ContainerSpec.Binds: services have Mounts for it'],
  [{ CapAdd: ['NET_ADMIN'] }, 'ContainerSpec.CapAdd: services have CapabilityAdd for it'],
  [{ UTSMode: 'host' }, 'ContainerSpec.UTSMode: services cannot have it'],
])('%j is refused', (container, message) => expect(() => labelsFor(container)).toThrow(message));

test('a label that says otherwise is no reason to choose', () => {
  expect(() => labelsFor({ PidMode: 'host', Privileged: true }, { 'swarmctl.container.privileged': 'false' })).toThrow(
    "ContainerSpec.Privileged: the label 'swarmctl.container.privileged' says otherwise: 'false', not 'true'",
  );
});
