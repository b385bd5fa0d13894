import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type ManagerStart, type StartManager, startManager } from '@swarmctl/manager';
import { newUnlockKey, realClock, realNewId, realRandom, silentLogger } from '@swarmctl/shared/kit';
import type { Node, NodeRole } from '@swarmctl/shared/model';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { aTask } from '../../../test/kit/builders.ts';
import { FakeIngress } from '../../../test/kit/fake-ingress.ts';
import { FakeRuntime } from '../../../test/kit/fake-runtime.ts';
import { type DaemonConfig, readConfig } from './config.ts';
import { LocalNode } from './node.ts';
import type { StartWorker } from './ports.ts';
import { type NodeFile, settleRaft, wipeRaft, writeNodeFile } from './state-file.ts';
import { workerOf } from './worker-side.ts';

vi.mock('./state-file.ts', { spy: true });

// Nodes with real managers, ports and files, each with an address of its own; what they run is only remembered.

const port = 2388;
let folder: string;
const nodes: LocalNode[] = [];

/** By node id: what it runs outlives its agent. */
const runtimes = new Map<string, FakeRuntime>();
/** Host names of nodes that are not told of their role. */
const deaf = new Set<string>();
const startWorker: StartWorker = async (options, modules) => {
  const runtime = runtimes.get(options.nodeId) ?? new FakeRuntime('process', options.addr);
  runtimes.set(options.nodeId, runtime);
  const onRole = (role: NodeRole) => void (deaf.has(options.config.hostname) || modules.onRole(role));
  return workerOf({ runtime, ingress: new FakeIngress() }, options, { ...modules, onRole });
};

/** A container of a node, as if it ran a task. */
async function runSomething(node: LocalNode): Promise<FakeRuntime> {
  const runtime = runtimes.get(node.info().nodeId);
  if (!runtime) throw new Error('it has no runtime');
  await runtime.prepare(aTask({ id: 'task1' }), new AbortController().signal);
  return runtime;
}

/** How the managers of some nodes are started instead. */
const starters = new Map<number, StartManager>();

async function makeNode(n: number): Promise<LocalNode> {
  const config = await readConfig({
    argv: [
      ...['--data-dir', join(folder, `n${n}`), '--listen-addr', `127.0.77.${n}:${port}`],
      ...['--hostname', `n${n}`, '--runtime', 'process'],
    ],
    env: {},
    isRoot: false,
    version: '0',
  });
  const node = new LocalNode(config as DaemonConfig, {
    startManager: (options, modules) => (starters.get(n) ?? startManager)(options, modules),
    startWorker,
    serveApi: (socket) => socket.destroy(),
    onFatal: (error) => {
      throw error;
    },
    clock: realClock,
    random: realRandom,
    newId: realNewId,
    log: silentLogger,
  });
  nodes.push(node);
  await node.start();
  return node;
}

const addr = (n: number) => `127.0.77.${n}:${port}`;
const tokenOf = (node: LocalNode, role: NodeRole): string => {
  const tokens = node.manager()?.view().cluster()?.RootCA.JoinTokens;
  return (role === 'manager' ? tokens?.Manager : tokens?.Worker) ?? '';
};
const joinAs = (node: LocalNode, role: NodeRole, to: LocalNode, at = 1) =>
  node.join({ RemoteAddrs: [addr(at)], JoinToken: tokenOf(to, role) });

const eventually = (what: string, check: () => unknown) => expect.poll(check, { timeout: 15_000, message: what });
const recordOf = (seenBy: LocalNode, node: LocalNode): Node | undefined =>
  seenBy.manager()?.view().get('nodes', node.info().nodeId);

async function setRole(by: LocalNode, node: LocalNode, role: NodeRole): Promise<void> {
  const record = recordOf(by, node) as Node;
  await by
    .manager()
    ?.propose([{ op: 'update', table: 'nodes', id: record.ID, set: { Spec: { ...record.Spec, Role: role } } }]);
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'swarmd-node-'));
});
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.stop()));
  starters.clear();
  deaf.clear();
  rmSync(folder, { recursive: true, force: true });
});

