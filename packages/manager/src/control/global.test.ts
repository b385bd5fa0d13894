import type { Node } from '@swarmctl/shared/model';
import { describe, expect, it } from 'vitest';
import { aNode, aService, aStore, aTask, type ServiceWords, type TaskWords } from '../../../../test/kit/index.ts';
import { apply, decide, describeTasks } from '../../../../test/sim/control/decide.ts';
import { globalOrchestrator } from './global.ts';

const controller = globalOrchestrator();

function after(nodes: readonly Node[], words: ServiceWords = {}, tasks: readonly TaskWords[] = []): string[] {
  const service = aService({ id: 's', global: true, ...words });
  const store = aStore({ nodes, services: [service], tasks: tasks.map((task) => aTask({ service, ...task })) });
  apply(store, decide(controller, store, 's').changes);
  return describeTasks(store.view().tasksOfService('s'));
}

const fresh = (node: string) => `global ${node} web:1 new/running`;

describe('nodes get a copy', () => {
  it.each<[string, Node, ServiceWords, boolean]>([
    ['a ready node', aNode({ id: 'a' }), {}, true],
    ['a manager', aNode({ id: 'a', role: 'manager' }), {}, true],
    ['a paused node', aNode({ id: 'a', availability: 'pause' }), {}, false],
    ['a drained node', aNode({ id: 'a', availability: 'drain' }), {}, false],
    ['a node that is down', aNode({ id: 'a', state: 'down' }), {}, false],
    ['a node that has not reported', aNode({ id: 'a', described: false }), {}, false],
    [
      'a node that meets the constraints',
      aNode({ id: 'a', labels: { disk: 'ssd' } }),
      { constraints: ['node.labels.disk==ssd'] },
      true,
    ],
    ['a node that does not', aNode({ id: 'a' }), { constraints: ['node.labels.disk==ssd'] }, false],
    ['a node for a constraint that nobody knows', aNode({ id: 'a' }), { constraints: ['node.bogus==1'] }, false],
    [
      'the platform by its other name',
      aNode({ id: 'a', arch: 'x86_64' }),
      { platforms: [{ OS: 'linux', Architecture: 'amd64' }] },
      true,
    ],
    [
      'another platform',
      aNode({ id: 'a', arch: 'aarch64' }),
      { platforms: [{ OS: 'linux', Architecture: 'amd64' }] },
      false,
    ],
    [
      'a node without the runtime',
      aNode({ id: 'a', runtimes: ['docker'] }),
      { labels: { 'swarmctl.runtime': 'process' } },
      false,
    ],
  ])('%s: %s', (_, node, words, expected) => {
    expect(after([node], words)).toEqual(expected ? [fresh('a')] : []);
  });

  it('one each, without a slot', () => {
    expect(after([aNode({ id: 'a' }), aNode({ id: 'b' })])).toEqual([fresh('a'), fresh('b')]);
  });

  it('none where the last one must not be followed, one where it just stopped', () => {
    const stopped = { state: 'complete', desired: 'shutdown' } as const;
    const nodes = [aNode({ id: 'a' }), aNode({ id: 'b' })];
    const lines = after(nodes, {}, [
      { node: 'a', ...stopped, set: { Final: true } },
      { node: 'b', ...stopped },
    ]);
    expect(lines).toEqual(['global a web:1 complete/shutdown', 'global b web:1 complete/shutdown', fresh('b')]);
  });

  it('waiting until the last one has stopped', () => {
    expect(after([aNode({ id: 'a' })], {}, [{ node: 'a', desired: 'shutdown' }])).toContain('global a web:1 new/ready');
  });
});

describe('nodes lose their copy', () => {
  it.each<[string, Node[], ServiceWords, string]>([
    ['drained', [aNode({ id: 'a', availability: 'drain' })], {}, 'running/shutdown'],
    ['removed', [], {}, 'running/shutdown'],
    ['constraints no longer met', [aNode({ id: 'a' })], { constraints: ['node.hostname!=a'] }, 'running/shutdown'],
    ['paused: keeps it', [aNode({ id: 'a', availability: 'pause' })], {}, 'running/running'],
    ['down: keeps it, as nobody else can have it', [aNode({ id: 'a', state: 'down' })], {}, 'running/running'],
  ])('%s', (_, nodes, words, states) => {
    expect(after(nodes, words, [{ node: 'a' }])).toEqual([`global a web:1 ${states}`]);
  });
});

it('is asked when nodes change in what matters', () => {
  const store = aStore({ services: [aService({ id: 'g', global: true }), aService({ id: 'r' })] });
  const node = aNode({ id: 'a' });
  const event = { table: 'nodes', op: 'update', id: 'a', index: 2, before: node } as const;
  expect(controller.marks({ ...event, after: { ...node, RestartGraceUntil: 1 } }, store.view())).toEqual([]);
  const down = { ...node, Status: { ...node.Status, State: 'down' as const } };
  expect(controller.marks({ ...event, after: down }, store.view())).toEqual(['g']);
  expect(decide(controller, store, 'r').changes).toEqual([]);
});
