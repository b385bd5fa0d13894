import {
  ClusterError,
  type ErrorCode,
  ManualClock,
  newIdFrom,
  realClock,
  seededRandom,
  settle,
  silentLogger,
} from '@swarmctl/shared/kit';
import { type StoreChange, toTimestamp } from '@swarmctl/shared/model';
import { describe, expect, it } from 'vitest';
import { aNode, aService, aStore, aTask, builtAt } from '../../../../test/kit/index.ts';
import { apply } from '../../../../test/sim/control/decide.ts';
import { scheduler } from '../scheduler/index.ts';
import type { Store } from '../store/store.ts';
import { batchesOf } from './batches.ts';
import { standardControllers } from './controllers.ts';
import { ControlLoop } from './loop.ts';
import type { Controller, Decision } from './types.ts';

const create = (ID: string): StoreChange => ({ op: 'create', table: 'nodes', object: aNode({ id: ID }) });
const touch = (id: string, Message: string, version?: number): StoreChange => ({
  op: 'update',
  table: 'nodes',
  id,
  set: { Status: { State: 'ready', Addr: '', Message } },
  ...(version !== undefined && { version }),
});

/** A controller of one key that looks at everything. */
const one = (name: string, decide: Controller['decide']): Controller => ({
  name,
  marks: () => ['key'],
  all: () => ['key'],
  decide,
});

function world(controllers: readonly Controller[], store: Store = aStore({ nodes: [aNode({ id: 'n' })] })) {
  const clock = new ManualClock(builtAt);
  const proposed: (readonly StoreChange[])[] = [];
  /** What the next proposals are answered with, instead of being applied. */
  const answers: (ErrorCode | undefined)[] = [];
  const random = seededRandom(1);
  const loop = new ControlLoop(
    { controllers },
    {
      store,
      proposer: {
        propose: async (changes) => {
          proposed.push(changes);
          const answer = answers.shift();
          if (answer) throw new ClusterError(answer, 'refused');
          const outcome = store.apply(store.index + 1, { now: clock.now(), changes });
          if (!outcome.ok) throw new ClusterError(outcome.code, outcome.message);
          return { index: store.index };
        },
      },
      clock,
      newId: newIdFrom(random),
      random,
      log: silentLogger,
    },
  );
  const abort = new AbortController();
  return { loop, store, clock, proposed, answers, abort };
}

const message = (store: Store, id = 'n') => store.view().get('nodes', id)?.Status.Message;

