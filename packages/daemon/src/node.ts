import { networkInterfaces } from 'node:os';
import {
  type EngineFacts,
  type LocalControl,
  type LocalState,
  lockedMessage,
  type ManagerHandle,
  type NodeInfo,
  newCluster,
  newNode,
  newRaftId,
  signFor,
} from '@swarmctl/manager';
import {
  ClusterError,
  createCsr,
  formatJoinToken,
  type Identity,
  messageOf,
  parseJoinToken,
} from '@swarmctl/shared/kit';
import type { InitRequest, JoinRequest } from '@swarmctl/shared/model';
import type { Peer } from '@swarmctl/shared/wire';
import { engineAddress } from '@swarmctl/worker';
import { type NodeAddresses, resolveAddresses, textOf } from './addresses.ts';
import type { DaemonConfig } from './config.ts';
import { checkForced, goOnAlone } from './force-new-cluster.ts';
import { checkJoined, joinCluster, leaderFirst } from './join-client.ts';
import { leaveRefusal } from './leave-refusal.ts';
import { LocalEngine } from './local-engine.ts';
import { Membership, type MembershipModules } from './membership.ts';
import { nodeInfo } from './node-info.ts';
import { nodeIsReady } from './node-ready.ts';
import { Serial } from './serial.ts';
import { isInCluster, type NodeFile, readNode, wipeNode, writeIdentity } from './state-file.ts';
import { Vault } from './vault.ts';

// The node that this daemon is: in no cluster, or in one. What a user asks of it (init, join, leave) comes through the API.

export type LocalNodeModules = Omit<MembershipModules, 'onRemoved' | 'vault'>;

type Availability = 'active' | 'pause' | 'drain';

export class LocalNode implements LocalControl {
  readonly #config: DaemonConfig;
  readonly #modules: LocalNodeModules;
  readonly #serial = new Serial();
  readonly #engine: LocalEngine | undefined;
  #membership: Membership | undefined;
  readonly #vault: Vault;
  #entering = false;
  /** Its keys cannot be read yet: nothing of it runs until somebody unlocks them. */
  #locked = false;
  #error = '';
  #labels: readonly string[];

  constructor(config: DaemonConfig, modules: LocalNodeModules) {
    this.#config = config;
    this.#modules = modules;
    this.#labels = config.label;
    const address = config.runtime === 'docker' ? engineAddress(config.dockerHost) : undefined;
    this.#engine = address && new LocalEngine(address, modules);
    this.#vault = new Vault(config.dataDir);
  }

  state(): LocalState {
    if (this.#error !== '') return 'error';
    if (this.#locked) return 'locked';
    if (this.#entering) return 'pending';
    return this.#membership ? 'active' : 'inactive';
  }

  manager(): ManagerHandle | undefined {
    return this.#membership?.manager;
  }

  info(): NodeInfo {
    const membership = this.#membership;
    return nodeInfo({
      config: this.#config,
      nodeId: membership?.file.nodeId ?? '',
      addr: membership?.addr ?? '',
      error: this.#error,
      managers: membership?.managers.peers ?? [],
      labels: this.#labels,
      worker: membership?.worker?.status(),
    });
  }

  async engineFacts(): Promise<EngineFacts | undefined> {
    return this.#engine?.facts();
  }

  /** Goes on where the last daemon of this data folder stopped. Rejects when it cannot. */
  start(): Promise<void> {
    return this.#serial.run(async () => {
      const { dataDir } = this.#config;
      if (isInCluster(dataDir) && this.#vault.isLocked()) {
        this.#locked = true;
        this.#modules.log.warn({}, 'this manager is locked: it goes on after "swarm unlock"');
        return;
      }
      await this.#goOn();
    });
  }

  unlock(key: string): Promise<void> {
    return this.#serial.run(async () => {
      if (!this.#locked) throw new ClusterError('conflict', 'swarm is not locked');
      this.#vault.unlock(key);
      this.#locked = false;
      await this.#goOn();
    });
  }

