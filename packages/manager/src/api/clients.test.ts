import { X509Certificate } from 'node:crypto';
import { createCsr, ManualClock } from '@swarmctl/shared/kit';
import { beforeEach, expect, test } from 'vitest';
import { type TestApi, testApi } from '../../../../test/kit/api.ts';
import { aStore, builtAt } from '../../../../test/kit/index.ts';
import { newCluster } from '../ca/new-cluster.ts';
import type { Store } from '../store/store.ts';

// Certificates of clients of the API: made, listed, taken back.

let api: TestApi;
let store: Store;
let clock: ManualClock;
let isDisturbed: boolean;
const hour = 3_600_000;

beforeEach(async () => {
  clock = new ManualClock(builtAt);
  const cluster = await newCluster({ clusterId: 'c1', spec: {}, now: builtAt });
  store = aStore({ cluster: cluster as never });
  isDisturbed = false;
  const meanwhile = () => {
    if (!isDisturbed) return;
    isDisturbed = false;
    api.apply([{ op: 'update', table: 'cluster', id: 'c1', set: { RemovedRaftIDs: [7] } }]);
  };
  api = await testApi({ store, clock, meanwhile });
});

const issue = async (Name: string, Expiry = 2 * hour * 1e6) => {
  const { csr: CSR } = await createCsr();
  const { status, json } = await api.call('POST', '/swarm/clients', { Name, CSR, Expiry });
  expect(status).toBe(201);
  return json as { Certificate: string; Serial: string };
};
const list = async () => (await api.call('GET', '/swarm/clients')).json as { Serial: string; Revoked: boolean }[];

test('what was issued is listed until it ends', async () => {
  const { Certificate, Serial } = await issue('ada');
  expect(Serial).toBe(new X509Certificate(Certificate).serialNumber);
  await issue('bob', 5 * hour * 1e6);
  expect(await list()).toMatchObject([
    { Serial, Name: 'ada', IssuedAt: new Date(builtAt).toISOString(), Revoked: false },
    { Name: 'bob', Revoked: false },
  ]);
  await clock.advance(3 * hour);
  expect(await list()).toMatchObject([{ Name: 'bob' }]);
  await issue('eve');
  expect(store.view().cluster()?.Clients).toHaveLength(2);
});

test('one is taken back by its serial, all of a name by that; what is not there is refused', async () => {
  const [first, second, other] = [await issue('ada'), await issue('ada'), await issue('bob')];
  isDisturbed = true;
  expect((await api.call('DELETE', `/swarm/clients/${second.Serial.toLowerCase()}`)).status).toBe(204);
  expect(store.view().cluster()?.RemovedRaftIDs).toEqual([7]);
  const revoked = async () => (await list()).filter(({ Revoked }) => Revoked).map(({ Serial }) => Serial);
  expect(await revoked()).toEqual([second.Serial]);
  expect((await api.call('DELETE', '/swarm/clients/ada')).status).toBe(204);
  expect(await revoked()).toEqual([first.Serial, second.Serial]);
  expect(await api.call('DELETE', '/swarm/clients/zoe')).toMatchObject({
    status: 404,
    json: { message: expect.stringContaining('name or serial zoe') },
  });
  expect(await revoked()).not.toContain(other.Serial);
});
