import type { Service } from '@swarmctl/shared/model';
import { expect, test } from 'vitest';
import { sh } from '../world.ts';
import type { Scene } from './scene.ts';

// What a user may get wrong, and how they are told.

export function badInput(scene: Scene): void {
  const { manager, create, remove, idOf } = scene;

  const services = async () => (await (await manager()).api.get<Service[]>('/services')).length;

  test.each<[string, string[], RegExp]>([
    [
      'an unknown flag',
      ['service', 'create', '--replicaz', '3', 'web:1'],
      /unknown flag: --replicaz; did you mean --replicas\?/,
    ],
    ['a bad image name', ['service', 'create', 'BAD::x'], /"BAD::x" is not a valid repository\/tag/],
    [
      'a bad constraint',
      ['service', 'create', '--constraint', 'garbage', 'web:1'],
      /constraint expected one operator from ==, !=/,
    ],
    ['a bad name', ['service', 'create', '--name', 'x y', 'web:1'], /name must be valid as a DNS name component/],
    ['an unknown secret', ['service', 'create', '--secret', 'a', 'web:1'], /secret a not found/],
    ['an unknown service', ['service', 'update', '--image', 'a', 'nosuch'], /service nosuch not found/],
    ['a node that is up', ['node', 'rm', 'w1'], /is not down and can't be removed/],
    ['a manager', ['node', 'rm', '--force', 'm1'], /must be demoted to worker before removal/],
    ['joining twice', ['swarm', 'join', '--token', 'SWMTKN-1-x', '127.0.0.1:2377'], /already part of a swarm/],
  ])('%s is refused and changes nothing', async (_, args, message) => {
    const before = await services();
    const { code, err } = await scene.cluster.tryCtl(await manager(), ...args);
    expect(err).toMatch(message);
    expect(code).not.toBe(0);
    expect(await services()).toBe(before);
  });

  test('an unknown field of a body is dropped; a stale version is refused', async () => {
    const api = (await manager()).api;
    const { ID: id } = await api.post<{ ID: string }>('/services/create', {
      Name: 'stale',
      Nonsense: 1,
      Mode: { Replicated: { Replicas: 0 } },
      TaskTemplate: { ContainerSpec: { Image: 'web:1' } },
    });
    const service = await api.get<Service>(`/services/${id}`);
    await api.post(`/services/${id}/update`, service.Spec, { version: service.Version.Index });
    await expect(api.post(`/services/${id}/update`, service.Spec, { version: service.Version.Index })).rejects.toThrow(
      /update out of sequence/,
    );
    await api.delete(`/services/${id}`);
  });

  test('a port that is taken is refused with who has it', async () => {
    await create(...scene.world.web({ name: 'first', replicas: 1, port: 8081, flags: ['-d'] }));
    const { err } = await scene.cluster.tryCtl(
      await manager(),
      ...scene.world.web({ name: 'second', port: 8081, flags: ['-d'] }),
    );
    expect(err).toMatch(/port '8081' is already in use by service 'first'/);
    await idOf('first');
    await remove('first');
  });

  test('an impossible constraint ends with its reason, and the service waits', async () => {
    await create(...scene.world.web({ name: 'moon', flags: ['-d', '--constraint', 'node.labels.zone==moon'] }));
    await scene.cluster.eventually(
      'the reason shows',
      async () =>
        (await scene.cluster.tasks('moon'))[0]?.Status.Err ===
        'no suitable node (scheduling constraints not satisfied on 5 nodes): node.labels.zone==moon on 5 nodes',
    );
    await scene.cluster.ctl(await manager(), 'node', 'update', '--label-add', 'zone=moon', 'w2');
    await scene.cluster.eventually(
      'it runs where the label is',
      async () => (await scene.cluster.running('moon')).length === 1,
    );
    await scene.cluster.ctl(await manager(), 'node', 'update', '--label-rm', 'zone', 'w2');
    await idOf('moon');
    await remove('moon');
  });

  test('garbage on port 2377 harms nothing', async () => {
    const [program, args] = scene.cluster.command(process.execPath, [
      '-e',
      `const n=require('net');let left=20;for(let i=0;i<20;i++){const s=n.connect(2377,'${scene.cluster.nodes[0]?.addr}',()=>s.write(require('crypto').randomBytes(4000)));s.resume();s.on('error',()=>{});s.on('close',()=>--left||process.exit(0))}setTimeout(()=>process.exit(left?1:0),9000)`,
    ]);
    sh(program, ...args);
    expect(await scene.cluster.ctl(await manager(), 'node', 'ls', '-q')).toMatch(/\w/);
  });
}
