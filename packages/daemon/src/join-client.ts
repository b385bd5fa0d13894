import type { TLSSocket } from 'node:tls';
import {
  type Clock,
  ClusterError,
  caDigest,
  checkIdentity,
  delay,
  dial,
  dialForJoin,
  type ErrorCode,
  FrameStream,
  type Identity,
  isClusterError,
  type Logger,
  messageOf,
  parseAddress,
  type Random,
  statusByCode,
} from '@swarmctl/shared/kit';
import { type JoinAnswer, type JoinMessage, maxJoinFrameBytes, type Peer } from '@swarmctl/shared/wire';
import { defaultPort } from './config.ts';
import type { ManagerList } from './manager-list.ts';

// A node's side of the join protocol: asks managers in turn, follows redirects to the leader, waits while there is none.

type Answer<T extends JoinAnswer['type']> = Extract<JoinAnswer, { type: T }>;
type Dial = (addr: string, signal: AbortSignal | undefined) => Promise<TLSSocket>;

export interface JoinClientModules {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** How long an election may take before a request is given up. */
const patienceMs = 10_000;
const retryMs = 300;
/** Managers that each believe that another leads are given time to agree. */
const maxHops = 3;
/** A raft group may be busy with another change. */
const answerTimeoutMs = { join: 10_000, 'raft-join': 20_000, renew: 5_000, leave: 5_000 };

export interface Joined {
  readonly answer: Answer<'joined'>;
  /** The manager that answered: it leads. */
  readonly leader: string;
  /** This machine's end of the connection. */
  readonly localEnd: string | undefined;
}

/** Joins as a stranger. `request` is told this end of the connection, as it may be the address to advertise. */
export async function joinCluster(
  addrs: readonly string[],
  digest: string,
  request: (localEnd: string | undefined) => Extract<JoinMessage, { type: 'join' }>,
  modules: JoinClientModules,
  signal?: AbortSignal,
): Promise<Joined> {
  let localEnd: string | undefined;
  const connect: Dial = async (addr, abort) => {
    const { host, port } = parseAddress(addr, 'remote address', defaultPort);
    const { clock } = modules;
    const { socket } = await dialForJoin({ host, port, digest, clock, ...(abort && { signal: abort }) });
    localEnd = socket.localAddress;
    return socket;
  };
  const peers = addrs.map((addr) => ({ nodeId: '', addr }));
  const { answer, addr } = await ask(
    () => peers,
    connect,
    () => request(localEnd),
    'joined',
    modules,
    signal,
  );
  return { answer, leader: addr, localEnd };
}

/** The manager that answered leads; a joiner may have reached it by another address than the others know. */
export function leaderFirst({ answer, leader }: Joined): Peer[] {
  const known = answer.managers.filter((peer) => peer.addr === leader);
  if (answer.managers.length === 0) return [{ nodeId: '', addr: leader }];
  return [...known, ...answer.managers.filter((peer) => peer.addr !== leader)];
}

/** What was signed for us must be ours, of the cluster that the token names. Throws `unauthenticated`. */
export function checkJoined(identity: Identity, digest: string): void {
  const peer = checkIdentity(identity);
  const right =
    caDigest(identity.ca) === digest &&
    peer.nodeId === identity.nodeId &&
    peer.clusterId === identity.clusterId &&
    peer.role === identity.role;
  if (!right)
    throw new ClusterError('unauthenticated', 'the manager signed another certificate than the one asked for');
}

export interface KnownRequestModules extends JoinClientModules {
  readonly identity: () => Identity;
  readonly managers: ManagerList;
}

type KnownMessage = Exclude<JoinMessage, { type: 'join' }>;
interface AnswerTo {
  'raft-join': 'raft-joined';
  renew: 'renewed';
  leave: 'left';
}

/** Asks as the node that we are. */
export async function askManagers<M extends KnownMessage>(
  message: M,
  modules: KnownRequestModules,
  signal?: AbortSignal,
): Promise<Answer<AnswerTo[M['type']]>> {
  const { clock, identity, managers, random } = modules;
  const connect: Dial = async (addr, abort) => {
    const { host, port } = parseAddress(addr, 'manager address', defaultPort);
    const options = { host, port, protocol: 'join', identity: identity(), expect: { role: 'manager' }, clock } as const;
    try {
      return await dial({ ...options, ...(abort && { signal: abort }) });
    } catch (error) {
      // Another node may have the address now, or this one may be no manager any more: the others are asked.
      if (isClusterError(error, 'unauthenticated')) throw new ClusterError('unavailable', error.message, {}, error);
      throw error;
    }
  };
  // This node's own manager, if it has one, may be about to go.
  const isSelf = (peer: Peer) => Number(peer.nodeId === identity().nodeId);
  const wanted = { 'raft-join': 'raft-joined', renew: 'renewed', leave: 'left' } as const;
  const { answer } = await ask(
    () => [...managers.inTurn(random)].sort((a, b) => isSelf(a) - isSelf(b)),
    connect,
    () => message,
    wanted[message.type] as AnswerTo[M['type']],
    modules,
    signal,
  );
  return answer;
}

async function ask<T extends JoinAnswer['type']>(
  peers: () => readonly Peer[],
  connect: Dial,
  message: () => JoinMessage,
  wanted: T,
  modules: JoinClientModules,
  signal: AbortSignal | undefined,
): Promise<{ readonly answer: Answer<T>; readonly addr: string }> {
  const { clock, log } = modules;
  const end = clock.monotonic() + patienceMs;
  let queue = peers().map((peer) => peer.addr);
  let hops = 0;
  let lastError: unknown = new ClusterError('unavailable', 'no manager is known');
  for (;;) {
    const addr = queue.shift();
    if (addr === undefined) {
      // Nobody answered, or nobody leads: soon somebody may.
      if (clock.monotonic() >= end || !isPassing(lastError)) throw lastError;
      await delay(clock, retryMs, signal);
      hops = 0;
      queue = peers().map((peer) => peer.addr);
      if (queue.length === 0) throw lastError;
      continue;
    }
    try {
      const socket = await connect(addr, signal);
      const answer = await exchange(socket, message(), clock, signal);
      if (answer.type === wanted) return { answer: answer as Answer<T>, addr };
      if (answer.type === 'error') throw errorOf(answer);
      if (answer.type !== 'redirect') throw new ClusterError('internal', `${addr} answered '${answer.type}'`);
      lastError = new ClusterError('no-leader', 'the swarm has no leader at the moment', { redirect: true });
      if (answer.leader && ++hops <= maxHops) queue = [answer.leader.addr];
      log.debug({ addr, leader: answer.leader?.addr }, 'redirected');
    } catch (error) {
      if (signal?.aborted || !isPassing(error)) throw error;
      log.debug({ addr, error: messageOf(error) }, 'a manager did not answer');
      lastError = error;
    }
  }
}

/** Another manager, or the same one later, may say something else. */
const isPassing = (error: unknown): boolean =>
  isClusterError(error, 'unavailable') || isClusterError(error, 'no-leader');

function exchange(
  socket: TLSSocket,
  message: JoinMessage,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<JoinAnswer> {
  return new Promise((resolve, reject) => {
    const frames = new FrameStream<JoinAnswer, JoinMessage>(socket, { maxBytes: maxJoinFrameBytes });
    const timer = clock.after(answerTimeoutMs[message.type], () =>
      fail(new ClusterError('unavailable', 'no answer in time')),
    );
    const fail = (error: unknown) => {
      frames.destroy();
      finish(() => reject(error));
    };
    const onAbort = () => fail(signal?.reason);
    const finish = (act: () => void) => {
      timer.cancel();
      signal?.removeEventListener('abort', onAbort);
      act();
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    frames.once('message', (answer) => {
      frames.end();
      finish(() => resolve(answer));
    });
    frames.once('close', () => fail(new ClusterError('unavailable', 'the manager closed the connection')));
    frames.send(message);
  });
}

const errorOf = (answer: Answer<'error'>): ClusterError =>
  new ClusterError(answer.code in statusByCode ? (answer.code as ErrorCode) : 'unknown', answer.message);
