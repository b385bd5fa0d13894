import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { extentPath, readExtent } from '../wal/extent.ts';
import { nodeFileSystem } from '../wal/file-system.ts';
import { type CrashMode, MemoryFileSystem } from '../wal/memory-file-system.ts';
import { PeerLogs } from '../wal/peer-logs.ts';
import { walDir } from '../wal/wal.ts';
import { openRaftNode, type RaftHostEnv } from './open.ts';
import type {
  AppliedEntry,
  Channel,
  Dial,
  NodeStatus,
  RaftNode,
  RaftNodeOptions,
  Sealer,
  Start,
  StateMachine,
} from './types.ts';

// For tests: members in one process, with real folders and streams in memory that can be cut.

/** Two ends of one stream. */
export function streamPair(): [Duplex, Duplex] {
  const ends: Duplex[] = [];
  const waiting: ((() => void) | undefined)[] = [];
  const make = (mine: number, other: number): Duplex =>
    new Duplex({
      read: () => {
        const go = waiting[mine];
        waiting[mine] = undefined;
        go?.();
      },
      write: (chunk, _encoding, done) => {
        const peer = ends[other]!;
        if (peer.destroyed) return done(new Error('the other end is closed'));
        if (peer.push(chunk)) return done();
        waiting[other] = done;
      },
      final: (done) => {
        if (!ends[other]!.destroyed) ends[other]!.push(null);
        done();
      },
      destroy: (error, done) => {
        const peer = ends[other]!;
        setImmediate(() => peer.destroy());
        done(error);
      },
    });
  ends.push(make(0, 1), make(1, 0));
  return [ends[0]!, ends[1]!];
}

/** Flips all bits, so that plain text on the disk would be seen. */
export const testSealer: Sealer = {
  keyId: 'test',
  seal: (plain) => plain.map((byte) => byte ^ 0xff),
  open: (sealed) => sealed.map((byte) => byte ^ 0xff),
};

/** A list of strings. */
export class ListMachine implements StateMachine {
  values: string[] = [];
  restoredAt = 0;
  #waiters: (() => void)[] = [];

  apply({ data }: AppliedEntry): unknown {
    const value = new TextDecoder().decode(data);
    this.values.push(value);
    return `applied ${value}`;
  }

  applied(): void {
    this.#wake();
  }

  snapshot(): () => AsyncIterable<Uint8Array> {
    const values = [...this.values];
    return async function* () {
      for (const value of values) yield new TextEncoder().encode(value);
    };
  }

  async restore(index: number, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const values: string[] = [];
    for await (const chunk of chunks) values.push(new TextDecoder().decode(chunk));
    this.values = values;
    this.restoredAt = index;
    this.#wake();
  }

  /** Resolves once the list is as asked for. */
  async until(holds: (values: readonly string[]) => boolean): Promise<void> {
    while (!holds(this.values)) {
      await new Promise<void>((resolve) => {
        this.#waiters.push(resolve);
      });
    }
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }
}

export interface TestMember {
  readonly id: number;
  readonly node: RaftNode;
  readonly machine: ListMachine;
  readonly fatal: Error[];
}

export class TestCluster {
  readonly members = new Map<number, TestMember>();
  /** By address: who is there instead. */
  readonly moved = new Map<string, number>();
  /** Pairs that cannot reach one another. */
  readonly #cut = new Set<string>();
  readonly #streams: { between: string; stream: Duplex }[] = [];
  readonly dir: string;
  readonly #options: Partial<RaftNodeOptions>;
  readonly #env: Partial<RaftHostEnv>;
  /** With disks in memory, which lose what was not synced when the power goes. */
  readonly #disks: Map<number, MemoryFileSystem> | undefined;
  #seed = 1;
  #waiters: (() => void)[] = [];
  readonly #crashing = new Set<number>();

  private constructor(dir: string, options: Partial<RaftNodeOptions>, disks: 'real' | 'memory') {
    this.dir = dir;
    this.#options = options;
    this.#env = { segmentBytes: 64 << 10 };
    this.#disks = disks === 'memory' ? new Map() : undefined;
  }

  /** Voters 1 to `count`, of which 1 has led so far. */
  static async withMembers(
    count: number,
    options: Partial<RaftNodeOptions> = {},
    disks: 'real' | 'memory' = 'real',
  ): Promise<TestCluster> {
    const cluster = new TestCluster(await mkdtemp(join(tmpdir(), 'raft-ts-')), options, disks);
    await cluster.open(1, { kind: 'bootstrap', address: 'host-1' });
    const leader = await cluster.leader();
    for (let id = 2; id <= count; id++) {
      await cluster.open(id, { kind: 'join' });
      await leader.node.changeMembership({ type: 'add', id, address: `host-${id}` });
    }
    return cluster;
  }

