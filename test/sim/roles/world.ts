import {
  type Clock,
  ClusterError,
  delay,
  ManualClock,
  type Random,
  seededRandom,
  silentLogger,
} from '@swarmctl/shared/kit';
import type { Cluster, Node, NodeRole, StoreChange } from '@swarmctl/shared/model';
import type { Member, MembershipChange, NodeStatus } from 'raft-ts';
import { RoleKeeper, type RoleParts } from '../../../packages/daemon/src/role-keeper.ts';
import { Serial } from '../../../packages/daemon/src/serial.ts';
import { certifiedRole } from '../../../packages/manager/src/ca/certify.ts';
import { Members } from '../../../packages/manager/src/members.ts';
import { runRoles } from '../../../packages/manager/src/roles.ts';
import type { Store } from '../../../packages/manager/src/store/store.ts';
import { aCluster, aNode, aStore } from '../../kit/index.ts';

// The roles of nodes, simulated: the leader's role loop and membership, and each node's role keeper, are the real ones; raft, the wires between them and
// the disks are models that lose and delay what real ones do.

export const leaderId = 'leader';
const leaderRaftId = 1;

/** The raft group as its leader sees it. */
class Group {
  readonly members = new Map<number, Member>([[leaderRaftId, { id: leaderRaftId, address: leaderId, learner: false }]]);
  readonly removed = new Set<number>();
  readonly #world: World;
  readonly #listeners = new Set<() => void>();
  #pending = false;

  constructor(world: World) {
    this.#world = world;
  }

  status(): NodeStatus {
    const hears = ({ id }: Member) => id === leaderRaftId || this.#world.nodes.some((node) => node.hears(id));
    const members = [...this.members.values()];
    const progress = members.map((member) => [member.id, { match: 100, active: hears(member) }] as const);
    const at = { term: 1, commit: 100, applied: 100, lastIndex: 100 };
    return { id: leaderRaftId, role: 'leader', leader: leaderRaftId, ...at, members, progress: new Map(progress) };
  }

