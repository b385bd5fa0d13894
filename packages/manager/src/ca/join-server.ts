import type { Duplex } from 'node:stream';
import {
  type Clock,
  ClusterError,
  FrameStream,
  isClusterError,
  type Logger,
  messageOf,
  type NewId,
  type PeerCertificate,
  roleOfToken,
} from '@swarmctl/shared/kit';
import type { Cluster, Node, StoreChange } from '@swarmctl/shared/model';
import { type JoinAnswer, type JoinMessage, maxJoinFrameBytes, type Peer } from '@swarmctl/shared/wire';
import type { Proposer, View } from '../store/types.ts';
import { certify, signFor } from './certify.ts';
import { checkJoinMessage } from './messages.ts';
import { newNode } from './new-cluster.ts';

// The manager's side of the join protocol: one request, one answer. What changes the state is for the leader; others say who that is.

export interface JoinServerOptions {
  /** For the request to arrive. */
  readonly requestTimeoutMs?: number;
  /** For all of it. */
  readonly timeoutMs?: number;
}

/** The narrow needs of it; a manager has most of them. */
export interface JoinServerModules {
  readonly manager: Pick<Proposer, 'propose'> & {
    isLeader(): boolean;
    leader(): Peer | undefined;
    managers(): readonly Peer[];
    view(): View;
    readIndex(): Promise<void>;
    /** Makes a manager a member of the raft group that is reached at `addr`. May be repeated. */
    addMember(
      nodeId: string,
      addr: string,
    ): Promise<{ readonly raftId: number; readonly peers: readonly { id: number; addr: string }[] }>;
  };
  readonly clock: Clock;
  readonly newId: NewId;
  readonly log: Logger;
}

type Request<T extends JoinMessage['type']> = Extract<JoinMessage, { type: T }>;

export class JoinServer {
  readonly #options: Required<JoinServerOptions>;
  readonly #modules: JoinServerModules;

  constructor(options: JoinServerOptions, modules: JoinServerModules) {
    this.#options = { requestTimeoutMs: 5_000, timeoutMs: 30_000, ...options };
    this.#modules = modules;
  }

  /** Takes over an authorised stream. Never throws. */
  accept(stream: Duplex, peer: PeerCertificate | undefined): void {
    const { clock } = this.#modules;
    const frames = new FrameStream<unknown, JoinAnswer>(stream, { maxBytes: maxJoinFrameBytes });
    const request = clock.after(this.#options.requestTimeoutMs, () => frames.destroy(), { unref: true });
    const whole = clock.after(this.#options.timeoutMs, () => frames.destroy(), { unref: true });
    frames.once('close', () => {
      request.cancel();
      whole.cancel();
    });
    frames.once('message', (message) => {
      request.cancel();
      void this.#answer(message, peer).then((answer) => {
        frames.send(answer);
        frames.end();
      });
    });
  }

