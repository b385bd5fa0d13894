import { expect, test } from 'vitest';
import type { NodeHandle } from '../../kit/cluster.ts';
import type { Scene } from './scene.ts';

// Rolling updates and rollbacks, with clients at work.

export function updates(scene: Scene): void {
  const { manager, create, remove, idOf } = scene;

  test.each(['stop-first', 'start-first'])(
    'a %s update of six replicas under load, through a node without one, drops no request',
    async (order) => {
      const edge = scene.cluster.workers[1] as NodeHandle;
      await create(
        ...scene.world.web({
          name: 'roll',
          replicas: 6,
          port: 8082,
          flags: [
            '--constraint',
            `node.hostname!=${edge.name}`,
            '--update-order',
            order,
            '--update-parallelism',
            '2',
            '--update-monitor',
            '1s',
          ],
        }),
      );
      await idOf('roll');
      const load = scene.world.load(edge.addr, 8082, { rate: 50 });
      await new Promise((resolve) => setTimeout(resolve, 500));
      await create('service', 'update', '--quiet', ...scene.world.toVersion('2'), 'roll');
      await new Promise((resolve) => setTimeout(resolve, 500));
      const result = await load.stop();
      expect(result.failures).toEqual([]);
      expect(result.answers).toMatchObject({ 'version 1': expect.any(Number), 'version 2': expect.any(Number) });
      expect((await scene.cluster.service('roll')).UpdateStatus?.State).toBe('completed');
      await remove('roll');
    },
    120_000,
  );

  /** Long enough for the first failure to come before the second task's turn. */
  const slowly = ['--update-monitor', '3s', '--update-delay', '2s'];

  test('an update to what does not start pauses', async () => {
    await create(
      ...scene.world.web({
        name: 'pauses',
        replicas: 2,
        flags: ['--rollback-monitor', '500ms', '--restart-delay', '200ms'],
      }),
    );
    await idOf('pauses');
    const { code, err } = await scene.cluster.tryCtl(
      await manager(),
      'service',
      'update',
      '--quiet',
      ...slowly,
      ...scene.world.toCrash(),
      'pauses',
    );
    expect(err).toMatch(/update paused due to failure or early termination of task/);
    expect(code).toBe(1);
    const left = (await scene.cluster.tasks('pauses')).map(
      (task) => `${task.Slot} ${task.DesiredState} ${task.Status.State} ${task.Status.Err ?? ''}`,
    );
    expect(left.sort()).toContainEqual(expect.stringMatching(/^\d running running/));
    // Going back is one command.
    await create('service', 'rollback', '--quiet', 'pauses');
    await scene.cluster.eventually('both run again', async () => (await scene.cluster.running('pauses')).length === 2);
    await remove('pauses');
  }, 60_000);

  test('an update to what does not start rolls back where it was told to', async () => {
    await create(
      ...scene.world.web({
        name: 'rolls',
        replicas: 2,
        flags: ['--update-failure-action', 'rollback', '--rollback-monitor', '1s', '--restart-delay', '200ms'],
      }),
    );
    await idOf('rolls');
    const before = (await scene.cluster.service('rolls')).Spec.TaskTemplate;
    const { code, err } = await scene.cluster.tryCtl(
      await manager(),
      'service',
      'update',
      '--quiet',
      ...slowly,
      ...scene.world.toCrash(),
      'rolls',
    );
    expect(err).toMatch(/rolled back|rollback/);
    expect(code).toBe(1);
    await scene.cluster.eventually('the rollback is complete', async () => {
      const service = await scene.cluster.service('rolls');
      return (
        service.UpdateStatus?.State === 'rollback_completed' && (await scene.cluster.running('rolls')).length === 2
      );
    });
    expect((await scene.cluster.service('rolls')).Spec.TaskTemplate).toEqual(before);
    await remove('rolls');
  }, 60_000);
}