  async changeMembership(change: MembershipChange): Promise<void> {
    if (this.#pending) throw Object.assign(new Error('pending'), { code: 'conf-change-pending' });
    this.#pending = true;
    try {
      await this.#world.lag(300);
      if (change.type === 'remove') {
        this.members.delete(change.id);
        this.removed.add(change.id);
      } else if (!this.removed.has(change.id)) {
        this.members.set(change.id, { id: change.id, address: change.address, learner: change.type === 'add-learner' });
      }
    } finally {
      this.#pending = false;
    }
    for (const listener of this.#listeners) listener();
  }

  async transferLeadership(): Promise<void> {
    throw new Error('the leader keeps its role here');
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

interface Disk {
  role: NodeRole;
  certified: NodeRole;
  raftId: number | undefined;
  started: boolean;
}

interface RunningManager {
  readonly raftId: number;
  /** It has something of the log, and with it the addresses of others. */
  hasLog: boolean;
  gone: boolean;
}

/** One daemon after the other over the same disk. */
export class SimNode {
  readonly id: string;
  readonly disk: Disk = { role: 'worker', certified: 'worker', raftId: undefined, started: false };
  manager: RunningManager | undefined;
  readonly #world: World;
  #abort = new AbortController();
  #keeper: RoleKeeper | undefined;
  #session = false;

  constructor(world: World, id: string) {
    this.#world = world;
    this.id = id;
  }

  hears(raftId: number): boolean {
    return this.manager?.raftId === raftId && !this.manager.gone;
  }

  start(): void {
    const { signal } = this.#abort;
    const { raftId, started } = this.disk;
    if (started && raftId !== undefined) this.#run(raftId);
    this.#keeper = new RoleKeeper(this.disk.role, {
      parts: this.#parts(signal),
      serial: new Serial(),
      signal,
      clock: this.#world.clock,
      log: silentLogger,
    });
    this.#keeper.start();
    void this.#keepSession(signal).catch(() => {});
  }

  kill(): void {
    this.#abort.abort(new Error('killed'));
    this.#abort = new AbortController();
    this.manager = undefined;
    this.#session = false;
  }

  /** The dispatcher says it to whoever has a session. */
  roleChanged(role: NodeRole): void {
    if (this.#session) this.#keeper?.told(role);
  }

  cutSession(): void {
    this.#session = false;
  }

  async #keepSession(signal: AbortSignal): Promise<void> {
    for (;;) {
      await this.#world.lag(400, signal);
      const node = this.#world.store.view().get('nodes', this.id);
      if (this.#session || !this.#world.leads || !node) continue;
      this.#session = true;
      this.#keeper?.told(node.Spec.Role);
    }
  }

  #parts(signal: AbortSignal): RoleParts {
    const { lag, answer } = this.#world;
    const alive = () => {
      if (signal.aborted) throw signal.reason;
    };
    const raftJoin = async () => {
      await lag(200, signal);
      const { raftId } = await answer(() => this.#world.members.add(this.id, this.id));
      await lag(200, signal);
      return raftId;
    };
    return {
      manager: () => (this.manager === undefined ? 'none' : this.manager.gone ? 'gone' : 'runs'),
      isLeaderless: () => this.manager !== undefined && !this.#isLed(this.manager),
      certified: () => this.disk.certified,
      renew: async () => {
        await lag(200, signal);
        const role = await answer(async () => certifiedRole(this.#world.node(this.id)));
        await lag(200, signal);
        this.disk.certified = role;
        return role;
      },
      isMember: async () => (await raftJoin()) === this.manager?.raftId,
      promote: async () => {
        const raftId = await raftJoin();
        this.disk.role = 'manager';
        this.disk.raftId = raftId;
        await lag(300, signal);
        this.disk.started = true;
        this.#run(raftId);
      },
      demote: async () => {
        await lag(100, signal);
        alive();
        this.manager = undefined;
        Object.assign(this.disk, { role: 'worker', raftId: undefined, started: false });
      },
      onRemoved: (reason) => {
        throw new Error(`${this.id} was removed: ${reason}`);
      },
    };
  }

  #isLed(manager: RunningManager): boolean {
    return manager.hasLog && !manager.gone && this.#world.leads && this.#world.group.members.has(manager.raftId);
  }

  #run(raftId: number): void {
    const manager: RunningManager = { raftId, hasLog: false, gone: false };
    this.manager = manager;
    void this.#speak(manager, this.#abort.signal).catch(() => {});
  }

  /** The leader sends to members; one that was let go and knows others is told so when it asks them, in a while. */
  async #speak(manager: RunningManager, signal: AbortSignal): Promise<void> {
    const { group, lag } = this.#world;
    while (this.manager === manager) {
      await lag(600, signal);
      if (group.members.has(manager.raftId)) manager.hasLog = true;
      else if (group.removed.has(manager.raftId) && manager.hasLog && !manager.gone) {
        await delay(this.#world.clock, 1_600, signal);
        if (this.manager !== manager) return;
        manager.gone = true;
        this.#keeper?.look();
      }
    }
  }
}

export class World {
  readonly clock = new ManualClock();
  readonly random: Random;
  readonly store: Store;
  readonly group: Group;
  readonly members: Members;
  readonly nodes: SimNode[];
  leads = false;
  /** What never may be. */
  readonly errors: string[] = [];
  #term = new AbortController();

  constructor(seed: number) {
    this.random = seededRandom(seed);
    const nodes = [
      aNode({ id: leaderId, role: 'manager', raftId: leaderRaftId }),
      aNode({ id: 'n2' }),
      aNode({ id: 'n3' }),
    ];
    this.store = aStore({ cluster: aCluster(), nodes });
    this.group = new Group(this);
    const { store, clock, random } = this;
    const proposer = { propose: (changes: readonly StoreChange[]) => this.propose(changes) };
    this.members = new Members({ raft: this.group, view: () => store.view(), proposer, clock, random });
    this.nodes = ['n2', 'n3'].map((id) => new SimNode(this, id));
    store.watch((events) => {
      if (events === 'reset') return;
      for (const event of events) {
        if (event.table === 'cluster' && event.before && event.after) this.#checkRemoved(event.before, event.after);
        if (event.table === 'nodes' && event.before && event.after) this.#nodeChanged(event.before, event.after);
      }
    });
  }

  #nodeChanged(before: Node, after: Node): void {
    const [was, is] = [before.ManagerStatus?.RaftID, after.ManagerStatus?.RaftID];
    if (was !== is && after.Spec.Role !== (is === undefined ? 'worker' : 'manager'))
      this.errors.push(`${after.ID}, a ${after.Spec.Role}, was member ${was} and is ${is}`);
    if (before.Spec.Role !== after.Spec.Role)
      this.nodes.find((node) => node.id === after.ID)?.roleChanged(after.Spec.Role);
  }

  #checkRemoved(before: Cluster, after: Cluster): void {
    const [was, is] = [before.RemovedRaftIDs, after.RemovedRaftIDs];
    if (was.some((id) => !is.includes(id)) || new Set(is).size < is.length)
      this.errors.push(`${was} were removed, and then ${is}`);
  }

  node(id: string) {
    const node = this.store.view().get('nodes', id);
    if (!node) throw new ClusterError('not-found', `node ${id} not found`);
    return node;
  }

  /** Up to so long. */
  readonly lag = (mostMs: number, signal?: AbortSignal): Promise<void> =>
    delay(this.clock as Clock, 1 + this.random() * mostMs, signal);

  /** What a leader answers; now and then nobody does. */
  readonly answer = async <T>(ask: () => Promise<T>): Promise<T> => {
    if (!this.leads || this.random() < 0.1) throw new ClusterError('unavailable', 'no manager answers');
    return ask();
  };

  async propose(changes: readonly StoreChange[]): Promise<{ index: number }> {
    await this.lag(50);
    if (!this.leads) throw new ClusterError('no-leader', 'there is no leader');
    const index = this.store.index + 1;
    const outcome = this.store.apply(index, { now: this.clock.now(), changes });
    await this.lag(50);
    if (!outcome.ok) throw new ClusterError(outcome.code, outcome.message);
    return { index };
  }

  /** Another term of the same leader: nothing that the last one had begun goes on. */
  elect(): void {
    this.depose();
    this.#term = new AbortController();
    this.leads = true;
    const { store, group: raft, clock } = this;
    const proposer = { propose: (changes: readonly StoreChange[]) => this.propose(changes) };
    void runRoles(this.#term.signal, { store, raft, proposer, clock, log: silentLogger });
  }

  depose(): void {
    this.leads = false;
    this.#term.abort();
    for (const node of this.nodes) node.cutSession();
  }

  async setRole(id: string, role: NodeRole): Promise<void> {
    const { Spec } = this.node(id);
    const update = { op: 'update', table: 'nodes', id, set: { Spec: { ...Spec, Role: role } } } as const;
    await this.propose([update]).catch(() => undefined);
  }

  stop(): void {
    this.depose();
    for (const node of this.nodes) node.kill();
  }
}
