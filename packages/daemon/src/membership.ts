import type { TLSSocket } from 'node:tls';
import type { ManagerHandle, ManagerModules, ManagerOptions, ManagerStart, StartManager } from '@swarmctl/manager';
import {
  type Clock,
  ClusterError,
  delay,
  type Identity,
  inTime,
  type Logger,
  messageOf,
  type NewId,
  parseAddress,
  type Random,
  tlsInfoOfIdentity,
} from '@swarmctl/shared/kit';
import { hasLog } from 'raft-ts';
import { type DaemonConfig, defaultApiPort } from './config.ts';
import { IdentityKeeper } from './identity-keeper.ts';
import { askManagers } from './join-client.ts';
import { DirectLink } from './link.ts';
import { ManagerList } from './manager-list.ts';
import { ManagerSide } from './manager-side.ts';
import { NodeRecord } from './node-record.ts';
import type { StartWorker, WorkerHandle } from './ports.ts';
import { RoleKeeper, type RoleParts } from './role-keeper.ts';
import { Serial } from './serial.ts';
import { type NodeFile, raftDir } from './state-file.ts';
import type { Vault } from './vault.ts';

// A node's life in one cluster: its identity, its worker side always, its manager side while its role says so.

export interface MembershipModules {
  readonly startManager: StartManager;
  readonly startWorker: StartWorker;
  readonly vault: Vault;
  readonly serveApi: (socket: TLSSocket) => void;
  /** The node is no longer in the cluster. */
  readonly onRemoved: (reason: string) => void;
  readonly onFatal: (error: Error) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly newId: NewId;
  readonly log: Logger;
}

const leaveRetryMs = 200;
/** A manager that hears of no leader does not ask for longer whether it is a member. */
const askMemberMs = 5_000;
/** How long a manager that leaves waits for the raft group to let it go. */
const demotionMs = 15_000;
const farewellMs = 5_000;

export class Membership {
  readonly managers: ManagerList;
  readonly #config: DaemonConfig;
  readonly #modules: MembershipModules;
  readonly #keeper: IdentityKeeper;
  readonly #link: DirectLink;
  readonly #abort = new AbortController();
  /** Changes of the role come one at a time. */
  readonly #serial = new Serial();
  readonly #record: NodeRecord;
  #side: ManagerSide | undefined;
  #worker: WorkerHandle | undefined;
  #labels: readonly string[];
  readonly #roles: RoleKeeper;
  /** The raft group has let this manager go. */
  #gone = false;

