import { once } from 'node:events';
import { duplexPair } from 'node:stream';
import {
  ClusterError,
  createCsr,
  encode,
  FrameStream,
  ManualClock,
  type PeerCertificate,
  parseJoinToken,
  silentLogger,
  verifyNodeCertificate,
} from '@swarmctl/shared/kit';
import type { Cluster, Draft, Node, StoreChange } from '@swarmctl/shared/model';
import type { JoinAnswer, JoinMessage } from '@swarmctl/shared/wire';
import { beforeAll, describe, expect, test } from 'vitest';
import { aNode, aStore, builtAt } from '../../../../test/kit/index.ts';
import { JoinServer } from './join-server.ts';
import { newCluster } from './new-cluster.ts';

let cluster: Draft<'cluster'>;
let csr: string;

beforeAll(async () => {
  cluster = await newCluster({ clusterId: 'cluster1', spec: {}, now: builtAt });
  csr = (await createCsr()).csr;
});

const me = { nodeId: 'm1', addr: '127.0.0.1:2377' };
const nodes = [
  aNode({ id: 'm1', role: 'manager', raftId: 1 }),
  aNode({ id: 'm2', role: 'manager', raftId: 2 }),
  aNode({ id: 'w1' }),
  aNode({ id: 'leaving', raftId: 3 }),
];

const peer = (nodeId: string): PeerCertificate => ({
  nodeId,
  role: 'worker',
  clusterId: 'cluster1',
  notBefore: 0,
  notAfter: 2 ** 50,
});

/** A manager over a store of these nodes; a follower when it does not lead. */
function serverWith(words: { leads?: () => boolean; nodes?: readonly Node[]; propose?: () => Promise<never> } = {}) {
  const clock = new ManualClock(builtAt);
  const store = aStore({ cluster: cluster as Cluster, nodes: words.nodes ?? nodes });
  const added: unknown[] = [];
  const server = new JoinServer(
    {},
    {
      clock,
      newId: () => 'fresh',
      log: silentLogger,
      manager: {
        isLeader: words.leads ?? (() => true),
        leader: () => ({ nodeId: 'm2', addr: '127.0.0.2:2377' }),
        managers: () => [me],
        view: () => store.view(),
        readIndex: async () => undefined,
        propose: async (changes: readonly StoreChange[]) => {
          await words.propose?.();
          const outcome = store.apply(2, { now: clock.now(), changes });
          if (!outcome.ok) throw new ClusterError(outcome.code, outcome.message);
          return { index: 2 };
        },
        addMember: async (nodeId, addr) => {
          added.push([nodeId, addr]);
          return { raftId: 7, peers: [{ id: 1, addr: me.addr }] };
        },
      },
    },
  );
  return { server, store, clock, added };
}

async function ask(server: JoinServer, message: unknown, from?: PeerCertificate): Promise<JoinAnswer | undefined> {
  const [near, far] = duplexPair();
  server.accept(far, from);
  const frames = new FrameStream<JoinAnswer, unknown>(near);
  frames.send(message);
  let answer: JoinAnswer | undefined;
  frames.on('message', (one) => {
    answer = one;
  });
  await once(frames, 'close');
  return answer;
}

const join = (token: string, set: Partial<Extract<JoinMessage, { type: 'join' }>> = {}): JoinMessage => ({
  type: 'join',
  token,
  csr,
  hostname: 'host1',
  addr: '127.0.0.9',
  availability: 'active',
  ...set,
});

describe('join', () => {
  test.each(['worker', 'manager'] as const)('by the token of a %s', async (role) => {
    const { server, store } = serverWith();
    const tokens = cluster.RootCA.JoinTokens;
    const answer = await ask(server, join(role === 'manager' ? tokens.Manager : tokens.Worker));
    if (answer?.type !== 'joined') throw new Error(JSON.stringify(answer));
    expect(answer).toMatchObject({ nodeId: 'fresh', clusterId: 'cluster1', role, managers: [me] });
    expect(verifyNodeCertificate(answer.certificate, answer.ca, builtAt)).toMatchObject({ nodeId: 'fresh', role });
    expect(store.view().get('nodes', 'fresh')).toMatchObject({
      Spec: { Role: role, Availability: 'active' },
      Description: { Hostname: 'host1' },
      Status: { State: 'unknown', Addr: '127.0.0.9' },
    });
  });

  test.each([
    [
      'a secret that is not ours',
      () => join(cluster.RootCA.JoinTokens.Worker.replace(/.$/, '!')),
      'invalid join token',
    ],
    ['no token', () => join(''), 'invalid join token'],
    ['a request that is none', () => join(cluster.RootCA.JoinTokens.Worker, { csr: 'x' }), 'no certificate request'],
    [
      'an availability that is none',
      () => join('', { availability: 'lazy' as never }),
      'availability is missing or not right',
    ],
    ['a hostname with a line break', () => join('', { hostname: 'a\nb' }), 'hostname is missing or not right'],
    ['another type', () => ({ type: 'hello' }), 'type is missing or not right'],
    ['no object', () => 7, 'message is missing or not right'],
  ])('with %s changes nothing', async (_, message, text) => {
    const { server, store } = serverWith();
    const answer = await ask(server, message());
    expect(answer).toMatchObject({
      type: 'error',
      code: text === 'invalid join token' ? 'unknown' : 'invalid-argument',
      message: expect.stringContaining(text),
    });
    expect(store.view().index).toBe(1);
  });

  test('never answers with the token', async () => {
    const { server } = serverWith();
    const { secret } = parseJoinToken(cluster.RootCA.JoinTokens.Worker);
    const answer = await ask(server, join(`SWMTKN-1-${'x'.repeat(50)}-${secret}`));
    expect(JSON.stringify(answer)).not.toContain(secret);
  });

  test('is redirected by a follower, and when leadership goes meanwhile', async () => {
    const { server } = serverWith({ leads: () => false });
    const redirect = { type: 'redirect', leader: { nodeId: 'm2', addr: '127.0.0.2:2377' } };
    expect(await ask(server, join('x'))).toEqual(redirect);
    let leads = true;
    const losing = serverWith({
      leads: () => leads,
      propose: async () => {
        leads = false;
        throw new ClusterError('no-leader', 'lost');
      },
    });
    expect(await ask(losing.server, join(cluster.RootCA.JoinTokens.Worker))).toEqual(redirect);
  });

  test('a garbage or oversized frame ends the stream without a word', async () => {
    const { server } = serverWith();
    const [near, far] = duplexPair();
    server.accept(far, undefined);
    const body = encode({ type: 'join', token: 'x'.repeat(70_000) });
    const head = Buffer.alloc(4);
    head.writeUInt32BE(body.length);
    near.write(head);
    near.resume();
    await once(far, 'close');
    expect(far.destroyed).toBe(true);
  });

  test('a silent stream is closed after five seconds', async () => {
    const { server, clock } = serverWith();
    const [, far] = duplexPair();
    server.accept(far, undefined);
    await clock.advance(4_999);
    expect(far.destroyed).toBe(false);
    await clock.advance(1);
    expect(far.destroyed).toBe(true);
  });
});

