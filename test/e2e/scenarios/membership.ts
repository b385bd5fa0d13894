import { renameSync } from 'node:fs';
import type { Node, Task } from '@swarmctl/shared/model';
import { expect, test } from 'vitest';
import { ApiError } from '../../../packages/cli/src/client.ts';
import type { NodeHandle } from '../../kit/cluster.ts';
import type { Scene } from './scene.ts';

// Nodes that join, leave and change their role.

export function membership(scene: Scene): void {
  const { manager, create, idOf, containers } = scene;

  test('a worker is promoted and demoted in place', async () => {
    const worker = scene.cluster.workers[1] as NodeHandle;
    await scene.cluster.ctl(await manager(), 'node', 'promote', worker.name);
    await scene.cluster.eventually(
      'it serves as a manager',
      async () => (await worker.api.get<Node[]>('/nodes')).length === 5,
    );
    await scene.cluster.ctl(await manager(), 'node', 'demote', worker.name);
    await scene.cluster.eventually('it is a worker again', async () => {
      const error = await worker.api.get('/nodes').catch((one) => one);
      return error instanceof ApiError && error.status === 503;
    });
    await scene.cluster.eventually('the cluster says so too', async () => {
      const node = (await (await manager()).api.get<Node[]>('/nodes')).find(
        (one) => one.Description?.Hostname === worker.name,
      );
      return node?.Spec.Role === 'worker' && !node.ManagerStatus && node.Status.State === 'ready';
    });
  }, 60_000);

  test('managers that are demoted and promoted again at once are managers in the end', async () => {
    const [first, ...others] = scene.cluster.managers as [NodeHandle, ...NodeHandle[]];
    for (const node of [...others, ...others]) {
      await scene.cluster.ctl(first, 'node', 'demote', node.name);
      await scene.cluster.ctl(first, 'node', 'promote', node.name);
    }
    await scene.cluster.eventually('each of the three says that all three are there', async () => {
      const seen = scene.cluster.managers.map(({ api }) => api.get<{ ManagerStatus?: object }[]>('/nodes'));
      return (await Promise.all(seen)).every((nodes) => nodes.filter((node) => node.ManagerStatus).length === 3);
    });
  }, 60_000);

  test('a wrong or rotated token is refused; a node that left joins again', async () => {
    const worker = scene.cluster.workers[1] as NodeHandle;
    const [first] = scene.cluster.managers as [NodeHandle];
    const old = (await scene.cluster.ctl(first, 'swarm', 'join-token', '-q', 'worker')).trim();
    await scene.cluster.ctl(worker, 'swarm', 'leave');
    await scene.cluster.eventually('it is down', async () =>
      (await first.api.get<Node[]>('/nodes')).some(
        (node) => node.Description?.Hostname === worker.name && node.Status.State === 'down',
      ),
    );
    await scene.cluster.ctl(first, 'node', 'rm', worker.name);
    await scene.cluster.ctl(first, 'swarm', 'join-token', '-q', '--rotate', 'worker');
    const attempt = (token: string) =>
      scene.cluster.tryCtl(
        worker,
        'swarm',
        'join',
        '--token',
        token,
        '--advertise-addr',
        worker.addr,
        `${first.addr}:2377`,
      );
    expect((await attempt(old)).err).toMatch(/invalid join token/);
    const impostor = old.replace(/^(SWMTKN-1-)\w/, (_, head: string) => `${head}${old[9] === '0' ? '1' : '0'}`);
    expect((await attempt(impostor)).err).toMatch(/remote CA does not match fingerprint/);
    expect((await attempt('nonsense')).err).toMatch(/invalid join token/);
    const fresh = (await scene.cluster.ctl(first, 'swarm', 'join-token', '-q', 'worker')).trim();
    expect(await attempt(fresh)).toMatchObject({
      code: 0,
      out: expect.stringContaining('joined a swarm as a worker'),
    });
    await scene.cluster.eventually('it is ready', async () =>
      (await first.api.get<Node[]>('/nodes')).some(
        (node) => node.Description?.Hostname === worker.name && node.Status.State === 'ready',
      ),
    );
  }, 60_000);

  // Once is enough: the scene.runtime has no part in it.
  if (scene.runtime !== 'process') return;
  test('of managers whose majority is lost, one that is forced goes on alone', async () => {
    const [first, second, third] = scene.cluster.managers as [NodeHandle, NodeHandle, NodeHandle];
    await create(
      ...scene.world.web({ name: 'stays', replicas: 2, port: 8095, flags: ['--constraint', 'node.role==worker'] }),
    );
    await idOf('stays');
    const before = containers(await scene.cluster.running('stays'));
    const nodesOf = async (node: NodeHandle) => {
      const nodes = await node.api.get<Node[]>('/nodes');
      return (name: string) => nodes.find((one) => one.Description?.Hostname === name);
    };
    for (const node of [first, second]) {
      await scene.cluster.kill(node);
      renameSync(node.folder, `${node.folder}-lost`);
    }
    await scene.cluster.ctl(third, 'swarm', 'init', '--force-new-cluster');
    expect(containers(await scene.cluster.running('stays'))).toEqual(before);
    await scene.cluster.startNode(first);
    const token = (await scene.cluster.ctl(third, 'swarm', 'join-token', '-q', 'manager')).trim();
    await scene.cluster.ctl(
      first,
      'swarm',
      'join',
      '--token',
      token,
      '--advertise-addr',
      first.addr,
      `${third.addr}:2377`,
    );
    expect((await nodesOf(first))(first.name)).toBeDefined();
    // It was a member of what was lost.
    renameSync(`${second.folder}-lost`, second.folder);
    await scene.cluster.startNode(second);
    await scene.cluster.eventually('it is a worker', async () => {
      const error = await second.api.get('/nodes').catch((one) => one);
      const node = (await nodesOf(third))(second.name);
      return error instanceof ApiError && error.status === 503 && node?.Status.State === 'ready';
    });
    expect((await nodesOf(third))(second.name)).toMatchObject({ Spec: { Role: 'worker' } });
    const after = (await third.api.get<Task[]>('/tasks')).filter((task) =>
      before.some((one) => one.startsWith(task.ID)),
    );
    expect(containers(after)).toEqual(before);
    expect((await scene.world.answering(third.addr, 8095, 10)).size).toBe(2);
    await scene.cluster.ctl(third, 'service', 'rm', 'stays');
  }, 90_000);
}