/** A cluster of as many nodes: the first made it, the others joined in the roles. */
async function clusterOf(...roles: NodeRole[]): Promise<LocalNode[]> {
  const first = await makeNode(1);
  await first.init({});
  const made = [first];
  for (const [i, role] of roles.entries()) {
    const node = await makeNode(i + 2);
    await joinAs(node, role, first);
    made.push(node);
  }
  await eventually('all are ready', () => made.map((node) => recordOf(first, node)?.Status.State)).toEqual(
    made.map(() => 'ready'),
  );
  await eventually(
    'managers are in the group',
    () =>
      first
        .manager()
        ?.view()
        .list('nodes')
        .filter((node) => node.ManagerStatus).length,
  ).toBe(1 + roles.filter((role) => role === 'manager').length);
  return made;
}

describe('a node', { timeout: 40_000 }, () => {
  test('that is in no cluster says so', async () => {
    const node = await makeNode(1);
    expect(node.state()).toBe('inactive');
    expect(node.manager()).toBeUndefined();
    expect(node.info()).toMatchObject({ nodeId: '', addr: '', hostname: 'n1', managers: [], error: '' });
    await expect(node.leave(true)).rejects.toMatchObject({
      code: 'not-in-swarm',
      message: 'This node is not part of a swarm',
    });
  });

  test('makes a cluster, goes on after a restart, and leaves nothing when it leaves', async () => {
    const node = await makeNode(1);
    const nodeId = await node.init({ Availability: 'drain' });
    expect(node.state()).toBe('active');
    expect(recordOf(node, node)?.Status.State).toBe('ready');
    expect(node.info()).toMatchObject({ nodeId, addr: '127.0.77.1', managers: [{ nodeId, addr: addr(1) }] });
    await expect(node.init({})).rejects.toThrow('This node is already part of a swarm.');
    await expect(node.join({})).rejects.toMatchObject({ code: 'unavailable' });
    const token = tokenOf(node, 'worker');
    await node.stop();
    const again = await makeNode(1);
    await eventually('it leads', () => again.manager()?.isLeader()).toBe(true);
    expect(again.info().nodeId).toBe(nodeId);
    expect(tokenOf(again, 'worker')).toBe(token);
    expect(recordOf(again, again)?.Spec.Availability).toBe('drain');
    await expect(again.leave(false)).rejects.toThrow(
      'You are attempting to leave the swarm on a node that is participating as a manager. Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ',
    );
    const runtime = await runSomething(again);
    await again.leave(true);
    expect(again.state()).toBe('inactive');
    expect(readdirSync(join(folder, 'n1'))).toEqual([]);
    expect(runtime.containers.size).toBe(0);
    await again.init({});
    expect(again.info().nodeId).not.toBe(nodeId);
  });

  test.each([
    ['the port is taken', {}, 'cannot listen on 127.0.77.1:2388: another program listens there already'],
    ['the address is not here', { ListenAddr: '192.0.2.7:2388' }, 'this machine has no such address'],
    ['an availability is none', { Availability: 'lazy' }, 'invalid Availability: "lazy"'],
    ['an address is none', { AdvertiseAddr: '0.0.0.0' }, 'advertise address must be a non-zero IP address'],
  ])('makes no cluster when %s, and can be asked again', async (_, request, message) => {
    const node = await makeNode(1);
    const taken = createServer().listen(port, '127.0.77.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    await expect(node.init(request)).rejects.toThrow(message);
    await new Promise((resolve) => taken.close(resolve));
    expect(node.state()).toBe('inactive');
    expect(existsSync(join(folder, 'n1', 'state.json'))).toBe(false);
    await node.init({});
  });

  test('joins as a worker or as a manager', async () => {
    const [first, manager, worker] = (await clusterOf('manager', 'worker')) as [LocalNode, LocalNode, LocalNode];
    expect([first, manager, worker].map((node) => node.manager() !== undefined)).toEqual([true, true, false]);
    expect(recordOf(first, worker)).toMatchObject({ Spec: { Role: 'worker' }, Status: { Addr: '127.0.77.3' } });
    // Through a follower, which names the leader.
    const late = await makeNode(4);
    await joinAs(late, 'worker', first, 2);
    await eventually('ready', () => recordOf(first, late)?.Status.State).toBe('ready');
  });

  test.each([
    ['a token that is none', { JoinToken: 'x', RemoteAddrs: [addr(1)] }, 'invalid join token'],
    ['nobody to ask', { RemoteAddrs: [] }, 'at least 1 RemoteAddr is required to join'],
    [
      'another cluster’s token',
      { JoinToken: `SWMTKN-1-${'0'.repeat(50)}-${'0'.repeat(25)}` },
      'remote CA does not match fingerprint. Expected: 000',
    ],
    ['an address that is none', { RemoteAddrs: ['a:b:c'] }, "remote address: 'a:b:c' is not an address"],
    ['an availability that is none', { Availability: 'x' }, 'invalid Availability'],
  ])('does not join with %s', async (_, wrong, message) => {
    const [first] = (await clusterOf()) as [LocalNode];
    const node = await makeNode(2);
    const request = { RemoteAddrs: [addr(1)], JoinToken: tokenOf(first, 'worker'), ...wrong };
    await expect(node.join(request)).rejects.toThrow(message);
    expect(node.state()).toBe('inactive');
    expect(first.manager()?.view().list('nodes')).toHaveLength(1);
  });

  test('does not join with a rotated token', async () => {
    const [first] = (await clusterOf()) as [LocalNode];
    const old = tokenOf(first, 'worker');
    const cluster = first.manager()?.view().cluster();
    if (!cluster) throw new Error('no cluster');
    const JoinTokens = { ...cluster.RootCA.JoinTokens, Worker: old.replace(/.{25}$/, '0'.repeat(25)) };
    await first
      .manager()
      ?.propose([
        { op: 'update', table: 'cluster', id: cluster.ID, set: { RootCA: { ...cluster.RootCA, JoinTokens } } },
      ]);
    const node = await makeNode(2);
    await expect(node.join({ RemoteAddrs: [addr(1)], JoinToken: old })).rejects.toThrow('invalid join token');
    await joinAs(node, 'worker', first);
  });

  test('is promoted and demoted in place, also the leader', async () => {
    const [first, worker] = (await clusterOf('worker')) as [LocalNode, LocalNode];
    await setRole(first, worker, 'manager');
    await eventually('it is a manager', () => worker.manager() !== undefined).toBe(true);
    await eventually('it is a member', () => recordOf(worker, worker)?.ManagerStatus !== undefined).toBe(true);
    await eventually('it votes', () => first.manager()?.raftStatus(worker.info().nodeId).reachable).toBe(true);
    await setRole(first, first, 'worker');
    await eventually('the other leads', () => worker.manager()?.isLeader()).toBe(true);
    await eventually('it is a worker', () => first.manager()).toBeUndefined();
    await eventually('its log is gone', () => existsSync(join(folder, 'n1', 'raft'))).toBe(false);
    await eventually('it is ready', () => recordOf(worker, first)?.Status.State).toBe('ready');
    await eventually('it is forgotten', () => recordOf(worker, first)?.ManagerStatus).toBeUndefined();
    // And back again, with a new place in the raft group.
    await setRole(worker, first, 'manager');
    await eventually('it is a manager again', () => first.manager()?.view().list('nodes').length).toBe(2);
  });

  test('that is promoted again before it notices that it was demoted becomes a manager again', async () => {
    let notice = () => {};
    const noticed = new Promise<void>((resolve) => {
      notice = resolve;
    });
    const slow: StartManager = async (options, modules) => {
      const manager = await startManager(options, modules);
      return Object.assign(manager, { done: manager.done.then((how) => noticed.then(() => how)) });
    };
    startWith(2, slow, startManager);
    const [first, node] = (await clusterOf('manager')) as [LocalNode, LocalNode];
    await eventually('it is a member', () => recordOf(first, node)?.ManagerStatus !== undefined).toBe(true);
    const before = recordOf(first, node)?.ManagerStatus?.RaftID;
    deaf.add('n2');
    await setRole(first, node, 'worker');
    await eventually('it is forgotten', () => recordOf(first, node)?.ManagerStatus).toBeUndefined();
    await setRole(first, node, 'manager');
    notice();
    await eventually(
      'it is a member again',
      () => node.manager() && recordOf(first, node)?.ManagerStatus?.RaftID,
    ).toSatisfy((raftId) => raftId !== undefined && raftId !== before);
  });

  test('leaves as a worker and as a manager', async () => {
    const [first, manager, worker] = (await clusterOf('manager', 'worker')) as [LocalNode, LocalNode, LocalNode];
    const ids = [manager, worker].map((node) => node.info().nodeId);
    await worker.leave(false);
    await expect(manager.leave(false)).rejects.toThrow('Use `--force` to suppress this message.');
    await manager.leave(true);
    expect([manager, worker].map((node) => node.state())).toEqual(['inactive', 'inactive']);
    const view = first.manager()?.view();
    for (const id of ids) {
      expect(view?.get('nodes', id)).toMatchObject({ Spec: { Role: 'worker' }, Status: { State: 'down' } });
      expect(view?.get('nodes', id)?.ManagerStatus).toBeUndefined();
    }
    // Alone, the first still has a majority.
    await setRole(first, first, 'manager');
  });

  test('that was removed runs nothing, also after a restart, until it leaves', async () => {
    const [first, worker] = (await clusterOf('worker')) as [LocalNode, LocalNode];
    const { nodeId } = worker.info();
    const runtime = await runSomething(worker);
    await first.manager()?.propose([{ op: 'remove', table: 'nodes', id: nodeId }]);
    await eventually('it knows', () => worker.state()).toBe('error');
    expect(worker.info().error).toContain('this node was removed from the swarm');
    await eventually('it is empty', () => runtime.containers.size).toBe(0);
    await worker.stop();
    const again = await makeNode(2);
    await eventually('it knows again', () => again.state()).toBe('error');
    await again.leave(false);
    expect(again.state()).toBe('inactive');
    await joinAs(again, 'worker', first);
  });

  test('of a locked cluster wants the key after a restart, follows a new one, and is as before when it is unlocked', async () => {
    const [first, second] = (await clusterOf('manager')) as [LocalNode, LocalNode];
    const lock = async (UnlockKey: string | undefined) => {
      const cluster = first.manager()?.view().cluster();
      if (!cluster) throw new Error('there is no cluster');
      const set = UnlockKey === undefined ? { unset: ['UnlockKey'] as const, set: {} } : { set: { UnlockKey } };
      await first.manager()?.propose([{ op: 'update', table: 'cluster', id: cluster.ID, ...set }]);
    };
    const keyOf = (n: number) => join(folder, `n${n}`, 'identity', 'key.pem');
    const [key, next] = [newUnlockKey(), newUnlockKey()];
    await lock(key);
    for (const n of [1, 2]) await eventually(`node ${n} is locked`, () => existsSync(keyOf(n))).toBe(false);
    await second.stop();
    const again = await makeNode(2);
    expect(again.state()).toBe('locked');
    await expect(again.init({})).rejects.toThrow('already part of a swarm');
    await expect(again.leave(false)).rejects.toThrow('needs to be unlocked');
    await expect(again.unlock(next)).rejects.toThrow('invalid key');
    expect(again.state()).toBe('locked');
    await again.unlock(key);
    await eventually('it is a manager', () => again.manager()?.leader()).toBeDefined();
    await expect(again.unlock(key)).rejects.toThrow('swarm is not locked');
    await lock(next);
    await eventually('it follows', () => again.manager()?.view().cluster()?.UnlockKey).toBe(next);
    await again.stop();
    const last = await makeNode(2);
    await last.unlock(next);
    await lock(undefined);
    await eventually('its key is in the clear', () => existsSync(keyOf(2))).toBe(true);
    await last.stop();
    expect((await makeNode(2)).state()).toBe('active');
  });

  test('that is locked may be taken out without its key', async () => {
    const [first] = (await clusterOf()) as [LocalNode];
    const cluster = first.manager()?.view().cluster();
    await first
      .manager()
      ?.propose([{ op: 'update', table: 'cluster', id: cluster?.ID ?? '', set: { UnlockKey: newUnlockKey() } }]);
    await first.stop();
    const again = await makeNode(1);
    expect(again.state()).toBe('locked');
    await again.leave(true);
    expect(again.state()).toBe('inactive');
    await again.init({});
  });
});

/** Keeps what a node's disk holds now. */
function keepDisk(n: number): void {
  const filter = (path: string) => basename(path) !== 'LOCK';
  cpSync(join(folder, `n${n}`), join(folder, `n${n}-kept`), { recursive: true, filter });
}

/** The node goes on from what its disk held, as if its daemon had been killed then. */
async function comeBack(n: number, node: LocalNode): Promise<LocalNode> {
  await node.stop();
  rmSync(join(folder, `n${n}`), { recursive: true });
  renameSync(join(folder, `n${n}-kept`), join(folder, `n${n}`));
  return makeNode(n);
}

const fileOf = (n: number) => JSON.parse(readFileSync(join(folder, `n${n}`, 'state.json'), 'utf8')) as NodeFile;

/** Every time it is called, by turns. */
const startWith = (n: number, ...turns: StartManager[]) =>
  starters.set(n, (options, modules) => (turns.length > 1 ? turns.shift() : turns[0])!(options, modules));

describe('a node that becomes a manager', { timeout: 40_000 }, () => {
  test.each([
    ['before its log is made', 'join'],
    ['once its log is made', 'restart'],
  ] as const)('and is killed %s becomes it all the same', async (_, next) => {
    const [first, node] = (await clusterOf('worker')) as [LocalNode, LocalNode];
    let raftId = 0;
    const killed = new Promise<void>((resolve) => {
      const die: StartManager = async (options, modules) => {
        if (next === 'restart') await (await startManager(options, modules)).stop({ transfer: false });
        raftId = options.raftId;
        keepDisk(2);
        resolve();
        throw new Error('killed');
      };
      startWith(2, die, async () => Promise.reject(new Error('dead')));
    });
    await setRole(first, node, 'manager');
    await killed;
    const starts: ManagerStart['kind'][] = [];
    startWith(2, (options, modules) => {
      starts.push(options.start.kind);
      return startManager(options, modules);
    });
    const again = await comeBack(2, node);
    expect(fileOf(2)).toMatchObject({ raftId });
    expect(fileOf(2).raftStarted).toBeUndefined();
    await eventually('it is a member', () => again.manager() && recordOf(again, again)?.ManagerStatus?.RaftID).toBe(
      raftId,
    );
    expect(starts).toEqual([next]);
  });

  test('has recorded its log before anything reaches the manager, which ends where it cannot be recorded', async () => {
    const [first, node] = (await clusterOf('worker')) as [LocalNode, LocalNode];
    const recorded: unknown[] = [];
    const watched: StartManager = async (options, modules) => {
      recorded.push(fileOf(2).raftStarted);
      const manager = await startManager(options, modules);
      const watch = manager.watch.bind(manager);
      const see: typeof watch = (listener) => {
        recorded.push(fileOf(2).raftStarted);
        return watch(listener);
      };
      return Object.assign(manager, { watch: see });
    };
    let ended: Promise<unknown> | undefined;
    const unrecorded: StartManager = async (options, modules) => {
      const manager = await watched(options, modules);
      ended = manager.done;
      vi.mocked(writeNodeFile).mockImplementationOnce(() => {
        throw new Error('no space left on device');
      });
      return manager;
    };
    startWith(2, unrecorded, watched);
    await setRole(first, node, 'manager');
    await eventually('it is a manager', () => node.manager() !== undefined).toBe(true);
    expect(await ended).toBe('stopped');
    // The second time its log is there, which is recorded at once.
    expect(recorded).toEqual([undefined, true, true]);
  });

  test('does not begin again without a log that was recorded', async () => {
    const [, node] = (await clusterOf('manager')) as [LocalNode, LocalNode];
    await node.stop();
    expect(fileOf(2).raftStarted).toBe(true);
    rmSync(join(folder, 'n2', 'raft'), { recursive: true });
    await expect(makeNode(2)).rejects.toMatchObject({ code: 'no-log' });
  });
});

describe('a manager that becomes a worker', { timeout: 40_000 }, () => {
  test.each(['before', 'after'])('and is killed %s its log is wiped comes back as a worker', async (when) => {
    const [first, node] = (await clusterOf('manager')) as [LocalNode, LocalNode];
    const { raftId } = fileOf(2);
    const state = await vi.importActual<typeof import('./state-file.ts')>('./state-file.ts');
    const killed = new Promise<void>((resolve) => {
      vi.mocked(wipeRaft).mockImplementationOnce((dataDir, vault) => {
        if (when === 'after') state.wipeRaft(dataDir, vault);
        keepDisk(2);
        resolve();
        throw new Error('killed');
      });
    });
    await setRole(first, node, 'worker');
    await killed;
    const again = await comeBack(2, node);
    expect(existsSync(join(folder, 'n2', 'raft'))).toBe(false);
    await eventually('it is a worker', () => again.manager()).toBeUndefined();
    await eventually('it is forgotten', () => recordOf(first, again)?.ManagerStatus).toBeUndefined();
    await setRole(first, again, 'manager');
    await eventually('it is a manager', () => again.manager() !== undefined).toBe(true);
    expect(fileOf(2).raftId).not.toBe(raftId);
  });
});

describe('a manager whose fellows are lost', { timeout: 60_000 }, () => {
  const force = { ForceNewCluster: true };
  const names = (node: LocalNode) =>
    node
      .manager()
      ?.view()
      .list('secrets')
      .map(({ Spec }) => Spec.Name);
  const secret = (name: string) =>
    ({ op: 'create', table: 'secrets', object: { ID: name, Spec: { Name: name, Labels: {}, Data: 'eA==' } } }) as const;
  const nextRafts = (n: number) => readdirSync(join(folder, `n${n}`)).filter((name) => name.startsWith('raft-next-'));

  /** The first of two, which is alone. */
  async function leftAlone(): Promise<[LocalNode, LocalNode]> {
    const [first, lost] = (await clusterOf('manager')) as [LocalNode, LocalNode];
    await eventually('it votes', () => first.manager()?.raftStatus(lost.info().nodeId).reachable).toBe(true);
    await first.manager()?.propose([secret('kept')]);
    await eventually('all have it', () => names(lost)).toEqual(['kept']);
    keepDisk(2);
    await lost.stop();
    await eventually('it leads no more', () => first.manager()?.isLeader()).toBe(false);
    return [first, lost];
  }

  const standsAlone = async (node: LocalNode) => {
    await eventually('it leads', () => node.manager()?.isLeader()).toBe(true);
    expect(names(node)).toEqual(['kept']);
    expect(recordOf(node, node)).toMatchObject({
      Spec: { Role: 'manager' },
      ManagerStatus: { RaftID: fileOf(1).raftId },
    });
    expect(nextRafts(1)).toEqual([]);
  };

  test('goes on alone with all that was there, takes managers in, and makes workers of those that return', async () => {
    const [first, lost] = await leftAlone();
    const lostId = lost.info().nodeId;
    const before = { nodeId: first.info().nodeId, token: tokenOf(first, 'manager'), raftId: fileOf(1).raftId };
    const runtime = await runSomething(first);
    await expect(first.init({ ...force, DataPathPort: 5_000 })).rejects.toThrow('DataPathPort cannot be given with it');
    expect(await first.init({ ...force, AdvertiseAddr: addr(1), SubnetSize: 24, Availability: 'active' })).toBe(
      before.nodeId,
    );
    await standsAlone(first);
    expect(recordOf(first, lost)).toMatchObject({ ID: lostId, Spec: { Role: 'worker' } });
    expect(recordOf(first, lost)?.ManagerStatus).toBeUndefined();
    expect(tokenOf(first, 'manager')).toBe(before.token);
    expect(fileOf(1).raftId).not.toBe(before.raftId);
    expect(runtime.containers.size).toBe(1);
    const fresh = await makeNode(3);
    await joinAs(fresh, 'manager', first);
    await eventually('the new one has all', () => names(fresh)).toEqual(['kept']);
    await expect(first.init(force)).rejects.toThrow('the managers of this swarm have a quorum');
    const back = await comeBack(2, lost);
    await eventually('its manager is gone', () => back.manager()).toBeUndefined();
    await eventually('it is a worker', () => recordOf(first, back)?.Status.State).toBe('ready');
    expect(fileOf(2).raftId).toBeUndefined();
    await setRole(first, back, 'manager');
    await eventually('it is a manager again', () => names(back)).toEqual(['kept']);
  });

  const files = () => vi.importActual<typeof import('./state-file.ts')>('./state-file.ts');
  type Files = Awaited<ReturnType<typeof files>>;
  const crashes: [string, 'old' | 'new', (state: Files, die: () => never) => void][] = [
    [
      'while the new log is made',
      'old',
      (_, die) =>
        vi.mocked(writeNodeFile).mockImplementationOnce(() => {
          const [next = ''] = nextRafts(1);
          rmSync(join(folder, 'n1', next, 'wal'), { recursive: true });
          die();
        }),
    ],
    ['before the new log counts', 'old', (_, die) => vi.mocked(writeNodeFile).mockImplementationOnce(die)],
    [
      'as soon as the new log counts',
      'new',
      (state, die) =>
        vi.mocked(writeNodeFile).mockImplementationOnce((dataDir, file) => {
          state.writeNodeFile(dataDir, file);
          die();
        }),
    ],
    [
      'while the new log takes the place of the old',
      'new',
      (state, die) =>
        vi.mocked(settleRaft).mockImplementation((dataDir, raftId) => {
          const [next] = nextRafts(1);
          if (next === undefined || !next.endsWith(`-${raftId}`)) return state.settleRaft(dataDir, raftId);
          vi.mocked(settleRaft).mockImplementation(state.settleRaft);
          rmSync(join(dataDir, 'raft'), { recursive: true });
          return die();
        }),
    ],
    [
      'once the new log is in its place',
      'new',
      (state, die) =>
        vi.mocked(settleRaft).mockImplementation((dataDir, raftId) => {
          const [next] = nextRafts(1);
          state.settleRaft(dataDir, raftId);
          if (!next?.endsWith(`-${raftId}`)) return;
          vi.mocked(settleRaft).mockImplementation(state.settleRaft);
          die();
        }),
    ],
  ];
  test.each(crashes)('and is killed %s is of the %s cluster', async (_, which, arm) => {
    const [first] = (await clusterOf()) as [LocalNode];
    await first.manager()?.propose([secret('kept')]);
    const { raftId } = fileOf(1);
    const state = await files();
    arm(state, () => {
      keepDisk(1);
      throw new Error('killed');
    });
    await expect(first.init(force)).rejects.toThrow('killed');
    const again = await comeBack(1, first);
    expect(fileOf(1).raftId === raftId).toBe(which === 'old');
    await standsAlone(again);
    if (which === 'old') await again.init(force);
    await standsAlone(again);
  });

  test('and which is locked wants its key first', async () => {
    const [first] = (await clusterOf()) as [LocalNode];
    const [key, id] = [newUnlockKey(), first.manager()?.view().cluster()?.ID ?? ''];
    await first.manager()?.propose([{ op: 'update', table: 'cluster', id, set: { UnlockKey: key } }]);
    await first.stop();
    const again = await makeNode(1);
    await expect(again.init(force)).rejects.toThrow('needs to be unlocked');
    await again.unlock(key);
    await again.init(force);
    await eventually('it leads', () => again.manager()?.view().cluster()?.UnlockKey).toBe(key);
  });
});

test('that is in no cluster makes one, though it was to be forced', async () => {
  const node = await makeNode(1);
  await node.init({ ForceNewCluster: true, Spec: { Labels: { a: 'b' } } });
  expect(node.manager()?.view().cluster()?.Spec.Labels).toEqual({ a: 'b' });
});
