import { ManualClock } from '@swarmctl/shared/kit';
import { expect, test } from 'vitest';
import { aNode, aStore } from '../../../test/kit/builders.ts';
import { nodeIsReady } from './node-ready.ts';

function waiting(state: 'unknown' | 'ready') {
  const clock = new ManualClock();
  const store = aStore({ nodes: [aNode({ id: 'n1', state }), aNode({ id: 'n2', state: 'unknown' })] });
  let isDone = false;
  const manager = { view: () => store.view(), watch: store.watch.bind(store) };
  const done = nodeIsReady(manager, 'n1', clock).then(() => {
    isDone = true;
  });
  const isDoneAfter = async (ms: number) => {
    await clock.advance(ms);
    return isDone;
  };
  const becomesReady = (id: string) =>
    store.apply(store.index + 1, {
      now: 0,
      changes: [{ op: 'update', table: 'nodes', id, set: { Status: { State: 'ready', Addr: '10.0.0.1' } } }],
    });
  return { done, isDoneAfter, becomesReady };
}

test('a node is waited for until it is ready itself', async () => {
  const { done, isDoneAfter, becomesReady } = waiting('unknown');
  expect(await isDoneAfter(1_000)).toBe(false);
  becomesReady('n2');
  expect(await isDoneAfter(1_000)).toBe(false);
  becomesReady('n1');
  await done;
  await waiting('ready').done;
});

test('a node that does not become ready is not waited for for ever', async () => {
  const { done, isDoneAfter } = waiting('unknown');
  expect(await isDoneAfter(9_000)).toBe(false);
  await isDoneAfter(2_000);
  await done;
});