  async #answer(given: unknown, peer: PeerCertificate | undefined): Promise<JoinAnswer> {
    try {
      const message = checkJoinMessage(given);
      switch (message.type) {
        case 'join':
          return await this.#join(message);
        case 'raft-join':
          return await this.#raftJoin(message, known(peer));
        case 'renew':
          return await this.#renew(message, known(peer));
        case 'leave':
          return await this.#leave(known(peer));
        default:
          return message satisfies never;
      }
    } catch (error) {
      return this.#errorAnswer(error, peer);
    }
  }

  #errorAnswer(error: unknown, peer: PeerCertificate | undefined): JoinAnswer {
    const { log, manager } = this.#modules;
    if (!isClusterError(error)) {
      log.error({ peer: peer?.nodeId, error: messageOf(error) }, 'join request failed');
      return { type: 'error', code: 'internal', message: 'the manager failed to answer; its log says why' };
    }
    // Leadership went while we were at it: the joiner asks the next one.
    if (error.code === 'no-leader' && !manager.isLeader()) return this.#redirect();
    log.info({ peer: peer?.nodeId, code: error.code, reason: error.message }, 'join request refused');
    return { type: 'error', code: error.code, message: error.message };
  }

  #redirect(): JoinAnswer {
    const leader = this.#modules.manager.leader();
    return { type: 'redirect', ...(leader && { leader }) };
  }

  async #join(request: Request<'join'>): Promise<JoinAnswer> {
    const { manager, clock, newId, log } = this.#modules;
    if (!manager.isLeader()) return this.#redirect();
    const cluster = clusterOf(manager.view());
    const role = roleOfToken(request.token, cluster.RootCA.JoinTokens);
    if (!role) {
      throw new ClusterError('unknown', 'invalid join token: it is not one of this cluster, or it was rotated');
    }
    const nodeId = newId();
    const signed = await signFor(cluster, { nodeId, role }, request.csr, clock.now());
    const { hostname, addr, availability } = request;
    await manager.propose([
      { op: 'create', table: 'nodes', object: newNode({ nodeId, role, availability, hostname, addr }) },
    ]);
    log.info({ node: nodeId, role, hostname, addr }, 'node joined');
    return { type: 'joined', nodeId, clusterId: cluster.ID, role, ...signed, managers: manager.managers() };
  }

  async #raftJoin(request: Request<'raft-join'>, peer: PeerCertificate): Promise<JoinAnswer> {
    const { manager, log } = this.#modules;
    if (!manager.isLeader()) return this.#redirect();
    const node = nodeOf(manager.view(), peer.nodeId);
    if (node.Spec.Role !== 'manager') throw new ClusterError('permission-denied', `node ${node.ID} is not a manager`);
    const member = await manager.addMember(peer.nodeId, request.addr);
    log.info({ node: peer.nodeId, raftId: member.raftId, addr: request.addr }, 'manager joined the raft group');
    return { type: 'raft-joined', ...member };
  }

  async #renew(request: Request<'renew'>, peer: PeerCertificate): Promise<JoinAnswer> {
    const { manager, clock, log } = this.#modules;
    await manager.readIndex();
    const certified = await certify(manager.view(), peer.nodeId, request.csr, clock.now());
    log.info({ node: peer.nodeId, role: certified.role }, 'certificate renewed');
    return { type: 'renewed', ...certified };
  }

  /** A manager is demoted, which the raft group follows; it asks again once it is a worker, and is then down. */
  async #leave(peer: PeerCertificate): Promise<JoinAnswer> {
    const { manager, clock, log } = this.#modules;
    if (!manager.isLeader()) return this.#redirect();
    const node = nodeOf(manager.view(), peer.nodeId);
    const changes = leaveChanges(manager.view(), node, clock.now());
    if (changes.length > 0) await manager.propose(changes);
    log.info({ node: node.ID, role: node.Spec.Role }, 'node leaves');
    return { type: 'left' };
  }
}

/** Throws `failed-precondition` for the last manager. */
export function leaveChanges(view: View, node: Node, now: number): StoreChange[] {
  const update = { op: 'update', table: 'nodes', id: node.ID, ifExists: true } as const;
  if (node.Spec.Role === 'manager') {
    const managers = view.list('nodes').filter((one) => one.Spec.Role === 'manager');
    if (managers.length === 1) {
      throw new ClusterError(
        'failed-precondition',
        'rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm',
      );
    }
    return [{ ...update, set: { Spec: { ...node.Spec, Role: 'worker' } } }];
  }
  if (node.ManagerStatus) return [];
  const Status = { ...node.Status, State: 'down', Message: 'the node has left the swarm' } as const;
  return [{ ...update, set: { Status, DownSince: now }, unset: ['RestartGraceUntil'] }];
}

function known(peer: PeerCertificate | undefined): PeerCertificate {
  if (!peer) throw new ClusterError('unauthenticated', 'this request needs the certificate of a node');
  return peer;
}

function nodeOf(view: View, nodeId: string): Node {
  const node = view.get('nodes', nodeId);
  if (!node) throw new ClusterError('not-found', `node ${nodeId} is not in the swarm`);
  return node;
}

function clusterOf(view: View): Cluster {
  const cluster = view.cluster();
  if (!cluster) throw new ClusterError('no-leader', 'this manager has no state yet');
  return cluster;
}
