import { expect, test } from 'vitest';
import { aPayload, aService, aStore } from '../../../../test/kit/index.ts';
import { isNeeded, usersOf } from '../api/payload-use.ts';
import { certificateSecrets } from './certificates.ts';

const ports = [{ TargetPort: 8080, PublishedPort: 443, Protocol: 'tcp', PublishMode: 'ingress' }] as const;
const service = (id: string, tls: string) =>
  aService({ id, name: id, ports: [...ports], labels: { 'swarmctl.http.route': id, 'swarmctl.http.tls': tls } });

test('every node gets the newest secrets that ports of HTTP name; those are in use', () => {
  const store = aStore({
    services: [service('a', 'cert,key'), service('b', 'cert'), aService({ id: 'c', ports: [...ports] })],
    secrets: [
      aPayload({ id: 's1', name: 'cert' }),
      aPayload({ id: 's2', name: 'cert.v2', labels: { 'swarmctl.version.of': 'cert' } }),
      aPayload({ id: 's3', name: 'key' }),
      aPayload({ id: 's4', name: 'other' }),
    ],
  });
  const view = store.view();
  expect([...certificateSecrets(view, 'n1')].sort()).toEqual(['s2', 's3']);
  expect(usersOf(view, 's2').map(({ ID }) => ID)).toEqual(['a', 'b']);
  expect(['s1', 's2', 's3', 's4'].map((id) => isNeeded(view, id))).toEqual([false, true, true, false]);
  expect([...certificateSecrets(aStore({ secrets: [aPayload({ id: 's1', name: 'cert' })] }).view(), 'n1')]).toEqual([]);
});
