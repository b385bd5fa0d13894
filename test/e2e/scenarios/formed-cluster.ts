import type { Node } from '@swarmctl/shared/model';
import { expect, test } from 'vitest';
import type { NodeHandle } from '../../kit/cluster.ts';
import type { Scene } from './scene.ts';

// What a cluster of five does while nothing is wrong.

export function aFormedCluster(scene: Scene): void {
  const { manager, create, remove, idOf, nodeId } = scene;

  test('has three managers, one of which leads, and two workers', async () => {
    const nodes = await (await manager()).api.get<
      (Node & { ManagerStatus?: { Leader?: boolean; Reachability: string } })[]
    >('/nodes');
    expect(nodes.map((node) => node.Spec.Role).sort()).toEqual(['manager', 'manager', 'manager', 'worker', 'worker']);
    expect(nodes.filter((node) => node.ManagerStatus?.Leader)).toHaveLength(1);
    await scene.cluster.eventually(
      'three voters',
      async () =>
        (await (await manager()).api.get<typeof nodes>('/nodes')).filter(
          (node) => node.ManagerStatus?.Reachability === 'reachable',
        ).length === 3,
    );
  });

  test('runs a service whose port answers on every node, round-robin over its replicas', async () => {
    await create(...scene.world.web({ name: 'web', replicas: 3, port: 8080 }));
    const id = await idOf('web');
    const tasks = await scene.cluster.running('web');
    expect(tasks).toHaveLength(3);
    expect(new Set(tasks.map((task) => task.Slot))).toEqual(new Set([1, 2, 3]));
    for (const node of scene.cluster.nodes) {
      const answers = await scene.world.answering(node.addr, 8080, 30);
      expect(new Set(answers.keys())).toEqual(new Set(tasks.map((task) => task.ID)));
      for (const count of answers.values()) expect(count).toBeGreaterThanOrEqual(8);
    }
    expect(id).toMatch(/^[0-9a-z]{25}$/);
  });

  test('shows logs of every task', async () => {
    const out = await scene.cluster.ctl(await manager(), 'service', 'logs', 'web');
    for (const slot of [1, 2, 3])
      expect(out).toMatch(new RegExp(`^web\\.${slot}\\.\\w+@\\w+ +\\| version 1 serves on`, 'm'));
  });

  test('scales up and down', async () => {
    await create('service', 'scale', '-d', 'web=5');
    await scene.cluster.eventually('five run', async () => (await scene.cluster.running('web')).length === 5);
    await create('service', 'scale', '-d', 'web=2');
    await scene.cluster.eventually('two are left', async () => {
      const tasks = await scene.cluster.tasks('web');
      return (
        tasks.filter((task) => task.Status.State === 'running').length === 2 &&
        (await scene.cluster.running('web'))
          .map((task) => task.Slot)
          .sort()
          .join() === '1,2'
      );
    });
    await remove('web');
    await expect(scene.world.get(scene.cluster.nodes[0]?.addr ?? '', 8080)).rejects.toThrow(/ECONNREFUSED|ECONNRESET/);
  });

  test('runs a global service once on each node, with a host-mode port', async () => {
    const flags = ['--mode', 'global', '--publish', 'mode=host,target=8080,published=8090'];
    // Five nodes share this machine: a host port bound on every address would meet itself, so one node is asked only.
    await create(
      ...scene.world
        .web({ name: 'each', flags: ['--constraint', 'node.hostname==w1', ...flags] })
        .filter((word, i, all) => word !== '--replicas' && all[i - 1] !== '--replicas'),
    );
    await idOf('each');
    const tasks = await scene.cluster.running('each');
    expect(tasks.map((task) => task.NodeID)).toEqual([await nodeId(scene.cluster.workers[0] as NodeHandle)]);
    expect(tasks[0]?.Status.PortStatus?.Ports).toMatchObject([{ PublishedPort: 8090, TargetPort: 8080 }]);
    if (scene.runtime === 'docker')
      expect(await scene.world.get(scene.cluster.workers[0]?.addr ?? '', 8090)).toBe('version 1\n');
    await remove('each');
  });

  test('runs a job to its completions, and again when it is told to', async () => {
    const work = scene.runtime === 'docker' ? ['bb:1', 'true'] : ['--runtime', 'process', 'process', '/bin/true'];
    await create('service', 'create', '--name', 'job', '--mode', 'replicated-job', '--replicas', '3', ...work);
    const row = async () =>
      (await create('service', 'ls', '--filter', 'name=job', '--format', '{{.Mode}} {{.Replicas}}')).trim();
    expect(await row()).toBe('replicated job 0/3 (3/3 completed)');
    const first = await scene.cluster.tasks('job');
    await create('service', 'update', '--force', 'job');
    expect(await row()).toBe('replicated job 0/3 (3/3 completed)');
    const again = await scene.cluster.tasks('job');
    expect(again.map((task) => task.JobIteration)).toContainEqual({ Index: 1 });
    expect(first.some((task) => again.some(({ ID, Status }) => ID === task.ID && Status.State === 'running'))).toBe(
      false,
    );
    await remove('job');
  });
}
