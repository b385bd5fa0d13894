import { ManualClock, settle, silentLogger } from '@swarmctl/shared/kit';
import type { IngressEntry } from '@swarmctl/shared/wire';
import { expect, test } from 'vitest';
import { FakeIngress } from '../../../../test/kit/fake-ingress.ts';
import { Routing } from './routing.ts';

const entry = (publishedPort: number): IngressEntry => ({
  key: `tcp/${publishedPort}`,
  serviceId: 's',
  serviceName: 's',
  protocol: 'tcp',
  publishedPort,
  targetPort: 80,
  backends: [],
});

function made(entries: IngressEntry[] = [], revision = 0) {
  const ingress = new FakeIngress();
  const clock = new ManualClock();
  const told: number[] = [];
  const routing = new Routing(
    { entries, revision },
    { ingress, clock, log: silentLogger, applied: (reached) => told.push(reached) },
  );
  return { routing, ingress, clock, told };
}

test('what the journal held is put into force', async () => {
  const { routing, ingress, told } = made([entry(1)], 9);
  expect(routing.applied).toBe(0);
  routing.restore();
  await settle();
  expect([...ingress.table.keys()]).toEqual(['tcp/1']);
  expect(told).toEqual([9]);
});

test('deltas are laid over the whole; a revision without a change counts at once', async () => {
  const { routing, ingress, told } = made();
  routing.replace([entry(1), entry(2)], 5);
  routing.change([entry(3)], ['tcp/1'], 6);
  await settle();
  routing.change([], [], 7);
  await settle();
  expect([...ingress.table.keys()]).toEqual(['tcp/2', 'tcp/3']);
  expect(ingress.applies).toBe(2);
  expect(told.at(-1)).toBe(7);
});

test('no revision is told before an earlier table is in force', async () => {
  const { routing, ingress, told } = made();
  ingress.block();
  routing.replace([entry(1)], 5);
  routing.change([], [], 6);
  await settle();
  expect(told).toEqual([]);
  ingress.unblock();
  await settle();
  expect(routing.applied).toBe(6);
});

test('a table that is refused is tried again, and not told of before', async () => {
  const { routing, ingress, clock, told } = made();
  const apply = ingress.apply.bind(ingress);
  ingress.apply = () => Promise.reject(new Error('no nft'));
  routing.replace([entry(1)], 5);
  await clock.advance(500);
  expect(told).toEqual([]);
  ingress.apply = apply;
  await clock.advance(1_000);
  expect(told).toEqual([5]);
});
