import { createRootCa } from '@swarmctl/shared/kit';
import { beforeEach, expect, test } from 'vitest';
import { type TestApi, testApi } from '../../../../test/kit/api.ts';
import { aCluster, aNode, aPayload, aStore } from '../../../../test/kit/index.ts';

// A secret's content goes to every node once a published port names it as its certificate.

const { certificate, key } = await createRootCa(1_700_000_000_000);
let api: TestApi;

beforeEach(async () => {
  const secrets = [
    aPayload({ id: 's1', name: 'cert', data: certificate }),
    aPayload({ id: 's2', name: 'key', data: key }),
    aPayload({ id: 's3', name: 'words', data: 'hello' }),
    aPayload({ id: 's4', name: 'both', data: certificate + key }),
  ];
  api = await testApi({ store: aStore({ cluster: aCluster(), nodes: [aNode()], secrets }) });
});

const web = (tls: string) => ({
  Name: 'web',
  Labels: { 'swarmctl.http.route': 'example.com', 'swarmctl.http.tls': tls },
  TaskTemplate: { ContainerSpec: { Image: 'web:1' } },
  EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8080 }] },
});
const refusal = (what: string) =>
  `label 'swarmctl.http.tls': ${what}; expected a certificate chain and its private key in PEM`;
const base64 = (text: string) => Buffer.from(text).toString('base64');

test.each([
  ['both', undefined],
  ['cert,key', undefined],
  ['words', refusal('secret words cannot be a certificate: it has no certificate in PEM')],
  ['cert', refusal('secret cert cannot be a certificate: it has no private key in PEM')],
  ['cert,words', refusal('secrets cert, words cannot be a certificate: it has no private key in PEM')],
])('%s at creation and at an update', async (tls, message) => {
  const made = await api.call('POST', '/services/create', web(tls));
  expect([made.status, made.json.message]).toEqual([message ? 400 : 201, message]);
  if (message) await api.call('POST', '/services/create', web('both'));
  const { json } = await api.call('GET', '/services/web');
  const updated = await api.call('POST', `/services/web/update?version=${json.Version.Index}`, web(tls));
  expect([updated.status, updated.json.message]).toEqual([message ? 400 : 200, message]);
});

test('a version that could not take the place of the one before is not written', async () => {
  await api.call('POST', '/services/create', web('both'));
  const message =
    'secret both.v2 would be the certificate of service web, by its label swarmctl.http.tls, and cannot: it has no certificate in PEM; ' +
    'expected a certificate chain and its private key in PEM';
  for (const query of ['', '?dryRun=1']) {
    const rotated = await api.call('POST', `/secrets/both/rotate${query}`, { Data: base64('oops') });
    expect([rotated.status, rotated.json]).toEqual([400, { message }]);
  }
  const byHand = { Name: 'both.v2', Labels: { 'swarmctl.version.of': 'both' }, Data: base64('oops') };
  expect((await api.call('POST', '/secrets/create', byHand)).json).toEqual({ message });
  expect((await api.call('GET', '/secrets')).json).toHaveLength(4);

  const other = await createRootCa(1_700_000_000_000);
  const good = await api.call('POST', '/secrets/both/rotate', { Data: base64(other.certificate + other.key) });
  expect(good).toMatchObject({ status: 201, json: { Name: 'both.v2', Warnings: [] } });
});

test('of several that are one together, each is written for itself, with a warning until they fit', async () => {
  await api.call('POST', '/services/create', web('cert,key'));
  const other = await createRootCa(1_700_000_000_000);
  const first = await api.call('POST', '/secrets/cert/rotate', { Data: base64(other.certificate) });
  expect([first.status, first.json.Warnings]).toEqual([
    201,
    [
      'service web: its nodes keep the certificate before until secrets cert, key are one together: the first certificate is not of this private key',
    ],
  ]);
  const second = await api.call('POST', '/secrets/key/rotate', { Data: base64(other.key) });
  expect([second.status, second.json.Warnings]).toEqual([201, []]);
});
