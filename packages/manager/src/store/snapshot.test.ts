import { expect, it } from 'vitest';
import { aCluster, aNode, aService, aStore, tasksOf } from '../../../../test/kit/index.ts';
import { Store } from './store.ts';

const web = aService({ id: 'web', ports: [{ TargetPort: 80, PublishedPort: 8080 }] });
const full = () =>
  aStore({
    cluster: aCluster(),
    nodes: [aNode({ id: 'n1' })],
    services: [web],
    tasks: tasksOf(web, 1_000, { node: 'n1' }),
  });

async function bytesOf(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

async function* stream(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

it('holds the state of the moment it was taken, however much later it is written', async () => {
  const store = full();
  const hash = store.hash();
  const encodeLater = store.snapshot();
  store.apply(2, { now: 1, changes: [{ op: 'remove', table: 'services', id: 'web' }] });
  const other = new Store();
  await other.restore(encodeLater());
  expect([other.hash(), other.index]).toEqual([hash, 1]);
  expect(other.view().tasksOfSlot('web', 1000).length).toBe(1);
});

it('tells watchers to look at everything again', async () => {
  const other = new Store();
  const told: unknown[] = [];
  other.watch((events, view) => told.push([events, view.index, view.list('tasks').length]));
  await other.restore(full().snapshot()(), 9);
  expect(told).toEqual([['reset', 9, 1_000]]);
});

it('lets others run while it is written and read', async () => {
  let turns = 0;
  let going = true;
  const spin = () => {
    turns++;
    if (going) setImmediate(spin);
  };
  setImmediate(spin);
  const bytes = await bytesOf(full().snapshot()());
  const written = turns;
  await new Store().restore(stream(bytes));
  going = false;
  expect([written >= 5, turns - written >= 5]).toEqual([true, true]);
});

it.each<[string, (whole: Buffer) => Uint8Array, RegExp]>([
  ['nothing', () => Buffer.alloc(0), /without a head/],
  ['one that is cut short', (whole) => whole.subarray(0, whole.length - 1), /cut short/],
  ['one of a later version', (whole) => Buffer.concat([Buffer.from([9]), whole.subarray(1)]), /schema version 9/],
  [
    'one with an absurd length',
    (whole) => Buffer.concat([whole.subarray(0, 1), Buffer.alloc(8, 255)]),
    /record of \d+ bytes/,
  ],
])('refuses %s and keeps what it has', async (_, spoil, message) => {
  const store = full();
  const hash = store.hash();
  const bytes = await bytesOf(store.snapshot()());
  await expect(store.restore(stream(spoil(bytes)))).rejects.toThrow(message);
  expect(store.hash()).toBe(hash);
});