  async #goOn(): Promise<void> {
    const node = readNode(this.#config.dataDir, this.#vault);
    if (!node) {
      wipeNode(this.#config.dataDir, this.#vault);
      return;
    }
    const membership = this.#newMembership(node.file, node.identity, true);
    this.#membership = membership;
    this.#entering = true;
    try {
      await membership.restart();
    } finally {
      this.#entering = false;
    }
    await membership.startWorker();
    this.#modules.log.info({ node: node.file.nodeId, role: node.file.role }, 'node restarted');
  }

  /** Resolves once the node can be given work; but not much later when it cannot. */
  async init(request: InitRequest): Promise<string> {
    const nodeId = await this.#serial.run(() => {
      const isForced = request.ForceNewCluster === true && (this.#locked || this.#membership !== undefined);
      return isForced ? this.#goOnAlone(request) : this.#init(request);
    });
    const manager = this.manager();
    if (manager) await nodeIsReady(manager, nodeId, this.#modules.clock);
    return nodeId;
  }

  /** The others are lost: what this manager knows becomes a cluster whose only manager it is. */
  async #goOnAlone(request: InitRequest): Promise<string> {
    if (this.#locked) throw new ClusterError('unavailable', lockedMessage);
    const membership = this.#membership;
    const manager = membership?.manager;
    if (!membership || !manager || this.#error !== '')
      throw new ClusterError(
        'unavailable',
        this.#error || 'This node is not a swarm manager: force a new cluster on one',
      );
    await checkForced(request, manager);
    const { listenAddr, advertiseAddr } = membership.file;
    const configured = { listenAddr, advertiseAddr };
    const addresses = resolveAddresses({ requested: request, configured }, networkInterfaces());
    const { dataDir } = this.#config;
    this.#entering = true;
    await membership.stop();
    try {
      const file = { ...membership.file, ...textsOf(addresses) };
      await goOnAlone(dataDir, file, { ...this.#modules, vault: this.#vault });
      this.#modules.log.warn({ node: file.nodeId }, 'the other managers were given up: this one goes on alone');
    } finally {
      // Also where it failed: as before, then.
      await this.#goOn();
    }
    await this.manager()?.readIndex();
    return membership.file.nodeId;
  }

  #init(request: InitRequest): Promise<string> {
    return this.#enter(async () => {
      const availability = availabilityOf(request.Availability);
      const addresses = this.#addresses(request, undefined);
      const { newId, random, clock, log } = this.#modules;
      const now = clock.now();
      const [nodeId, clusterId, raftId] = [newId(), newId(), newRaftId(random)];
      const cluster = await newCluster({
        clusterId,
        spec: request.Spec ?? {},
        now,
        ...(request.DefaultAddrPool && { defaultAddrPool: request.DefaultAddrPool }),
        ...(request.SubnetSize && { subnetSize: request.SubnetSize }),
        ...(request.DataPathPort && { dataPathPort: request.DataPathPort }),
      });
      const { csr, key } = await createCsr();
      const name = { nodeId, role: 'manager' } as const;
      const identity = { ...name, clusterId, key, ...(await signFor(cluster, name, csr, now)) };
      const advertised = textOf(addresses.advertise);
      const file = fileOf(identity, addresses, [{ nodeId, addr: advertised }], raftId);
      const membership = this.#newMembership(file, identity, false);
      const node = newNode({
        ...name,
        availability,
        hostname: this.#config.hostname,
        addr: addresses.advertise.host,
        raft: { id: raftId, addr: advertised },
      });
      await this.#settle(membership, identity, () => membership.bootstrap({ kind: 'bootstrap', cluster, node }));
      log.info({ node: nodeId, cluster: clusterId, addr: advertised }, 'cluster created');
      return nodeId;
    });
  }

  join(request: JoinRequest): Promise<void> {
    return this.#serial.run(() => this.#join(request));
  }

  #join(request: JoinRequest): Promise<void> {
    return this.#enter(async () => {
      const availability = availabilityOf(request.Availability);
      const token = parseJoinToken(request.JoinToken ?? '');
      const remotes = (request.RemoteAddrs ?? []).filter((addr) => addr !== '');
      if (remotes.length === 0) throw invalid('at least 1 RemoteAddr is required to join');
      const { csr, key } = await createCsr();
      let addresses: NodeAddresses | undefined;
      const joined = await joinCluster(
        remotes,
        token.digest,
        (localEnd) => {
          addresses = this.#addresses(request, localEnd);
          const { hostname } = this.#config;
          const addr = addresses.advertise.host;
          return { type: 'join', token: formatJoinToken(token), csr, hostname, addr, availability };
        },
        this.#modules,
      );
      if (!addresses) throw new ClusterError('internal', 'joined without an address');
      const { nodeId, role, clusterId, certificate, ca } = joined.answer;
      const identity = { nodeId, role, clusterId, certificate, key, ca };
      checkJoined(identity, token.digest);
      const file = fileOf(identity, addresses, leaderFirst(joined));
      const membership = this.#newMembership(file, identity, false);
      await this.#settle(membership, identity, async () => {
        if (role === 'manager') await membership.promote();
      });
      this.#modules.log.info({ node: nodeId, cluster: clusterId, role }, 'joined the cluster');
    });
  }

  leave(force: boolean): Promise<void> {
    return this.#serial.run(async () => {
      if (this.#locked) return this.#leaveLocked(force);
      const membership = this.#membership;
      if (!membership) throw new ClusterError('not-in-swarm', 'This node is not part of a swarm');
      const { manager } = membership;
      const managers =
        manager
          ?.view()
          .list('nodes')
          .filter((node) => node.ManagerStatus) ?? [];
      if (manager && !force)
        throw leaveRefusal(
          manager,
          managers.map((node) => node.ID),
        );
      // The last manager has nobody to tell.
      if (this.#error === '' && !(manager && managers.length <= 1)) await membership.leave();
      await membership.dismantle();
      wipeNode(this.#config.dataDir, this.#vault);
      this.#membership = undefined;
      this.#error = '';
      this.#modules.log.info({ node: membership.file.nodeId }, 'left the cluster');
    });
  }

  /** Without its keys it can tell nobody. What it runs stays: only the keys would say what that is. */
  #leaveLocked(force: boolean): void {
    if (!force) throw new ClusterError('unavailable', lockedMessage);
    wipeNode(this.#config.dataDir, this.#vault);
    this.#locked = false;
    this.#modules.log.warn({}, 'left the cluster while locked: its containers were left as they are');
  }

  relabel(labels: readonly string[]): void {
    this.#labels = labels;
    this.#membership?.relabel(labels);
  }

  /** Stops at once what is under way, then says goodbye; what the node runs goes on running. */
  async stop(): Promise<void> {
    await this.#membership?.stop();
  }

  async #enter<T>(act: () => Promise<T>): Promise<T> {
    if (this.#membership || this.#locked) {
      throw new ClusterError(
        'unavailable',
        'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.',
      );
    }
    this.#entering = true;
    try {
      return await act();
    } finally {
      this.#entering = false;
    }
  }

  /** Takes the new place in a cluster, or none of it. */
  async #settle(membership: Membership, identity: Identity, begin: () => Promise<void>): Promise<void> {
    const { dataDir } = this.#config;
    try {
      await begin();
      writeIdentity(dataDir, this.#vault, membership.identity);
      membership.persist();
      await membership.startWorker();
      this.#membership = membership;
    } catch (error) {
      if (membership.file.managers.some((peer) => peer.nodeId !== identity.nodeId)) await membership.leave();
      await membership.dismantle();
      wipeNode(dataDir, this.#vault);
      throw error;
    }
  }

  #newMembership(file: NodeFile, identity: Identity, persistent: boolean): Membership {
    return new Membership(
      this.#config,
      { file, identity, persistent },
      { ...this.#modules, vault: this.#vault, onRemoved: (reason) => this.#onRemoved(reason) },
    );
  }

  /** A manager removed this node: it stays as it is until somebody lets it leave, but runs nothing. */
  #onRemoved(reason: string): void {
    const { log } = this.#modules;
    if (this.#error !== '') return;
    log.warn({ reason }, 'this node was removed from the cluster');
    this.#error = `this node was removed from the swarm (${reason}): use "swarm leave" to let it join another one`;
    this.#serial
      .run(async () => this.#membership?.dismantle())
      .catch((error) => log.error({ error: messageOf(error) }, 'cannot end what this node runs'));
  }

  #addresses(request: Pick<InitRequest, 'ListenAddr' | 'AdvertiseAddr'>, localEnd: string | undefined): NodeAddresses {
    return resolveAddresses({ requested: request, configured: this.#config, localEnd }, networkInterfaces());
  }
}

const fileOf = (
  identity: Identity,
  addresses: NodeAddresses,
  managers: readonly Peer[],
  raftId?: number,
): NodeFile => ({
  version: 1,
  nodeId: identity.nodeId,
  clusterId: identity.clusterId,
  role: identity.role,
  ...textsOf(addresses),
  managers,
  ...(raftId !== undefined && { raftId }),
});

const textsOf = ({ listen, advertise }: NodeAddresses) => ({
  listenAddr: textOf({ ...listen, host: listen.host || '0.0.0.0' }),
  advertiseAddr: textOf(advertise),
});

function availabilityOf(given: string | undefined): Availability {
  if (given === undefined || given === '') return 'active';
  if (given === 'active' || given === 'pause' || given === 'drain') return given;
  throw invalid(`invalid Availability: ${JSON.stringify(given)}`);
}

const invalid = (message: string) => new ClusterError('invalid-argument', message);
