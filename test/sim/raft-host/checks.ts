import type { Entry, Message } from '../../../packages/raft-ts/src/core/index.ts';
import type { NodeStatus } from '../../../packages/raft-ts/src/host/types.ts';
import { LogStore } from '../../../packages/raft-ts/src/wal/log-store.ts';
import { Breach, Checks } from '../raft/checks.ts';
import { instantly, type SimDisk } from './disk.ts';
import { plainSealer } from './sealer.ts';

// What must hold whenever the world is idle, held against everything that was ever seen. A breach throws.

/** What a member's disk would still know after the worst power cut. */
export interface Image {
  readonly term: number;
  readonly vote: number;
  readonly lastIndex: number;
  /** Undefined: compacted away, so it was committed. */
  readonly termOf: (index: number) => number | 'covered' | undefined;
}

export const segmentBytes = 8 << 10;

/** As it is now: tests may put another in its place for the members. */
const load = LogStore.load.bind(LogStore);

export async function readImage(disk: SimDisk, id: number, dir: string): Promise<Image> {
  const env = { fileSystem: disk.mount(instantly), dir, sealer: plainSealer, segmentBytes };
  const store = await load(env, id);
  const { term, vote } = store.initialState().hardState;
  const termOf = (index: number): number | 'covered' | undefined => {
    if (index < store.firstIndex()) return 'covered';
    return index > store.lastIndex() ? undefined : store.term(index);
  };
  return { term, vote, lastIndex: store.lastIndex(), termOf };
}

interface Committed {
  readonly term: number;
  /** That of the first member that was seen to apply it: no leader of a later term may lack it. */
  readonly inTerm: number;
}

const votersOf = (status: NodeStatus): number[] => status.members.filter((m) => !m.learner).map((m) => m.id);

export class HostChecks {
  readonly #core = new Checks();
  readonly #leaders = new Map<number, number>();
  readonly #committed = new Map<number, Committed>();
  readonly #hashes = new Map<number, string>();
  readonly #confs = new Map<number, string>();
  readonly #last = new Map<number, NodeStatus>();
  readonly #durable = new Map<number, { term: number; vote: number }>();
  maxCommitted = 0;

  /** `wiped`: it has forgotten everything. */
  started(status: NodeStatus, wiped = false): void {
    this.#last.delete(status.id);
    if (wiped) return;
    const known = this.#durable.get(status.id);
    if (known !== undefined && status.term < known.term) {
      throw new Breach('term over restarts', `${status.id} begins in ${status.term}, after ${known.term}`);
    }
  }

  /** True when a leader's commit index moved: then `durable` is to be called. */
  status(status: NodeStatus): boolean {
    const { id, term, role, commit, applied, lastIndex } = status;
    const before = this.#last.get(id);
    this.#last.set(id, status);
    if (!(applied <= commit && commit <= lastIndex)) {
      throw new Breach('applied <= commit <= last', `${id}: ${applied}, ${commit}, ${lastIndex}`);
    }
    if (before !== undefined && (term < before.term || commit < before.commit || applied < before.applied)) {
      throw new Breach('term, commit and applied only grow', `${id}: ${term}, ${commit}, ${applied}`);
    }
    // While a snapshot is being installed the configuration is already that of its index.
    if (applied === commit) this.#configuration(status);
    if (role !== 'leader') return false;
    const leader = this.#leaders.get(term) ?? id;
    if (leader !== id) throw new Breach('election safety', `${leader} and ${id} lead term ${term}`);
    this.#leaders.set(term, id);
    const newest = this.#committed.get(this.maxCommitted);
    if (newest !== undefined && term > newest.inTerm && lastIndex < this.maxCommitted) {
      throw new Breach('leader completeness', `${id} leads ${term} up to ${lastIndex}, not ${this.maxCommitted}`);
    }
    return before?.role === 'leader' && commit > before.commit;
  }

