import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { ClusterError, delay, FrameStream, inTime, messageOf, type PeerCertificate } from '@swarmctl/shared/kit';
import type { StoreChange } from '@swarmctl/shared/model';
import type { AgentMessage, LogEntry, LogNote, LogWish, ManagerMessage, Peer } from '@swarmctl/shared/wire';
import { type Channel, type NodeStatus, openRaftNode, type RaftNode } from 'raft-ts';
import { EventJournal } from './api/events/journal.ts';
import { JoinServer } from './ca/join-server.ts';
import { networkConflict, networkWarning } from './control/allocator/networks.ts';
import { portConflict } from './control/allocator/ports.ts';
import { type Dispatcher, EngineStreams, redirectDispatch } from './dispatcher/index.ts';
import { dialLeader } from './leader-dial.ts';
import type { ManagerHandle, ManagerModules, ManagerOptions, ManagerProtocol, StartManager } from './manager-types.ts';
import { type AddedMember, Members } from './members.ts';
import { encodePreamble, readPreamble } from './raft-streams.ts';
import { nodesForHandMade } from './scheduler/index.ts';
import { clusterErrorOf, RaftProposer } from './store/proposer.ts';
import { StoreStateMachine } from './store/state-machine.ts';
import { Store } from './store/store.ts';
import type { View } from './store/types.ts';
import { newTerm } from './term.ts';

// A manager: raft and the store always; the control loop, the dispatcher and the roles only while it leads. Made and stopped in place when
// the node's role changes.

/** How much log is kept is the cluster's to say. */
function followCompaction(raft: RaftNode, view: View): void {
  const { SnapshotInterval: snapshotEntries, LogEntriesForSlowFollowers: keepEntries } =
    view.cluster()?.Spec.Raft ?? {};
  if (snapshotEntries && keepEntries) raft.setCompaction({ snapshotEntries, keepEntries });
}

const leaderlessRetryMs = 50;
/** How long a leader that stops waits for another to take over. */
const transferMs = 2_000;

