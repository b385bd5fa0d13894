import type Docker from 'dockerode';
import { expect, it } from 'vitest';
import { lateFieldsOf, unknownTo } from './late-fields.ts';

const docker = (minor: number) => ({ Version: 'x', ApiVersion: `1.${minor}`, Components: [{ Name: 'Engine' }] });
const mount = (options: object) => ({ HostConfig: { Mounts: [{ Type: 'volume', Target: '/t', ...options }] } });

it.each<[string, number, object]>([
  ['Healthcheck.StartInterval', 44, { Healthcheck: { StartInterval: 5 } }],
  ['BindOptions.ReadOnlyForceRecursive', 44, mount({ BindOptions: { ReadOnlyForceRecursive: true } })],
  ['VolumeOptions.Subpath', 45, mount({ VolumeOptions: { Subpath: 'a' } })],
  ['TmpfsOptions.Options', 46, mount({ TmpfsOptions: { Options: [['exec']] } })],
])('%s is for engines of API 1.%i', (name, since, config) => {
  const fields = lateFieldsOf(config as Docker.ContainerCreateOptions);
  expect(unknownTo(docker(since - 1), fields)).toMatch(
    `the engine of this node (x, API 1.${since - 1}) does not know ${name}`,
  );
  expect(unknownTo(docker(since), fields)).toBeUndefined();
  expect(unknownTo({ ...docker(41), Components: [{ Name: 'Podman Engine' }] }, fields)).toBeUndefined();
});

it.each([
  {},
  { Healthcheck: { StartInterval: 0, Interval: 1 } },
  mount({ VolumeOptions: { Subpath: '', NoCopy: true }, TmpfsOptions: { Options: [] } }),
])('%j is for all', (config) => expect(lateFieldsOf(config as Docker.ContainerCreateOptions)).toEqual([]));
