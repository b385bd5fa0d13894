import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { FrameStream, newIdFrom, realClock, seededRandom, silentLogger } from '@swarmctl/shared/kit';
import type { AgentMessage, ManagerMessage } from '@swarmctl/shared/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { connection as duplexPair } from '../../../test/kit/duplex-pair.ts';
import { eventually } from '../../../test/kit/eventually.ts';
import { newCluster, newNode } from './ca/new-cluster.ts';
import { Manager } from './manager.ts';
import type { ManagerOptions } from './manager-types.ts';

// Managers in one process over in-memory streams, with a real log on disk.

let folder: string;
const managers = new Map<string, Manager>();
const down = new Set<string>();
const newId = newIdFrom(seededRandom(7));
const plain = { keyId: 'none', seal: (bytes: Uint8Array) => bytes, open: (bytes: Uint8Array) => bytes };

const addrOf = (nodeId: string) => `${nodeId}:2377`;
const peerOf = (nodeId: string) => ({
  nodeId,
  role: 'manager' as const,
  clusterId: 'c1',
  notBefore: 0,
  notAfter: 9e15,
});

async function startManager(nodeId: string, raftId: number, start: ManagerOptions['start']): Promise<Manager> {
  const manager = await Manager.start(
    { dataDir: join(folder, nodeId), clusterId: 'c1', nodeId, raftId, addr: addrOf(nodeId), start },
    {
      clock: realClock,
      random: seededRandom(raftId),
      newId,
      log: silentLogger,
      sealer: plain,
      dial: async (protocol, target) => {
        const to = target.addr.split(':')[0] ?? '';
        const there = managers.get(to);
        if (!there || down.has(to) || down.has(nodeId)) throw new Error(`${to} is away`);
        const [ours, theirs] = duplexPair();
        if (protocol !== 'api') there.accept(protocol, theirs as TLSSocket, peerOf(nodeId));
        return ours as TLSSocket;
      },
    },
  );
  managers.set(nodeId, manager);
  return manager;
}

const bootstrap = async () =>
  startManager('n1', 1, {
    kind: 'bootstrap',
    cluster: await newCluster({ clusterId: 'c1', spec: {}, now: 1_700_000_000_000 }),
    node: newNode({
      nodeId: 'n1',
      role: 'manager',
      availability: 'active',
      hostname: 'one',
      addr: '127.0.0.1',
      raft: { id: 1, addr: addrOf('n1') },
    }),
  });

const join3 = async (first: Manager, nodeId: string) => {
  await first.propose([
    {
      op: 'create',
      table: 'nodes',
      object: newNode({ nodeId, role: 'manager', availability: 'active', hostname: nodeId, addr: '127.0.0.2' }),
    },
  ]);
  const { raftId } = await first.addMember(nodeId, addrOf(nodeId));
  return startManager(nodeId, raftId, { kind: 'join' });
};

const service = (name: string) =>
  ({
    op: 'create',
    table: 'services',
    object: {
      ID: newId(),
      SpecVersion: newId(),
      Endpoint: { Spec: {} },
      Spec: {
        Name: name,
        Labels: {},
        Mode: { Replicated: { Replicas: 2 } },
        TaskTemplate: { ContainerSpec: { Image: 'web:1' } },
      },
    },
  }) as const;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'manager-'));
});
afterEach(async () => {
  for (const manager of managers.values()) await manager.stop({ transfer: false });
  managers.clear();
  down.clear();
  rmSync(folder, { recursive: true, force: true });
});

describe('a manager', () => {
  test('begins a cluster, leads, and decides', async () => {
    const manager = await bootstrap();
    await eventually('it leads', () => manager.isLeader());
    expect(manager.view().cluster()?.ID).toBe('c1');
    expect(manager.leader()).toEqual({ nodeId: 'n1', addr: 'n1:2377' });
    await manager.propose([service('web')]);
    // No node has an agent: the tasks wait, and say why.
    await eventually('two tasks say why they wait', () => {
      const tasks = manager.view().list('tasks');
      return (
        tasks.length === 2 &&
        tasks.every((task) => task.Status.State === 'pending' && /^no suitable node/.test(task.Status.Err ?? ''))
      );
    });
  });

  test('comes back from its log', async () => {
    const manager = await bootstrap();
    await eventually('it leads', () => manager.isLeader());
    await manager.propose([service('web')]);
    await manager.stop({ transfer: true });
    expect(await manager.done).toBe('stopped');
    const again = await startManager('n1', 1, { kind: 'restart' });
    await eventually('it leads again', () => again.isLeader());
    expect(again.view().serviceByName('web')?.Spec.Name).toBe('web');
  });
});