describe('the loop', () => {
  it('lets later controllers see what earlier ones decided, and proposes it at once', async () => {
    const first = one('first', (view) => ({ changes: view.get('nodes', 'a') ? [] : [create('a')] }));
    const second = one('second', (view) => ({
      changes: view.get('nodes', 'a')?.Status.Message === undefined ? [touch('a', 'seen')] : [],
    }));
    const { loop, store, proposed, abort } = world([first, second]);
    const done = loop.run(abort.signal);
    await settle();
    abort.abort();
    await done;
    expect(proposed).toHaveLength(1);
    expect(message(store, 'a')).toBe('seen');
  });

  it('dates what is decided in a pass by the time of the pass', async () => {
    const dates: (string | undefined)[] = [];
    const first = one('first', (view, _, env) => {
      if (env.now === builtAt) return { changes: [], wakeAt: builtAt + 3_600_000 };
      return { changes: view.get('nodes', 'a') ? [] : [create('a')] };
    });
    const second = one('second', (view) => {
      dates.push(view.get('nodes', 'a')?.CreatedAt);
      return { changes: [] };
    });
    const { loop, clock, abort } = world([first, second]);
    const done = loop.run(abort.signal);
    await settle();
    await clock.advance(3_600_000);
    expect(dates.slice(0, 2)).toEqual([undefined, toTimestamp(builtAt + 3_600_000)]);
    abort.abort();
    await done;
  });

  it('asks an earlier controller again when a later one has changed something', async () => {
    const first = one('first', (view) => ({
      changes: view.get('nodes', 'n')?.Status.Message === 'second' ? [touch('n', 'first')] : [],
    }));
    const second = one('second', (view) => ({
      changes: view.get('nodes', 'n')?.Status.Message === undefined ? [touch('n', 'second')] : [],
    }));
    const { loop, store, proposed, abort } = world([first, second]);
    const done = loop.run(abort.signal);
    await settle();
    abort.abort();
    await done;
    expect(proposed).toHaveLength(1);
    expect(message(store)).toBe('first');
  });

  it('wakes at the time that a decision asked for, and forgets it when a later one does not', async () => {
    const asked: number[] = [];
    const controller = one('timer', (_, __, env): Decision => {
      asked.push(env.now - builtAt);
      return asked.length === 1 ? { changes: [], wakeAt: builtAt + 1_000 } : { changes: [] };
    });
    const { loop, clock, abort } = world([controller]);
    const done = loop.run(abort.signal);
    await settle();
    await clock.advance(999);
    expect(asked).toEqual([0]);
    await clock.advance(100_000);
    expect(asked).toEqual([0, 1_000]);
    abort.abort();
    await done;
  });

  it('is quiet when nothing changes', async () => {
    let asked = 0;
    const controller = one('quiet', () => {
      asked++;
      return { changes: [] };
    });
    const { loop, store, clock, proposed, abort } = world([controller]);
    const done = loop.run(abort.signal);
    await settle();
    await clock.advance(60_000);
    expect([asked, proposed.length]).toEqual([1, 0]);
    apply(store, [touch('n', 'x')]);
    apply(store, [touch('n', 'y')]);
    await settle();
    expect(asked).toBe(2);
    abort.abort();
    await done;
  });

  it('decides anew when it lost a race', async () => {
    const controller = one('racer', (view) => {
      const node = view.get('nodes', 'n');
      return { changes: node?.Status.Message === 'won' ? [] : [touch('n', 'won', node?.Version.Index)] };
    });
    const { loop, store, answers, proposed, abort } = world([controller]);
    answers.push('out-of-sequence', 'not-found');
    const done = loop.run(abort.signal);
    await settle();
    expect(proposed).toHaveLength(3);
    expect(message(store)).toBe('won');
    expect(loop.stats.retries).toBe(2);
    abort.abort();
    await done;
  });

  it('backs off when proposals keep failing', async () => {
    const controller = one('unlucky', (view) => ({
      changes: view.get('nodes', 'n')?.Status.Message === 'won' ? [] : [touch('n', 'won')],
    }));
    const { loop, store, clock, answers, proposed, abort } = world([controller]);
    answers.push('unavailable', 'unavailable', 'unavailable', 'unavailable');
    const done = loop.run(abort.signal);
    await settle();
    expect(proposed).toHaveLength(1);
    await clock.advance(20);
    expect(proposed).toHaveLength(2);
    await clock.advance(40 + 80 + 160);
    expect(message(store)).toBe('won');
    abort.abort();
    await done;
  });

  it('ends when this manager no longer leads', async () => {
    const { loop, answers, abort } = world([one('any', () => ({ changes: [touch('n', 'x')] }))]);
    answers.push('no-leader');
    await expect(loop.run(abort.signal)).resolves.toBeUndefined();
  });

  it('ends with the controller and key of one that throws, after proposing what the others decided', async () => {
    const bad: Controller = {
      ...one('bad', () => {
        throw new Error('cannot read it');
      }),
      all: () => ['this', 'that'],
    };
    const good = one('good', (view) => ({
      changes: view.get('nodes', 'n')?.Status.Message === undefined ? [touch('n', 'kept')] : [],
    }));
    const { loop, store, abort } = world([bad, good]);
    await expect(loop.run(abort.signal)).rejects.toThrow("controller bad failed on 'this': cannot read it");
    expect(message(store)).toBe('kept');
    expect(loop.stats.failures).toBe(3);
  });

  it('ends with the controller and key of a change that the state cannot take', async () => {
    const { loop, abort } = world([one('bad', () => ({ changes: [touch('nobody', 'x')] }))]);
    await expect(loop.run(abort.signal)).rejects.toThrow("controller bad failed on 'key': node nobody not found");
  });

  it('looks at everything again after a snapshot, and in each term', async () => {
    let asked = 0;
    const controller = one('any', () => {
      asked++;
      return { changes: [] };
    });
    const { loop, store, abort } = world([controller]);
    const done = loop.run(abort.signal);
    await settle();
    await store.restore(store.snapshot()());
    await settle();
    expect(asked).toBe(2);
    abort.abort();
    await done;
    const next = new AbortController();
    const again = loop.run(next.signal);
    await settle();
    expect(asked).toBe(3);
    next.abort();
    await again;
  });

  it('leaves the event loop to others while it decides on thousands of tasks', async () => {
    const nodes = Array.from({ length: 50 }, (_, i) => aNode({ id: `n${i}`, cpus: 1000 }));
    const store = aStore({ nodes, services: [aService({ id: 's', replicas: 3_000 })] });
    let proposals = 0;
    const random = seededRandom(1);
    const loop = new ControlLoop(
      {
        controllers: standardControllers(
          scheduler(),
          () => '',
          () => '',
        ),
      },
      {
        store,
        proposer: {
          propose: async (changes) => {
            proposals++;
            apply(store, changes, realClock.now());
            return { index: store.index };
          },
        },
        clock: realClock,
        newId: newIdFrom(random),
        random,
        log: silentLogger,
      },
    );
    const abort = new AbortController();
    const done = loop.run(abort.signal);
    let turns = 0;
    const assigned = () =>
      store
        .view()
        .tasksOfService('s')
        .filter((task) => task.Status.State === 'assigned').length;
    while (assigned() < 3_000 && turns < 100_000) {
      await new Promise((resolve) => setImmediate(resolve));
      turns++;
    }
    abort.abort();
    await done;
    expect(assigned()).toBe(3_000);
    // Not in one piece: many turns of the event loop came between.
    expect(turns).toBeGreaterThan(20);
    expect(proposals).toBeLessThan(60);
  }, 20_000);
});

