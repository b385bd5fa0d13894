import type { ConfState, Entry, HardState, Message, RawNodeStatus } from '../../../packages/raft-ts/src/core/index.ts';
import type { SimDisk } from './disk.ts';

// What must hold at every moment, held against everything the simulation ever saw. A breach throws.

export class Breach extends Error {
  readonly invariant: string;

  constructor(invariant: string, text: string) {
    super(`${invariant}: ${text}`);
    this.name = 'Breach';
    this.invariant = invariant;
  }
}

interface Committed {
  readonly term: number;
  readonly data: string;
}

const digest = ({ type, data }: Entry): string => `${type} ${Buffer.from(data).toString('base64')}`;

export class Checks {
  readonly #leaders = new Map<number, number>();
  readonly #votes = new Map<string, number>();
  /** (index, term) names one entry, after one term: by induction, logs that share an entry share all before it. */
  readonly #entries = new Map<string, string>();
  readonly #committed = new Map<number, Committed>();
  readonly #hashes = new Map<number, string>();
  readonly #lastDurable = new Map<number, HardState>();
  readonly #lastStatus = new Map<number, RawNodeStatus>();
  #maxCommitted = 0;

  /** The highest index that was ever applied anywhere. */
  get maxCommitted(): number {
    return this.#maxCommitted;
  }

  /** A restart begins a new life: what was only in memory may be less. */
  restarted(id: number): void {
    this.#lastStatus.delete(id);
  }

  status(status: RawNodeStatus, disks: ReadonlyMap<number, SimDisk>): void {
    const { id, term, role, commit, applied, lastIndex } = status;
    const before = this.#lastStatus.get(id);
    this.#lastStatus.set(id, status);
    if (!(applied <= commit && commit <= lastIndex)) {
      throw new Breach('applied <= commit <= last', `${id}: ${applied}, ${commit}, ${lastIndex}`);
    }
    if (before !== undefined) {
      if (term < before.term) throw new Breach('terms only grow', `${id}: ${before.term} to ${term}`);
      if (commit < before.commit) throw new Breach('commit only grows', `${id}: ${before.commit} to ${commit}`);
      if (term === before.term && before.vote !== 0 && status.vote !== before.vote) {
        throw new Breach('one vote a term', `${id} changed from ${before.vote} to ${status.vote} in term ${term}`);
      }
    }
    if (role !== 'leader') return;
    const leader = this.#leaders.get(term) ?? id;
    if (leader !== id) throw new Breach('election safety', `${leader} and ${id} lead term ${term}`);
    this.#leaders.set(term, id);
    if (before?.role === 'leader' && commit > before.commit) this.#durable(status, disks);
  }

  /** What a leader commits is on the disks of a quorum. */
  #durable({ id, commit, confState }: RawNodeStatus, disks: ReadonlyMap<number, SimDisk>): void {
    const own = disks.get(id)!.durableTerm(commit);
    const halves = [confState.voters, confState.votersOutgoing].filter((half) => half.length > 0);
    for (const half of halves) {
      const having = half.filter((voter) => {
        const term = disks.get(voter)?.durableTerm(commit);
        return term === 'covered' || (term !== undefined && (own === undefined || own === 'covered' || term === own));
      });
      if (having.length * 2 <= half.length) {
        throw new Breach('committed is durable', `${id} committed ${commit}, which only ${having} of ${half} have`);
      }
    }
  }

  /** Called with what reached a member's disk: states must not go back, over restarts either. */
  hardState(id: number, state: HardState): void {
    const before = this.#lastDurable.get(id);
    this.#lastDurable.set(id, state);
    if (before === undefined) return;
    if (state.term < before.term) throw new Breach('durable term only grows', `${id}: ${before.term} to ${state.term}`);
    if (state.commit < before.commit) throw new Breach('durable commit only grows', `${id}`);
    if (state.term === before.term && before.vote !== 0 && state.vote !== before.vote) {
      throw new Breach('one durable vote a term', `${id}: ${before.vote} to ${state.vote} in ${state.term}`);
    }
  }

  sent(m: Message): void {
    if (m.type !== 'vote-resp' || m.reject || m.from === m.to) return;
    const key = `${m.from}@${m.term}`;
    const given = this.#votes.get(key) ?? m.to;
    if (given !== m.to) throw new Breach('one vote a term', `${m.from} voted for ${given} and ${m.to} in ${m.term}`);
    this.#votes.set(key, m.to);
  }

  /** Entries as a member appends them, behind an entry of `prevTerm`. */
  appended(entries: readonly Entry[], prevTerm: number | undefined): void {
    for (const entry of entries) {
      const key = `${entry.index}@${entry.term}`;
      const known = this.#entries.get(key);
      const seen = `${prevTerm ?? '?'} ${digest(entry)}`;
      if (known === undefined) this.#entries.set(key, seen);
      else if (prevTerm !== undefined && known !== seen && !known.startsWith('?')) {
        throw new Breach('log matching', `entry ${key} is ${known} and ${seen}`);
      }
      prevTerm = entry.term;
    }
  }

  /** A new leader's log has everything that was committed before. */
  elected(id: number, firstIndex: number, term: (index: number) => number | undefined): void {
    for (let index = Math.max(firstIndex, 1); index <= this.#maxCommitted; index++) {
      const committed = this.#committed.get(index);
      if (committed !== undefined && term(index) !== committed.term) {
        throw new Breach('leader completeness', `leader ${id} lacks committed entry ${index} of ${committed.term}`);
      }
    }
  }

  applied(id: number, entry: Entry, hash: string): void {
    const seen = { term: entry.term, data: digest(entry) };
    const known = this.#committed.get(entry.index) ?? seen;
    if (known.term !== seen.term || known.data !== seen.data) {
      throw new Breach(
        'state machine safety',
        `${id} applied another entry ${entry.index}: term ${seen.term}, not ${known.term}`,
      );
    }
    this.#committed.set(entry.index, known);
    this.#maxCommitted = Math.max(this.#maxCommitted, entry.index);
    this.hash(id, entry.index, hash);
  }

  hash(id: number, index: number, hash: string): void {
    const known = this.#hashes.get(index) ?? hash;
    if (known !== hash) throw new Breach('equal state at equal index', `${id} differs at ${index}`);
    this.#hashes.set(index, hash);
  }

  /** `floor`: what was committed anywhere when the read began. */
  read(id: number, index: number, floor: number): void {
    if (index < floor)
      throw new Breach('linearizable reads', `${id} read at ${index}, but ${floor} was committed before`);
  }

  conf(id: number, index: number, conf: ConfState, term: number): void {
    const text = JSON.stringify(conf);
    const known = this.#confs.get(index) ?? text;
    if (known !== text)
      throw new Breach('equal configuration', `${id} has ${text}, not ${known}, at ${index} (${term})`);
    this.#confs.set(index, text);
  }

  readonly #confs = new Map<number, string>();
}
