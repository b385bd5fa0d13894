import { ManualClock } from '@swarmctl/shared/kit';
import type { Node, Service, Task } from '@swarmctl/shared/model';
import { expect, test } from 'vitest';
import { aNode, aService, aTask } from '../../../../test/kit/index.ts';
import type { Client } from '../client.ts';
import { waitForServices } from './wait.ts';

// A cluster that answers what the test has put into it.

function world() {
  const clock = new ManualClock();
  const state: { services: Service[]; tasks: Task[]; nodes: Node[] } = {
    services: [],
    tasks: [],
    nodes: [aNode({ id: 'n1' })],
  };
  const get = async (path: string): Promise<unknown> =>
    path === '/services' ? state.services : path === '/tasks' ? state.tasks : state.nodes;
  const client = { get } as unknown as Client;
  let printed = '';
  const terminal = { isTty: false, columns: 80, write: (text: string) => (printed += text) };
  const signal = new AbortController().signal;
  return { clock, state, printed: () => printed, modules: { client, clock, terminal, signal } };
}

const service = (name: string) => aService({ id: name, name, replicas: 1 });
const run = (one: Service) =>
  aTask({ id: `${one.ID}1`, service: one, slot: 1, node: 'n1', state: 'running', desired: 'running' });

test('each is followed to its end, though another has failed', async () => {
  const { clock, state, printed, modules } = world();
  const [web, db] = [service('web'), service('db')];
  state.services = [web, { ...db, UpdateStatus: { State: 'paused', Message: 'it crashed' } }];
  const waiting = waitForServices('s', ['web', 'db', 'gone'], modules);
  await clock.advance(200);
  state.tasks = [run(web)];
  await clock.advance(6_000);
  expect([...(await waiting)]).toEqual([
    ['db', 'service update paused: it crashed'],
    ['gone', 'it was removed'],
    ['web', undefined],
  ]);
  expect(printed().trim().split('\n')).toEqual([
    'web: 0 out of 1 tasks, under way',
    'db: 0 out of 1 tasks, failed: service update paused: it crashed',
    'web: 1 out of 1 tasks, verifying that tasks are stable',
    'web: 1 out of 1 tasks, converged',
  ]);
});