  #configuration({ id, applied, members }: NodeStatus): void {
    const conf = JSON.stringify([...members].sort((a, b) => a.id - b.id));
    const known = this.#confs.get(applied) ?? conf;
    if (known !== conf) throw new Breach('equal configuration', `${id} has ${conf}, not ${known}, at ${applied}`);
    this.#confs.set(applied, known);
  }

  /** What a leader commits is on the disks of a quorum, of the configuration before or after. */
  durable(status: NodeStatus, confs: readonly (readonly number[])[], images: ReadonlyMap<number, Image>): void {
    const own = images.get(status.id)?.termOf(status.commit);
    const term = own === 'covered' ? undefined : this.#committed.get(status.commit)?.term;
    const having = (voter: number): boolean => {
      const there = images.get(voter)?.termOf(status.commit);
      return there === 'covered' || (there !== undefined && (term === undefined || there === term));
    };
    if (confs.some((voters) => voters.filter(having).length * 2 > voters.length)) return;
    const disks = [...images].map(([id, { lastIndex, termOf }]) => `${id} has ${lastIndex} (${termOf(status.commit)})`);
    const what = `${status.id} committed ${status.commit} of ${term} in ${status.term}`;
    throw new Breach('committed is durable', `${what}, by ${confs.join(' or ')}; ${disks.join(', ')}`);
  }

  votersBefore(id: number): number[] {
    const status = this.#last.get(id);
    return status === undefined ? [] : votersOf(status);
  }

  image(id: number, { term, vote }: Image): void {
    const before = this.#durable.get(id);
    this.#durable.set(id, { term, vote });
    if (before === undefined) return;
    if (term < before.term) throw new Breach('durable term only grows', `${id}: ${before.term} to ${term}`);
    if (term === before.term && before.vote !== 0 && vote !== before.vote) {
      throw new Breach('one durable vote a term', `${id}: ${before.vote} to ${vote} in ${term}`);
    }
  }

  /** A message leaves; what it promises is on the disk. */
  promised(m: Message, image: Image): void {
    if (image.term > m.term) return;
    const what = `${m.from} to ${m.to}, term ${m.term}`;
    if (image.term < m.term) throw new Breach('acknowledged is durable', `${m.type} of ${what}; disk: ${image.term}`);
    if (m.type === 'vote-resp' && image.vote !== m.to) {
      throw new Breach('acknowledged is durable', `vote of ${what}; disk: ${image.vote}`);
    }
    if (m.type === 'app-resp' && image.lastIndex < m.index) {
      throw new Breach('acknowledged is durable', `append of ${what} up to ${m.index}; disk: ${image.lastIndex}`);
    }
  }

  sent(m: Message): void {
    this.#core.sent(m);
    if (m.type !== 'app') return;
    this.#core.appended(m.entries, m.logTerm);
    for (const entry of m.entries) {
      const committed = this.#committed.get(entry.index);
      if (committed !== undefined && m.term > committed.inTerm && entry.term !== committed.term) {
        throw new Breach('leader completeness', `${m.from} has ${entry.index} of ${entry.term}, not ${committed.term}`);
      }
    }
  }

  applied(id: number, entry: Omit<Entry, 'type'>, hash: string, inTerm: number): void {
    this.#core.applied(id, { ...entry, type: 'normal' }, hash);
    this.#hashes.set(entry.index, hash);
    if (!this.#committed.has(entry.index)) this.#committed.set(entry.index, { term: entry.term, inTerm });
    this.maxCommitted = Math.max(this.maxCommitted, entry.index);
  }

  /** A snapshot is what playing the log up to it gives. */
  restored(id: number, index: number, lastIndex: number, hash: string): void {
    let replayed = index;
    while (replayed > 0 && !this.#hashes.has(replayed)) replayed--;
    if (replayed !== lastIndex || (this.#hashes.get(replayed) ?? '') !== hash) {
      throw new Breach('snapshot equals replay', `${id} restored ${index} with ${lastIndex}, replay: ${replayed}`);
    }
  }
}