  /** `persistent`: the file is on the disk already, and is kept up to date. */
  constructor(
    config: DaemonConfig,
    node: { readonly file: NodeFile; readonly identity: Identity; readonly persistent: boolean },
    modules: MembershipModules,
  ) {
    this.#config = config;
    this.#modules = modules;
    this.#labels = config.label;
    const { vault, clock, random, log } = modules;
    this.#record = new NodeRecord(config.dataDir, vault, node);
    this.managers = new ManagerList(node.file.managers, (managers) => this.#record.save({ managers }));
    this.#keeper = new IdentityKeeper(config.dataDir, node.identity, {
      managers: this.managers,
      vault,
      view: () => this.manager?.view(),
      onChange: (identity) => {
        this.#side?.renew(identity);
        this.#worker?.redescribe();
      },
      clock,
      random,
      log,
    });
    const identity = () => this.#keeper.current;
    this.#link = new DirectLink({ identity, managers: this.managers, clock, random, log });
    const { signal } = this.#abort;
    this.#roles = new RoleKeeper(node.file.role, {
      parts: this.#roleParts(),
      serial: this.#serial,
      signal,
      clock,
      log,
    });
  }

  get file(): NodeFile {
    return this.#record.file;
  }

  get identity(): Identity {
    return this.#keeper.current;
  }

  get worker(): WorkerHandle | undefined {
    return this.#worker;
  }

  get manager(): ManagerHandle | undefined {
    return this.#gone ? undefined : this.#side?.manager;
  }

  /** The host where others reach this node. */
  get addr(): string {
    return parseAddress(this.file.advertiseAddr, 'advertise address').host;
  }

  // --- coming ---

  /** From now on the node is found again after a restart. */
  persist(): void {
    this.#record.persist();
  }

  /** The first manager of a new cluster. */
  bootstrap(first: Extract<ManagerStart, { kind: 'bootstrap' }>): Promise<void> {
    return this.#serial.run(async () => {
      this.#record.wipeRaft();
      const side = await this.#openSide();
      await this.#startManager(side, first, this.#record.raftId);
    });
  }

  /** The raft group takes this node in. */
  promote(): Promise<void> {
    return this.#serial.run(() => this.#promote());
  }

  /** A manager goes on from its log. One that had not begun it is promoted again, once its worker side has found the others. */
  restart(): Promise<void> {
    return this.#serial.run(async () => {
      this.#record.settleRaft();
      if (!this.file.raftStarted) return;
      const side = await this.#openSide();
      await this.#startManager(side, { kind: 'restart' }, this.#record.raftId);
    });
  }

  async startWorker(): Promise<void> {
    const { startWorker, onFatal, clock, random, newId, log } = this.#modules;
    const { nodeId, clusterId } = this.file;
    this.#keeper.start();
    this.#roles.start();
    this.#worker = await startWorker(
      {
        config: this.#config,
        dataDir: this.#config.dataDir,
        nodeId,
        clusterId,
        addr: this.addr,
        labels: this.#labels,
      },
      {
        link: this.#link,
        onRole: (role) => this.#roles.told(role),
        onRoots: (ca, revision) => this.#keeper.follow(ca, revision),
        tlsInfo: () => tlsInfoOfIdentity(this.#keeper.current),
        onRemoved: (reason) => this.#onRemoved(reason),
        onFatal,
        clock,
        random,
        newId,
        log,
      },
    );
  }

  relabel(labels: readonly string[]): void {
    this.#labels = labels;
    this.#worker?.relabel(labels);
  }

  // --- going ---

  /** The node will be back. */
  async stop(): Promise<void> {
    this.#abort.abort(new Error('the node stops'));
    await this.#worker?.stop(this.#config.restartGrace);
    this.#keeper.stop();
    await this.#side?.stop({ transfer: true });
  }

  /** The cluster does not know this node any more: nothing of it may go on. */
  async dismantle(): Promise<void> {
    this.#abort.abort(new Error('the node has left'));
    this.#keeper.stop();
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.purge().catch((error) => this.#warn(error, 'cannot remove all that this node runs'));
    await this.#side?.stop({ transfer: false });
    this.#side = undefined;
  }

  /** Tells the managers that this node leaves; one that is a manager itself waits until the raft group does without it. */
  async leave(): Promise<void> {
    const { clock } = this.#modules;
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.purge().catch((error) => this.#warn(error, 'cannot remove all that this node runs'));
    const limit = new AbortController();
    const isManager = this.#keeper.current.role === 'manager';
    const timer = clock.after(
      isManager ? demotionMs : farewellMs,
      () => limit.abort(new Error('the managers took too long')),
      { unref: true },
    );
    try {
      await this.#ask({ type: 'leave', force: true }, limit.signal);
      if (!isManager) return;
      // Without its worker side it hears nothing of that.
      this.#roles.told('worker');
      while ((await this.#keeper.renew()).role === 'manager') await delay(clock, leaveRetryMs, limit.signal);
      await this.#ask({ type: 'leave', force: true }, limit.signal);
    } catch (error) {
      this.#warn(error, 'left without the managers’ knowledge');
    } finally {
      timer.cancel();
    }
  }

  // --- the role ---

  #roleParts(): RoleParts {
    return {
      manager: () => (this.#side === undefined ? 'none' : this.#gone ? 'gone' : 'runs'),
      isLeaderless: () => this.manager !== undefined && this.manager.leader() === undefined,
      certified: () => this.#keeper.current.role,
      renew: async () => (await this.#keeper.renew()).role,
      isMember: async () => (await this.#askRaftId(askMemberMs)) === this.file.raftId,
      promote: () => this.#promote(),
      demote: () => this.#demote(),
      onRemoved: (reason) => this.#onRemoved(reason),
    };
  }

  /** By which the raft group knows this node, which it takes in if it does not. `limitMs`: the managers are given so long. */
  async #askRaftId(limitMs?: number): Promise<number> {
    const { signal } = this.#abort;
    const ask = (until: AbortSignal) => this.#ask({ type: 'raft-join', addr: this.file.advertiseAddr }, until);
    if (limitMs === undefined) return (await ask(signal)).raftId;
    return (await inTime(this.#modules.clock, { what: 'the managers’ answer', ms: limitMs, signal }, ask)).raftId;
  }

  async #promote(): Promise<void> {
    const { dataDir } = this.#config;
    const side = await this.#openSide();
    try {
      const raftId = await this.#askRaftId();
      if (raftId !== this.file.raftId) this.#record.forgetRaft();
      const goesOn = await hasLog(raftDir(dataDir));
      if (!goesOn && this.file.raftStarted) {
        throw new ClusterError('internal', `the raft log of this manager is missing from ${dataDir}`);
      }
      this.#record.save({ role: 'manager', raftId, raftStarted: goesOn || undefined });
      await this.#startManager(side, { kind: goesOn ? 'restart' : 'join' }, raftId);
    } catch (error) {
      this.#side = undefined;
      await side.stop({ transfer: false });
      throw error;
    }
  }

  async #demote(): Promise<void> {
    await this.#side?.stop({ transfer: false });
    this.#side = undefined;
    this.#gone = false;
    this.#record.forgetRaft();
    this.managers.update(this.managers.peers.filter((peer) => peer.nodeId !== this.file.nodeId));
  }

  #api() {
    const { apiAddr, apiName, hostname } = this.#config;
    if (apiAddr === undefined) return undefined;
    return { addr: parseAddress(apiAddr, '--api-addr', defaultApiPort), names: [hostname, this.addr, ...apiName] };
  }

  async #openSide(): Promise<ManagerSide> {
    const { vault, serveApi, clock, random, newId, log } = this.#modules;
    const side = await ManagerSide.open(parseAddress(this.file.listenAddr, 'listen address'), {
      startManager: (options, modules) => this.#begin(options, modules),
      identity: () => this.#keeper.current,
      vault,
      serveApi,
      onManagers: (peers) => this.managers.update(peers),
      onRoots: (ca, revision) => this.#keeper.follow(ca, revision),
      api: this.#api(),
      clock,
      random,
      newId,
      log,
    });
    this.#side = side;
    return side;
  }

  /**
   * A new member's log is made first, then recorded, and only then is the manager handed out: until it is given streams it knows nobody to whom it
   * could promise anything. So one that died in between may begin again, with or without the log, and a recorded log must be there.
   */
  async #begin(options: ManagerOptions, modules: ManagerModules): Promise<ManagerHandle> {
    const manager = await this.#modules.startManager(options, modules);
    try {
      this.#record.save({ role: 'manager', raftId: options.raftId, raftStarted: true });
    } catch (error) {
      await manager.stop({ transfer: false });
      throw error;
    }
    return manager;
  }

  async #startManager(side: ManagerSide, start: ManagerStart, raftId: number): Promise<void> {
    const { nodeId, clusterId, advertiseAddr } = this.file;
    const { dataDir } = this.#config;
    const manager = await side.start({ dataDir, clusterId, nodeId, raftId, addr: advertiseAddr, start });
    this.#gone = false;
    manager.done.then(
      (how) => {
        if (how === 'removed' && this.#side === side) this.#onGone();
      },
      (error) => this.#modules.onFatal(error),
    );
  }

  /** What is wanted stays what the managers last said: they may have promoted it once more before it notices. */
  #onGone(): void {
    this.#gone = true;
    this.#modules.log.info({}, 'the raft group has let this manager go');
    this.#roles.look();
  }

  #onRemoved(reason: string): void {
    if (!this.#abort.signal.aborted) this.#modules.onRemoved(reason);
  }

  // --- small things ---

  #ask<M extends Parameters<typeof askManagers>[0]>(message: M, signal: AbortSignal) {
    const modules = { ...this.#modules, identity: () => this.#keeper.current, managers: this.managers };
    return askManagers(message, modules, signal);
  }

  #warn(error: unknown, what: string): void {
    this.#modules.log.warn({ error: messageOf(error) }, what);
  }
}