describe('with a certificate', () => {
  test.each([
    ['raft-join', { type: 'raft-join', addr: 'a:1' }],
    ['renew', { type: 'renew', csr: 'x' }],
    ['leave', { type: 'leave', force: true }],
  ])('%s needs one', async (_, message) => {
    expect(await ask(serverWith().server, message)).toMatchObject({ type: 'error', code: 'unauthenticated' });
  });

  test.each([
    ['m2', 'manager'],
    ['w1', 'worker'],
    // Demoted, but still a member of the raft group.
    ['leaving', 'manager'],
  ])('%s is renewed in the role of the state: %s', async (nodeId, role) => {
    const answer = await ask(serverWith({ leads: () => false }).server, { type: 'renew', csr }, peer(nodeId));
    if (answer?.type !== 'renewed') throw new Error(JSON.stringify(answer));
    expect(answer.role).toBe(role);
    expect(verifyNodeCertificate(answer.certificate, answer.ca, builtAt)).toMatchObject({ nodeId, role });
  });

  test.each(['renew', 'raft-join', 'leave'])('%s is refused to a node that was removed', async (type) => {
    const { server } = serverWith();
    const answer = await ask(server, { type, csr, addr: 'a:1', force: true }, peer('gone'));
    expect(answer).toMatchObject({ type: 'error', code: 'not-found', message: 'node gone is not in the swarm' });
  });

  test('a manager becomes a member of the raft group, a worker does not', async () => {
    const { server, added } = serverWith();
    const message = { type: 'raft-join', addr: '127.0.0.2:2377' };
    expect(await ask(server, message, peer('m2'))).toEqual({
      type: 'raft-joined',
      raftId: 7,
      peers: [{ id: 1, addr: me.addr }],
    });
    expect(await ask(server, message, peer('w1'))).toMatchObject({ type: 'error', code: 'permission-denied' });
    expect(added).toEqual([['m2', '127.0.0.2:2377']]);
  });

  test('a worker that leaves is down, a manager is demoted first', async () => {
    const worker = serverWith();
    expect(await ask(worker.server, { type: 'leave', force: false }, peer('w1'))).toEqual({ type: 'left' });
    expect(worker.store.view().get('nodes', 'w1')).toMatchObject({ Status: { State: 'down' }, DownSince: builtAt });
    const manager = serverWith();
    expect(await ask(manager.server, { type: 'leave', force: true }, peer('m2'))).toEqual({ type: 'left' });
    expect(manager.store.view().get('nodes', 'm2')).toMatchObject({
      Spec: { Role: 'worker' },
      Status: { State: 'ready' },
    });
    const between = serverWith();
    expect(await ask(between.server, { type: 'leave', force: true }, peer('leaving'))).toEqual({ type: 'left' });
    expect(between.store.view().index).toBe(1);
  });

  test('the last manager cannot be demoted', async () => {
    const { server } = serverWith({ nodes: [nodes[0] as Node] });
    expect(await ask(server, { type: 'leave', force: true }, peer('m1'))).toMatchObject({
      type: 'error',
      code: 'failed-precondition',
    });
  });
});

test('a new cluster has what Docker clients expect to see', () => {
  expect(cluster.Spec).toMatchObject({
    Name: 'default',
    Labels: {},
    Orchestration: { TaskHistoryRetentionLimit: 5 },
    CAConfig: { NodeCertExpiry: 7_776_000_000_000_000 },
    EncryptionConfig: { AutoLockManagers: false },
  });
  const { Worker, Manager } = cluster.RootCA.JoinTokens;
  expect(Worker).not.toBe(Manager);
  expect(parseJoinToken(Worker).digest).toBe(cluster.RootCA.Digest);
});
