import { createRootCa } from '@swarmctl/shared/kit';
import { expect, test } from 'vitest';
import { testApi } from '../../../../test/kit/api.ts';
import { aCluster, aNode, aPayload, aStore } from '../../../../test/kit/index.ts';

const { certificate, key } = await createRootCa(1_700_000_000_000);

const start = () =>
  testApi({
    store: aStore({
      cluster: aCluster(),
      nodes: [aNode({ id: 'n1', addr: '192.168.1.1' }), aNode({ id: 'n2', addr: '192.168.1.2' })],
      secrets: [
        aPayload({ id: 's1', name: 'cert', data: certificate }),
        aPayload({ id: 's2', name: 'key', data: key }),
        aPayload({ id: 's3', name: 'words', data: 'hello' }),
      ],
    }),
  });

const web = (Labels: Record<string, string>) => ({
  Name: 'web',
  Labels,
  TaskTemplate: { ContainerSpec: { Image: 'web:1' } },
  EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8080 }] },
});
const http = (tls: string) => web({ 'swarmctl.http.route': 'example.com', 'swarmctl.http.tls': tls });

test.each([
  ['an address of a node', web({ 'swarmctl.ingress.address': '192.168.1.2' }), null],
  ['an address of every node', web({ 'swarmctl.ingress.address': '127.0.0.1' }), null],
  [
    'an address of nobody',
    web({ 'swarmctl.ingress.address': '192.168.1.1,10.9.9.9' }),
    [
      'published port 8080/tcp: no node is known by the address 10.9.9.9; unless a node has it, nobody answers there (nodes are known by 192.168.1.1, 192.168.1.2)',
    ],
  ],
  ['a certificate and its key', http('cert,key'), null],
])('%s: what is told at creation and at an update', async (_, spec, Warnings) => {
  const api = await start();
  const made = await api.call('POST', '/services/create', spec);
  expect(made).toMatchObject({ status: 201, json: { Warnings } });
  const { json } = await api.call('GET', '/services/web');
  const updated = await api.call('POST', `/services/web/update?version=${json.Version.Index}`, spec);
  expect(updated).toMatchObject({ status: 200, json: { Warnings } });
});