describe('batches', () => {
  const controller = one('c', () => ({ changes: [] }));
  const atom = (key: string, count: number, text = '') => ({
    controller,
    key,
    changes: Array.from({ length: count }, (_, i) => touch(`${key}${i}`, text)),
  });
  const sizes = (...args: Parameters<typeof batchesOf>) =>
    batchesOf(...args).map((batch) => batch.atoms.map(({ key }) => key).join(''));

  it('hold whole decisions, in their order, and as many as fit', () => {
    const limits = { changes: 10, bytes: 1e6 };
    expect(sizes([atom('a', 4), atom('b', 6), atom('c', 1), atom('d', 9), atom('e', 12)], limits)).toEqual([
      'ab',
      'cd',
      'e',
    ]);
    expect(sizes([], limits)).toEqual([]);
  });

  it('count bytes', () => {
    const limits = { changes: 1_000, bytes: 10_000 };
    expect(
      sizes(
        [atom('a', 1, 'x'.repeat(6_000)), atom('b', 1, 'x'.repeat(3_000)), atom('c', 1, 'x'.repeat(3_000))],
        limits,
      ),
    ).toEqual(['ab', 'c']);
  });

  it('are never larger than the log takes, whatever the spec', () => {
    const env = Array.from({ length: 200 }, (_, i) => `VARIABLE_${i}=${'x'.repeat(500)}`);
    const service = aService({ id: 's', replicas: 300, container: { Image: 'web:1', Env: env } });
    const { store } = world([], aStore({ services: [service], tasks: [aTask({ service, slot: 9 })] }));
    const replicated = standardControllers(
      scheduler(),
      () => '',
      () => '',
    ).find(({ name }) => name === 'replicated');
    const random = seededRandom(2);
    const changes = replicated?.decide(store.view(), 's', { now: 0, newId: newIdFrom(random), random }).changes ?? [];
    expect(changes.length).toBeGreaterThan(1);
    expect(Buffer.byteLength(JSON.stringify(changes))).toBeLessThan(1.5 * 1024 * 1024);
  });
});
