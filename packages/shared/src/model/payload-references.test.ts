import { expect, test } from 'vitest';
import { ClusterError } from '../kit/errors.ts';
import { checkPayloadReferences, payloadReferences } from './payload-references.ts';
import type { ContainerSpec } from './specs.ts';

const file = (Name: string, more: object = {}) => ({ Name, UID: '0', GID: '0', Mode: 0o444, ...more });
const secret = (SecretName: string, File?: object) => ({
  SecretID: SecretName,
  SecretName,
  File: File ?? file(SecretName),
});
const config = (ConfigName: string, File?: object) => ({
  ConfigID: ConfigName,
  ConfigName,
  File: File ?? file(ConfigName),
});

test('one form for both, with paths in the container and defaults', () => {
  const container: ContainerSpec = {
    Secrets: [secret('a'), secret('b', { Name: '/etc/b', UID: '10', GID: '20', Mode: 0 })],
    Configs: [config('c', { Name: 'dir/../c' }), config('d', { Name: 'x/d' })],
  };
  checkPayloadReferences(container);
  expect(payloadReferences(container)).toEqual([
    { kind: 'secret', id: 'a', name: 'a', target: 'a', path: '/run/secrets/a', uid: 0, gid: 0, mode: 0o444 },
    { kind: 'secret', id: 'b', name: 'b', target: '/etc/b', path: '/etc/b', uid: 10, gid: 20, mode: 0 },
    { kind: 'config', id: 'c', name: 'c', target: 'dir/../c', path: '/c', uid: 0, gid: 0, mode: 0o444 },
    { kind: 'config', id: 'd', name: 'd', target: 'x/d', path: '/x/d', uid: 0, gid: 0, mode: 0o444 },
  ]);
  expect(payloadReferences(undefined)).toEqual([]);
});

test.each<[ContainerSpec, string]>([
  [{ Secrets: [{ SecretName: 'a', File: file('a') }] }, 'malformed secret reference'],
  [{ Secrets: [{ SecretID: 'a', File: file('a') }] }, 'malformed secret reference'],
  [{ Secrets: [{ SecretID: 'a', SecretName: 'a' }] }, 'malformed secret reference, no target provided'],
  [{ Secrets: [secret('a', file(''))] }, 'malformed file secret reference, invalid target file name provided'],
  [
    { Secrets: [secret('a', file('x')), secret('b', file('x'))] },
    "secret references 'a' and 'b' have a conflicting target: 'x'",
  ],
  [
    { Configs: [config('a', file('x')), config('b', file('x'))] },
    "config references 'a' and 'b' have a conflicting target: 'x'",
  ],
  [
    { Secrets: [secret('a')], Configs: [config('a', file('/run/secrets/a'))] },
    'ContainerSpec: duplicate mount point: /run/secrets/a',
  ],
  [{ Mounts: [{ Type: 'tmpfs', Target: '/a' }], Configs: [config('a')] }, 'ContainerSpec: duplicate mount point: /a'],
  [{ Configs: [config('a', file('/'))] }, "config reference 'a': the target '/' is a folder, not a file"],
  [{ Secrets: [secret('a', file('..//'))] }, "secret reference 'a': the target '..//' is a folder, not a file"],
  [{ Secrets: [secret('a', file('.'))] }, "secret reference 'a': the target '.' is a folder, not a file"],
  [
    { Secrets: [secret('a', file('a', { UID: 'root' }))] },
    "secret reference 'a': the UID must be a number from 0 to 4294967294, not 'root'",
  ],
  [
    { Configs: [config('a', file('a', { GID: '4294967295' }))] },
    "config reference 'a': the GID must be a number from 0 to 4294967294, not '4294967295'",
  ],
  [
    { Configs: [config('a', file('a', { Mode: 0o4755 }))] },
    "config reference 'a': the mode must be from 0 to 0777, not 04755",
  ],
])('%j is refused', (container, message) => {
  expect(() => checkPayloadReferences(container)).toThrow(
    new ClusterError('invalid-argument', `rpc error: code = InvalidArgument desc = ${message}`),
  );
});

test('configs that are no files are not there yet', () => {
  const one = { ConfigID: 'a', ConfigName: 'a', Runtime: {} };
  expect(() => checkPayloadReferences({ Configs: [one] })).toThrow('configs for the runtime are not supported yet');
});