  async open(id: number, start: Start, options: Partial<RaftNodeOptions> = {}): Promise<TestMember> {
    const machine = new ListMachine();
    const fatal: Error[] = [];
    const node = await openRaftNode(
      {
        id,
        dir: this.folder(id),
        timing: { tickMs: 20, electionTicks: 10 },
        random: () => this.#random(),
        onFatal: (error) => {
          fatal.push(error);
          this.#wake();
        },
        ...this.#options,
        ...options,
      },
      { stateMachine: machine, dial: this.#dialFrom(id), sealer: testSealer },
      start,
      this.#envOf(id),
    );
    const member = { id, node, machine, fatal };
    this.members.set(id, member);
    node.onChange(() => this.#wake());
    this.#wake();
    return member;
  }

  /** A member's disk in memory. */
  disk(id: number): MemoryFileSystem {
    const disk = this.#disks?.get(id);
    if (disk === undefined) throw new Error('this cluster has real disks');
    return disk;
  }

  /** Another member on the same disk. */
  shareDisk(of: number, by: number): void {
    this.#disks?.set(by, this.disk(of));
  }

  /** The power of these members goes and comes back; they are not running then. */
  async crash(ids: readonly number[], mode: CrashMode): Promise<void> {
    for (const id of ids) this.#crashing.add(id);
    for (const id of ids) this.disk(id).crash(mode);
    for (const id of ids) await this.stop(id);
    for (const id of ids) this.#crashing.delete(id);
  }

  #envOf(id: number): Partial<RaftHostEnv> {
    if (this.#disks === undefined) return this.#env;
    const disk = this.#disks.get(id) ?? new MemoryFileSystem(() => this.#random());
    this.#disks.set(id, disk);
    return { ...this.#env, fileSystem: disk, lock: async () => ({ release: async () => {} }) };
  }

  folder(id: number): string {
    return join(this.dir, String(id));
  }

  member(id: number): TestMember {
    return this.members.get(id)!;
  }

  async stop(id: number): Promise<void> {
    await this.member(id).node.stop();
    this.members.delete(id);
  }

  async restart(id: number): Promise<TestMember> {
    if (this.members.has(id)) await this.stop(id);
    return this.open(id, { kind: 'restart' });
  }

  /** Resolves once one of them, of all that run by default, leads. */
  async leader(among?: readonly number[]): Promise<TestMember> {
    for (;;) {
      for (const member of this.members.values()) {
        if (member.fatal.length > 0 && !this.#crashing.has(member.id)) throw member.fatal[0];
        const counts = among === undefined || among.includes(member.id);
        if (counts && member.node.status().role === 'leader') return member;
      }
      await new Promise<void>((resolve) => {
        this.#waiters.push(resolve);
      });
    }
  }

  /** Resolves once each member has noted by which log it knows each other one. */
  async acquainted(): Promise<void> {
    const ids = [...this.members.keys()];
    for (const id of ids) {
      for (;;) {
        const extent = (await readExtent(nodeFileSystem, extentPath(walDir(this.folder(id)))))!;
        const known = await PeerLogs.load(nodeFileSystem, this.folder(id), { extent, notePeers: async () => {} });
        if (ids.every((other) => other === id || known.knows(other))) break;
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  }

  async untilFatal(id: number): Promise<void> {
    while (this.member(id).fatal.length === 0) {
      await new Promise<void>((resolve) => {
        this.#waiters.push(resolve);
      });
    }
  }

  async until(id: number, holds: (status: NodeStatus) => boolean): Promise<void> {
    const { node } = this.member(id);
    await new Promise<void>((resolve) => {
      const off = node.onChange(check);
      check(node.status());
      function check(status: NodeStatus): void {
        if (!holds(status)) return;
        queueMicrotask(() => off());
        resolve();
      }
    });
  }

  /** Proposes to whoever leads, again when leadership moved; a value may be applied twice then. */
  async propose(value: string): Promise<unknown> {
    return (await this.byLeader(({ node }) => node.propose(new TextEncoder().encode(value)))).result;
  }

  /** Asked of the next leader as well when the first one turns out to lead no more, such as one that was cut off. */
  async byLeader<T>(ask: (leader: TestMember) => Promise<T>): Promise<T> {
    for (;;) {
      const leader = await this.leader();
      try {
        return await ask(leader);
      } catch (error) {
        const code = (error as { code?: string }).code;
        if (code !== 'not-leader' && code !== 'dropped' && code !== 'busy') throw error;
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  }

  isolate(id: number): void {
    for (const other of this.members.keys()) if (other !== id) this.#cut.add(pair(id, other));
    for (const { between, stream } of this.#streams) if (this.#cut.has(between)) stream.destroy();
  }

  heal(): void {
    this.#cut.clear();
  }

  async close(): Promise<void> {
    for (const { node } of this.members.values()) await node.stop();
    await rm(this.dir, { recursive: true, force: true });
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }

  #dialFrom(from: number): Dial {
    return async ({ id, address }, channel: Channel) => {
      if (address !== `host-${id}`) throw new Error(`nobody is at ${address}`);
      const between = pair(from, id);
      const target = this.members.get(this.moved.get(address) ?? id);
      if (target === undefined || this.#cut.has(between)) throw new Error('connection refused');
      const [mine, theirs] = streamPair();
      this.#streams.push({ between, stream: mine });
      target.node.accept(from, channel, theirs);
      return mine;
    };
  }

  /** A small generator (mulberry32), so that runs are alike. */
  #random(): number {
    this.#seed = (this.#seed + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#seed ^ (this.#seed >>> 15), 1 | this.#seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
}

const pair = (a: number, b: number): string => `${Math.min(a, b)}-${Math.max(a, b)}`;