export class Manager implements ManagerHandle {
  readonly options: ManagerOptions;
  readonly store: Store;
  readonly raft: RaftNode;
  readonly proposer: RaftProposer;
  readonly #modules: ManagerModules;
  readonly #join: JoinServer;
  readonly #engines: EngineStreams;
  readonly #members: Members;
  #dispatcher: Dispatcher | undefined;
  #term: { readonly abort: AbortController; readonly raftTerm: number } | undefined;
  #ready = false;
  #stopped = false;
  #removed = false;
  readonly #events: EventJournal;
  #stopping: Promise<void> | undefined;
  #settle: { readonly resolve: (how: 'stopped' | 'removed') => void; readonly reject: (error: Error) => void } = {
    resolve: () => undefined,
    reject: () => undefined,
  };
  readonly done: Promise<'stopped' | 'removed'>;

  private constructor(options: ManagerOptions, modules: ManagerModules, store: Store, raft: RaftNode) {
    this.options = options;
    this.store = store;
    this.raft = raft;
    this.#modules = modules;
    this.proposer = new RaftProposer({ raft, clock: modules.clock });
    this.#events = new EventJournal(store, modules.clock);
    this.#join = new JoinServer(
      {},
      { manager: this, clock: modules.clock, newId: modules.newId, log: modules.log.child({ module: 'join' }) },
    );
    this.#members = new Members({
      raft,
      view: () => store.view(),
      proposer: this.proposer,
      clock: modules.clock,
      random: modules.random,
    });
    this.#engines = new EngineStreams({
      tell: (nodeId, message) => this.#dispatcher?.tell(nodeId, message) === true,
      self: { nodeId: options.nodeId, addr: options.addr },
      newId: modules.newId,
      clock: modules.clock,
    });
    this.done = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // Whoever awaits `done` sees the failure; until then it must not count as unhandled.
    this.done.catch(() => undefined);
  }

  static async start(options: ManagerOptions, modules: ManagerModules): Promise<Manager> {
    const store = new Store({
      onListenerError: (error) => modules.log.error({ error: messageOf(error) }, 'a store listener failed'),
    });
    let manager: Manager | undefined;
    const addressBook = (address: string) => nodeIdOfManager(store.view(), address);
    const dial = async (peer: { id: number; address: string }, channel: Channel, signal: AbortSignal) => {
      const nodeId = addressBook(peer.address);
      const stream = await modules.dial('raft', { addr: peer.address, ...(nodeId && { nodeId }) }, signal);
      stream.write(encodePreamble(options.raftId, channel));
      return stream;
    };
    const raft = await openRaftNode(
      {
        id: options.raftId,
        dir: join(options.dataDir, 'raft'),
        random: modules.random,
        onFatal: (error) => manager?.fail(error),
        log: (level, fields, message) => modules.log[level](fields, message),
      },
      { stateMachine: new StoreStateMachine(store), dial, sealer: modules.sealer },
      options.start.kind === 'bootstrap' ? { kind: 'bootstrap', address: options.addr } : { kind: options.start.kind },
    );
    const made = new Manager(options, modules, store, raft);
    manager = made;
    store.watch((events, view) => {
      if (events === 'reset' || events.some((event) => event.table === 'cluster')) followCompaction(raft, view);
    });
    followCompaction(raft, store.view());
    raft.onChange((status) => made.#follow(status));
    made.#follow(raft.status());
    if (options.start.kind === 'bootstrap') await made.#bootstrap(options.start);
    return made;
  }

  async #bootstrap(first: Extract<ManagerOptions['start'], { kind: 'bootstrap' }>): Promise<void> {
    for (let waitedMs = 0; this.raft.status().role !== 'leader'; waitedMs += leaderlessRetryMs) {
      if (waitedMs > 10_000) throw new ClusterError('internal', 'a cluster of one did not elect its only member');
      await delay(this.#modules.clock, leaderlessRetryMs);
    }
    await this.proposer.propose([
      { op: 'create', table: 'cluster', object: first.cluster },
      { op: 'create', table: 'nodes', object: first.node },
    ]);
  }

  // --- what the API asks of it ---

  /** True once this manager leads and its state holds all that earlier leaders committed. */
  isLeader(): boolean {
    return this.#ready && this.raft.status().role === 'leader';
  }

  leader(): Peer | undefined {
    const { leader } = this.raft.status();
    if (leader === 0) return undefined;
    const node = this.view()
      .list('nodes')
      .find((one) => one.ManagerStatus?.RaftID === leader);
    const addr =
      node?.ManagerStatus?.Addr ?? this.raft.status().members.find((member) => member.id === leader)?.address;
    return addr === undefined ? undefined : { nodeId: node?.ID ?? '', addr };
  }

  managers(): readonly Peer[] {
    return this.view()
      .list('nodes')
      .flatMap((node) => (node.ManagerStatus ? [{ nodeId: node.ID, addr: node.ManagerStatus.Addr }] : []));
  }

  view(): View {
    return this.store.view();
  }

  events(): EventJournal {
    return this.#events;
  }

  watch(listener: Parameters<Store['watch']>[0]): () => void {
    return this.store.watch(listener);
  }

  async readIndex(): Promise<void> {
    try {
      await this.raft.readIndex();
    } catch (error) {
      throw clusterErrorOf(error);
    }
  }

  propose(changes: readonly StoreChange[]): Promise<{ readonly index: number }> {
    return this.proposer.propose(changes);
  }

  raftStatus(nodeId: string): { readonly leader: boolean; readonly reachable: boolean } {
    const raftId = this.view().get('nodes', nodeId)?.ManagerStatus?.RaftID;
    const status = this.raft.status();
    const isLeader = raftId !== undefined && raftId === status.leader;
    // A follower does not hear of the others; it knows the leader and itself.
    const heard = status.role === 'leader' ? (status.progress.get(raftId ?? 0)?.active ?? false) : status.leader !== 0;
    return { leader: isLeader, reachable: isLeader || raftId === status.id || heard };
  }

  portConflict = portConflict;

  networkConflict = networkConflict;
  networkWarning = networkWarning;

  nodesForHandMade = nodesForHandMade;

  isAwaited(nodeId: string): boolean {
    return this.#dispatcher?.isAwaited(nodeId) ?? this.isLeader();
  }

  openEngine(nodeId: string): Promise<Duplex> {
    return this.#engines.open(nodeId);
  }

  logs(wish: LogWish, signal: AbortSignal): AsyncIterable<LogEntry | LogNote> {
    if (!this.#dispatcher) throw new ClusterError('no-leader', 'this manager does not lead');
    return this.#dispatcher.subscribeLogs(wish, signal);
  }

  /** Waits a moment for an election to end; it may be this manager that wins. */
  dialLeader(signal: AbortSignal): Promise<Duplex | 'here'> {
    const { clock, dial } = this.#modules;
    const modules = {
      ...{ nodeId: this.options.nodeId, clock, dial },
      isLeader: () => this.isLeader(),
      leader: () => this.leader(),
      onChange: (listener: () => void) => this.raft.onChange(listener),
    };
    return dialLeader(modules, signal);
  }

  // --- streams that the port hands over ---

  accept(protocol: ManagerProtocol, socket: TLSSocket, peer: PeerCertificate | undefined): void {
    if (protocol === 'join') this.#join.accept(socket, peer);
    else if (!peer || this.#stopped) socket.destroy();
    else if (protocol === 'raft') this.#acceptRaft(peer.nodeId, socket);
    else if (protocol === 'engine') this.#engines.accept(peer.nodeId, socket);
    else this.#acceptDispatch(peer.nodeId, socket);
  }

  #acceptRaft(nodeId: string, stream: Duplex): void {
    void readPreamble(stream).then((preamble) => {
      if (this.#stopped || !preamble || !this.#mayBe(nodeId, preamble.from)) {
        stream.destroy();
        return;
      }
      this.raft.accept(preamble.from, preamble.channel, stream);
    });
  }

  /** Whether the node may speak as this member: by the state, or by its certificate alone where there is none yet, or it may be old. */
  #mayBe(nodeId: string, raftId: number): boolean {
    const view = this.view();
    if (!view.cluster()) return true;
    if (view.get('nodes', nodeId)?.ManagerStatus?.RaftID === raftId) return true;
    // A manager that knows no leader, or nothing of it, is behind: one that became a member meanwhile may lead, and nobody else would tell.
    if (this.leader() === undefined) return true;
    // One that was removed must be told so.
    return this.raft.wasRemoved(raftId);
  }

  #acceptDispatch(nodeId: string, stream: Duplex): void {
    if (this.#dispatcher && this.isLeader()) this.#dispatcher.accept(nodeId, stream);
    else redirectDispatch(new FrameStream<AgentMessage, ManagerMessage>(stream), this.leader(), this.managers());
  }

  /** A new manager becomes a member of the group. Leader only; may be repeated. */
  addMember(nodeId: string, addr: string): Promise<AddedMember> {
    return this.#members.add(nodeId, addr);
  }

  // --- leadership ---

  #follow(status: NodeStatus): void {
    if (status.removed) void this.#leaveGroup();
    const leads = status.role === 'leader' && !this.#stopped;
    if (this.#term && (!leads || this.#term.raftTerm !== status.term)) this.#endTerm();
    if (leads && !this.#term) this.#startTerm(status.term);
  }

  #startTerm(raftTerm: number): void {
    const abort = new AbortController();
    this.#term = { abort, raftTerm };
    void this.#runTerm(abort.signal, raftTerm);
  }

  #endTerm(): void {
    this.#ready = false;
    this.#dispatcher = undefined;
    this.#term?.abort.abort();
    this.#term = undefined;
  }

  /** Never rejects. */
  async #runTerm(signal: AbortSignal, raftTerm: number): Promise<void> {
    const { log } = this.#modules;
    try {
      // All that earlier leaders committed is in the state before anything is decided.
      await this.raft.readIndex();
      if (signal.aborted) return;
      log.info({ term: raftTerm }, 'leading');
      const { store, raft, proposer } = this;
      const term = newTerm({
        ...{ ...this.#modules, store, raft, proposer, managers: () => this.managers() },
        openEngine: (nodeId) => this.openEngine(nodeId),
      });
      this.#dispatcher = term.dispatcher;
      this.#ready = true;
      await term.run(signal);
    } catch (error) {
      if (!signal.aborted) log.error({ error: messageOf(error), stack: (error as Error).stack }, 'the term failed');
    } finally {
      if (!signal.aborted && this.#term?.raftTerm === raftTerm) this.#abandonTerm();
    }
  }

  /** A loop of this term has ended: let another manager lead, or begin again when there is none. */
  #abandonTerm(): void {
    this.#endTerm();
    void this.raft
      .transferLeadership()
      .catch((error) => this.#modules.log.warn({ error: messageOf(error) }, 'cannot hand leadership over'))
      .finally(() => this.#modules.clock.after(500, () => this.#follow(this.raft.status()), { unref: true }));
  }

  /** The group has removed this member: nothing of it may go on. */
  async #leaveGroup(): Promise<void> {
    this.#removed = true;
    await this.stop({ transfer: false });
  }

  /** What cannot be survived, e.g. a failed fsync. */
  fail(error: Error): void {
    this.#stopped = true;
    this.#endTerm();
    this.#settle.reject(error);
  }

  /** Hands leadership over if asked to, then stops. Idempotent. */
  stop(options: { readonly transfer: boolean }): Promise<void> {
    this.#stopping ??= this.#stop(options);
    return this.#stopping;
  }

  async #stop(options: { readonly transfer: boolean }): Promise<void> {
    const status = this.raft.status();
    const others = status.members.some((member) => member.id !== status.id && !member.learner);
    if (options.transfer && status.role === 'leader' && others) {
      const { clock, log } = this.#modules;
      const limit = { what: 'its transfer', ms: transferMs };
      await inTime(clock, limit, () => this.raft.transferLeadership()).catch((error) =>
        log.warn({ error: messageOf(error) }, 'cannot hand leadership over'),
      );
    }
    this.#stopped = true;
    this.#endTerm();
    await this.raft.stop();
    this.#events.close();
    this.#settle.resolve(this.#removed ? 'removed' : 'stopped');
  }
}

export const startManager: StartManager = (options, modules) => Manager.start(options, modules);

const nodeIdOfManager = (view: View, addr: string): string | undefined =>
  view.list('nodes').find((node) => node.ManagerStatus?.Addr === addr)?.ID;
