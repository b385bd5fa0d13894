import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Node, Service } from '@swarmctl/shared/model';
import { beforeAll, expect, test } from 'vitest';
import { ApiError } from '../../../packages/cli/src/client.ts';
import { type NodeHandle, runProgram } from '../../kit/cluster.ts';
import { type Scene, swarmctlBin } from './scene.ts';

// What ends without asking: tasks, managers, nodes, leaders.

export function failures(scene: Scene): void {
  const { manager, create, remove, idOf, nodeId, containers, doubles } = scene;

  beforeAll(async () => {
    await create(...scene.world.web({ name: 'keep', replicas: 5, port: 8083 }));
    await idOf('keep');
  }, 60_000);

  const serves = async (except: readonly NodeHandle[] = []) => {
    for (const node of scene.cluster.nodes.filter((one) => !except.includes(one)))
      expect(await scene.world.get(node.addr, 8083)).toBe('version 1\n');
  };

  test('kill -9 of the leader: no acknowledged write is lost, the next succeeds by itself, tasks are undisturbed', async () => {
    const leader = await scene.cluster.leader();
    const follower = scene.cluster.managers.find((node) => node !== leader) as NodeHandle;
    const before = containers((await scene.cluster.running('keep')).filter((task) => task.NodeID));
    const acknowledged: string[] = [];
    let writing = true;
    const writer = (async () => {
      for (let i = 0; writing; i++) {
        const Name = `write-${i}`;
        await follower.api
          .post('/services/create', {
            Name,
            Mode: { Replicated: { Replicas: 0 } },
            TaskTemplate: { ContainerSpec: { Image: 'web:1' } },
          })
          .then(() => acknowledged.push(Name))
          .catch(() => new Promise((resolve) => setTimeout(resolve, 20)));
      }
    })();
    await scene.cluster.eventually('some writes', () => acknowledged.length >= 10);
    await scene.cluster.kill(leader);
    const until = acknowledged.length;
    await scene.cluster.eventually('writes go on', () => acknowledged.length >= until + 10);
    writing = false;
    await writer;
    const there = new Set((await follower.api.get<Service[]>('/services')).map((service) => service.Spec.Name));
    expect(acknowledged.filter((name) => !there.has(name))).toEqual([]);
    await scene.cluster.startNode(leader);
    await scene.cluster.eventually('the old leader is ready again', async () =>
      (await follower.api.get<Node[]>('/nodes')).every((node) => node.Status.State === 'ready'),
    );
    await scene.cluster.eventually('five run', async () => (await scene.cluster.running('keep')).length === 5);
    // Those on the other nodes were not touched.
    const gone = await nodeId(leader);
    const after = new Set(containers(await scene.cluster.running('keep')));
    const others = (await scene.cluster.tasks('keep'))
      .filter((task) => task.NodeID !== gone)
      .map((task) => `${task.ID} ${task.Status.ContainerStatus?.ContainerID}`);
    for (const one of before.filter((line) => others.includes(line))) expect(after).toContain(one);
    expect(await doubles('keep')).toEqual([]);
    for (const name of acknowledged) await follower.api.delete(`/services/${name}`);
  }, 60_000);

  test('kill -9 of a majority: writes are refused with a clear error, tasks still served; back again, it goes on', async () => {
    const [first, second, third] = scene.cluster.managers as [NodeHandle, NodeHandle, NodeHandle];
    await scene.cluster.kill(first);
    await scene.cluster.kill(second);
    const spec = { Name: 'refused', TaskTemplate: { ContainerSpec: { Image: 'web:1' } } };
    await scene.cluster.eventually('the loss is noticed', async () => {
      const error = await third.api.post('/services/create', spec).catch((one) => one);
      return error instanceof ApiError && /does not have a leader/.test(error.message);
    });
    await serves([first, second]);
    await Promise.all([scene.cluster.startNode(first), scene.cluster.startNode(second)]);
    await scene.cluster.leader();
    await scene.cluster.eventually('writes go on', () =>
      third.api
        .post('/services/create', { ...spec, Name: 'goes-on', Mode: { Replicated: { Replicas: 0 } } })
        .then(() => true),
    );
    expect((await third.api.get<Service[]>('/services')).map((one) => one.Spec.Name)).not.toContain('refused');
    await third.api.delete('/services/goes-on');
    await scene.cluster.eventually('five run', async () => (await scene.cluster.running('keep')).length === 5);
    expect(await doubles('keep')).toEqual([]);
  }, 90_000);

  test('kill -9 of all: restarted, everything is there and no container was restarted', async () => {
    await scene.cluster.eventually('five run', async () => (await scene.cluster.running('keep')).length === 5);
    const before = containers(await scene.cluster.running('keep'));
    await Promise.all(scene.cluster.nodes.map((node) => scene.cluster.kill(node)));
    await Promise.all(scene.cluster.nodes.map((node) => scene.cluster.startNode(node)));
    await scene.cluster.leader();
    await scene.cluster.eventually('all nodes ready', async () =>
      (await (await manager()).api.get<Node[]>('/nodes')).every((node) => node.Status.State === 'ready'),
    );
    await scene.cluster.eventually('five run', async () => (await scene.cluster.running('keep')).length === 5);
    expect(containers(await scene.cluster.running('keep'))).toEqual(before);
    await serves();
  }, 90_000);

  test('kill -9 of a worker: its tasks run elsewhere; back again, nothing runs twice in a slot', async () => {
    const worker = scene.cluster.workers[0] as NodeHandle;
    const id = await nodeId(worker);
    await create('service', 'scale', '-d', 'keep=8');
    await scene.cluster.eventually('eight run, some there', async () => {
      const running = await scene.cluster.running('keep');
      return running.length === 8 && running.some((task) => task.NodeID === id);
    });
    await scene.cluster.kill(worker);
    await scene.cluster.eventually('eight run elsewhere', async () => {
      const running = (await scene.cluster.running('keep')).filter((task) => task.NodeID !== id);
      return running.length === 8;
    });
    await scene.cluster.startNode(worker);
    await scene.cluster.eventually('it is ready and its surplus gone', async () => {
      const node = (await (await manager()).api.get<Node[]>('/nodes')).find((one) => one.ID === id);
      return (
        node?.Status.State === 'ready' &&
        (await doubles('keep')).length === 0 &&
        (await scene.cluster.running('keep')).length === 8
      );
    });
    await serves();
  }, 90_000);

  test('a clean restart of a daemon moves no task and restarts no container', async () => {
    const worker = scene.cluster.workers[1] as NodeHandle;
    const before = containers(await scene.cluster.running('keep'));
    await scene.cluster.kill(worker, 'SIGTERM');
    await scene.cluster.startNode(worker);
    await scene.cluster.eventually('all nodes ready', async () =>
      (await (await manager()).api.get<Node[]>('/nodes')).every((node) => node.Status.State === 'ready'),
    );
    expect(containers(await scene.cluster.running('keep'))).toEqual(before);
  }, 60_000);

  test('a locked manager waits for the key after a restart', async () => {
    const [first, second] = scene.cluster.managers as [NodeHandle, NodeHandle];
    const key = /SWMKEY-1-\S+/.exec(await scene.cluster.ctl(first, 'swarm', 'update', '--autolock'))?.[0] ?? '';
    await scene.cluster.eventually(
      'its keys are locked',
      async () => !existsSync(join(second.folder, 'identity/key.pem')),
    );
    await scene.cluster.kill(second);
    await scene.cluster.startNode(second);
    const { code, err } = await scene.cluster.tryCtl(second, 'node', 'ls');
    expect({ code, err }).toMatchObject({ code: 1, err: expect.stringContaining('needs to be unlocked') });
    const unlock = (typed: string) =>
      runProgram('sh', [
        '-c',
        `echo ${typed} | ${process.execPath} ${swarmctlBin} --host unix://${second.socket} swarm unlock`,
      ]);
    expect(await unlock('SWMKEY-1-wrong')).toMatchObject({
      code: 1,
      err: expect.stringMatching(/an unlock key looks like/),
    });
    expect(await unlock(key)).toMatchObject({ code: 0 });
    await scene.cluster.eventually(
      'it manages again',
      async () => (await scene.cluster.tryCtl(second, 'node', 'ls')).code === 0,
    );
    await scene.cluster.ctl(first, 'swarm', 'update', '--autolock=false');
    await scene.cluster.eventually('its keys are its own again', async () =>
      existsSync(join(second.folder, 'identity/key.pem')),
    );
  }, 60_000);

  test('a drained node gives its tasks up, and takes new ones when it is active again', async () => {
    const worker = scene.cluster.workers[0] as NodeHandle;
    const id = await nodeId(worker);
    await scene.cluster.ctl(await manager(), 'node', 'update', '--availability', 'drain', worker.name);
    await scene.cluster.eventually('nothing runs there', async () => {
      const tasks = await scene.cluster.tasks('keep');
      return (
        !tasks.some((task) => task.NodeID === id && task.Status.State === 'running') &&
        (await scene.cluster.running('keep')).length === 8
      );
    });
    await scene.cluster.ctl(await manager(), 'node', 'update', '--availability', 'active', worker.name);
    await remove('keep');
  }, 90_000);
}
