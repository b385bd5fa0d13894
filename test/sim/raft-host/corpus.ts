// Seeds that found something once, and some in which everything happens.

export interface CorpusSeed {
  readonly seed: number;
  readonly steps: number;
  /** What it found. */
  readonly found?: string;
}

export const corpus: readonly CorpusSeed[] = [
  {
    seed: 8,
    steps: 600,
    found: 'a leader sent a new member, again and again, a snapshot of before it was added, which means nothing to it',
  },
  { seed: 3, steps: 600, found: 'the same, with another leader' },
  {
    seed: 11,
    steps: 253,
    found:
      'a process ends between write and sync; started again it takes what it reads for durable, though only the page cache has it, and a power cut takes it away',
  },
  {
    seed: 217,
    steps: 521,
    found: 'the same: it acknowledges such entries to the leader; not with --without page-cache',
  },
  {
    seed: 100101,
    steps: 265,
    found:
      'a segment began with entries that another leader replaced from one on that lay in the segment before; when that one was gone, the log was refused',
  },
  { seed: 200290, steps: 245, found: 'the same' },
  {
    seed: 893144884,
    steps: 300,
    found:
      'a leader that removed itself was gone before the others knew that it was committed, and so counted on its vote and on that of a lost one',
  },
  {
    seed: 412604671,
    steps: 34,
    found: 'a member that joined later did not know the log that another had lost, and heard it under its new one',
  },
  { seed: 1, steps: 300 },
  { seed: 6, steps: 600 },
];