test('a node that was a member and is none any more joins as another', async () => {
  const manager = await bootstrap();
  await eventually('it leads', () => manager.isLeader());
  const object = newNode({ nodeId: 'n2', role: 'manager', availability: 'active', hostname: 'n2', addr: '127.0.0.2' });
  await manager.propose([
    { op: 'create', table: 'nodes', object },
    { op: 'update', table: 'nodes', id: 'n2', set: { ManagerStatus: { RaftID: 77, Addr: addrOf('n2') } } },
  ]);
  const { raftId } = await manager.addMember('n2', addrOf('n2'));
  expect(raftId).not.toBe(77);
  expect(manager.view().get('nodes', 'n2')?.ManagerStatus?.RaftID).toBe(raftId);
  expect(manager.view().cluster()?.RemovedRaftIDs).toEqual([77]);
  expect((await manager.addMember('n2', addrOf('n2'))).raftId).toBe(raftId);
});

describe('three managers', () => {
  let first: Manager;
  beforeEach(async () => {
    first = await bootstrap();
    await eventually('it leads', () => first.isLeader());
    await join3(first, 'n2');
    await join3(first, 'n3');
    await eventually(
      'three voters',
      () => first.raft.status().members.filter((member) => !member.learner).length === 3,
    );
  });

  test('replicate, and read linearizably anywhere', async () => {
    await first.propose([service('web')]);
    const third = managers.get('n3') as Manager;
    await third.readIndex();
    expect(third.view().serviceByName('web')).toBeDefined();
    expect(third.isLeader()).toBe(false);
    expect(third.leader()?.nodeId).toBe('n1');
    await expect(third.propose([service('other')])).rejects.toMatchObject({ code: 'no-leader' });
  });

  test('a clean stop hands leadership over', async () => {
    await first.stop({ transfer: true });
    const others = [managers.get('n2') as Manager, managers.get('n3') as Manager];
    await eventually('another leads', () => others.some((manager) => manager.isLeader()));
    const leader = others.find((manager) => manager.isLeader()) as Manager;
    await leader.propose([service('after')]);
  });

  test('a demoted manager leaves the group and is told so', async () => {
    const second = managers.get('n2') as Manager;
    const node = first.view().get('nodes', 'n2');
    await first.propose([{ op: 'update', table: 'nodes', id: 'n2', set: { Spec: { ...node!.Spec, Role: 'worker' } } }]);
    expect(await second.done).toBe('removed');
    await eventually('the state forgets', () => first.view().get('nodes', 'n2')?.ManagerStatus === undefined);
    expect(first.view().cluster()?.RemovedRaftIDs).toHaveLength(1);
    await first.propose([service('goes-on')]);
  });

  test('a leader that is demoted hands over first', async () => {
    const node = first.view().get('nodes', 'n1');
    await first.propose([{ op: 'update', table: 'nodes', id: 'n1', set: { Spec: { ...node!.Spec, Role: 'worker' } } }]);
    expect(await first.done).toBe('removed');
    const others = [managers.get('n2') as Manager, managers.get('n3') as Manager];
    await eventually('another leads', () => others.some((manager) => manager.isLeader()));
  });

  test('without a quorum it refuses to read and to write', async () => {
    down.add('n2').add('n3');
    for (const id of ['n2', 'n3']) await managers.get(id)?.stop({ transfer: false });
    await eventually('it steps down', () => !first.isLeader());
    await expect(first.readIndex()).rejects.toMatchObject({ code: 'no-leader' });
    await expect(first.propose([service('x')])).rejects.toMatchObject({ code: 'no-leader' });
  });

  test('one that was away hears of a leader that joined meanwhile', async () => {
    const third = managers.get('n3') as Manager;
    await third.stop({ transfer: false });
    const fourth = await join3(first, 'n4');
    await eventually('it votes', () =>
      fourth.raft.status().members.some((member) => member.id === fourth.raft.id && !member.learner),
    );
    await first.raft.transferLeadership(fourth.raft.id);
    await eventually('it leads', () => fourth.isLeader());
    await fourth.propose([service('news')]);
    const again = await startManager('n3', third.raft.id, { kind: 'restart' });
    expect(again.view().get('nodes', 'n4')).toBeUndefined();
    await eventually('it has caught up', () => again.view().serviceByName('news') !== undefined);
  });

  test('an agent is sent to the leader', async () => {
    const [ours, theirs] = duplexPair();
    managers.get('n2')?.accept('dispatch', theirs as TLSSocket, peerOf('n9'));
    const frames = new FrameStream<ManagerMessage, AgentMessage>(ours as Duplex);
    const answer = await new Promise<ManagerMessage>((resolve) => frames.once('message', resolve));
    expect(answer).toMatchObject({
      type: 'redirect',
      leader: { nodeId: 'n1', addr: 'n1:2377' },
      managers: [{ nodeId: 'n1' }, { nodeId: 'n2' }, { nodeId: 'n3' }].map((one) => expect.objectContaining(one)),
    });
    frames.destroy();
  });
});
