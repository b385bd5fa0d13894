import { mkdtempSync, rmSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterError, ManualClock, silentLogger } from '@swarmctl/shared/kit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeEngine, Raw } from '../../../../../test/kit/docker-host.ts';
import { aNode, aService, aStore, aTask } from '../../../../../test/kit/index.ts';
import { ImageGiver, meant } from './image-giver.ts';

// Images that managers give: m1 and m2 are managers, n1 and n2 are not.

let folder: string;
const toClose: FakeEngine[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'swarm-images-'));
});
afterEach(() => {
  for (const engine of toClose.splice(0)) engine.close();
  rmSync(folder, { recursive: true });
});

/** What an engine has of `r:1`, if anything; it loads what it is given. */
async function engine(name: string, Id?: string, loads = Id): Promise<FakeEngine> {
  let has = Id;
  const made = new FakeEngine(folder, name, [], {
    'GET /images/r:1/json': (response: ServerResponse) => {
      response.statusCode = has === undefined ? 404 : 200;
      response.end(JSON.stringify({ Id: has, Created: '2026-01-01T00:00:00Z' }));
    },
    'GET /images/get': new Raw(`archive of ${name}`),
    'POST /images/load': (response: ServerResponse) => {
      has = loads;
      response.end('{"stream":"Loaded"}');
    },
    'DELETE /images/r:1': [],
  });
  await made.listen();
  toClose.push(made);
  return made;
}

function giver(engines: Readonly<Record<string, FakeEngine | 'away'>>, image = 'r:1') {
  const nodes = Object.keys(engines).map((id, at) => aNode({ id, hostname: id, ...(id < 'n' && { raftId: at + 1 }) }));
  const service = aService({ image });
  const task = (id: string, node: string, desired: 'running' | 'shutdown' = 'running') =>
    aTask({ id, node, service, desired, state: 'preparing' });
  const tasks = [task('t1', 'n1'), task('t2', 'n1'), task('over', 'n1', 'shutdown'), task('other', 'n2')];
  const store = aStore({ nodes, services: [service], tasks });
  const openEngine = async (nodeId: string) => {
    const at = engines[nodeId];
    if (!at || at === 'away') throw new ClusterError('unavailable', 'the node is away');
    return connect(at.socketPath);
  };
  return new ImageGiver({ view: () => store.view(), openEngine, clock: new ManualClock(), log: silentLogger });
}

const askedOf = ({ asked }: FakeEngine) => asked.map(({ method, url, body }) => `${method} ${url} ${body}`.trim());

describe('an image', () => {
  test('is given by a manager, once, however many tasks ask for it', async () => {
    const [m1, n1, n2] = [await engine('m1', '1'), await engine('n1', undefined, '1'), await engine('n2', '2')];
    const images = giver({ m1, n1, n2 });
    await Promise.all([images.give('n1', 't1'), images.give('n1', 't2')]);
    expect(askedOf(m1)).toEqual(['GET /images/r:1/json', 'GET /images/get?names=r%3A1']);
    expect(askedOf(n1)).toEqual(['POST /images/load archive of m1', 'GET /images/r:1/json']);
    expect(askedOf(n2)).toEqual([]);
  });

  test('that comes as another than was meant is removed again', async () => {
    const [m1, n1] = [await engine('m1', '1'), await engine('n1', undefined, '2')];
    await expect(giver({ m1, n1 }).give('n1', 't1')).rejects.toThrow("the cluster's is 1, and what came is 2");
    expect(askedOf(n1).at(-1)).toBe('DELETE /images/r:1');
  });

  test('that no manager has is none, whatever workers have; one that does not say so is named', async () => {
    const [m1, n1, n2] = [await engine('m1'), await engine('n1'), await engine('n2', '2')];
    await expect(giver({ m1, n1, n2 }).give('n1', 't1')).rejects.toThrow(/^$/);
    await expect(giver({ m1, m2: 'away', n1, n2 }).give('n1', 't1')).rejects.toThrow(
      'managers that may have it do not say so: m2: the node is away',
    );
    expect(askedOf(n2)).toEqual([]);
  });

  test.each([
    ["of another node's task", 'other', 'r:1', 'it is not to run this task'],
    ['of a task that is to end', 'over', 'r:1', 'it is not to run this task'],
    ['of no task', 'nosuch', 'r:1', 'it is not to run this task'],
    ['of a digest, which its registry alone gives', 't1', `r:1@sha256:${'1'.repeat(64)}`, /^$/],
  ])('%s is not given', async (_, task, image, message) => {
    const [m1, n1] = [await engine('m1', '1'), await engine('n1')];
    await expect(giver({ m1, n1 }, image).give('n1', task)).rejects.toThrow(message);
    expect([m1, n1].flatMap(askedOf)).toEqual([]);
  });
});

test('where managers differ, a name means what most have, then what was built last', () => {
  const held = (Id: string, Created: string) => ({ node: aNode(), Id, Created });
  const [old, next, last] = [held('1', '2026-01-01'), held('2', '2026-01-02'), held('3', '2026-01-03')];
  expect(meant([old, next, old])).toBe(old);
  expect(meant([old, last, next])).toBe(last);
  expect(meant([])).toBeUndefined();
});
