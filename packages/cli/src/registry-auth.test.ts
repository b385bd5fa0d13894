import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseRegistryAuth } from '@swarmctl/shared/model';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { registryAuthHeader } from './registry-auth.ts';
import { buildCreateSpec, buildUpdateSpec } from './service/build.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'swarm-login-'));
  const auth = (text: string) => ({ auth: Buffer.from(text).toString('base64') });
  const auths = { 'reg.lan:5000': auth('ann:a:b'), 'https://index.docker.io/v1/': auth('hub:c') };
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ auths }));
});
afterAll(() => rmSync(folder, { recursive: true }));

test.each([
  ['reg.lan:5000/team/web:1', { username: 'ann', password: 'a:b', serveraddress: 'reg.lan:5000' }],
  ['web', { username: 'hub', password: 'c', serveraddress: 'https://index.docker.io/v1/' }],
  ['other.lan/web', undefined],
])('what `docker login` left for %s', (image, auth) => {
  const header = registryAuthHeader(image, { DOCKER_CONFIG: folder })['x-registry-auth'] ?? '';
  expect(parseRegistryAuth(header)).toEqual(auth);
});

test('flags for what reaches beyond a container are labels, and go when they are emptied', () => {
  const spec = buildCreateSpec('web', [], { privileged: true, device: '/dev/snd', 'oci-runtime': 'runsc' }, {});
  expect(spec.Labels).toEqual({
    'swarmctl.container.privileged': 'true',
    'swarmctl.container.devices': '/dev/snd',
    'swarmctl.container.runtime': 'runsc',
  });
  expect(buildUpdateSpec(spec, { privileged: false, device: '' }, {}).Labels).toEqual({
    'swarmctl.container.runtime': 'runsc',
  });
});
