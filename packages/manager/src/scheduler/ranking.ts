import { factOf, type Placement, type Task } from '@swarmctl/shared/model';
import { obstacle, stillFits, type Wanted } from './filters.ts';
import { Heap } from './heap.ts';
import { type Candidate, failureKey } from './load.ts';

// Which of the nodes that a task may go to is the best. Spread preferences make a tree of branches, each level evened out by the service's
// tasks; within the last branch the nodes are ranked. Everything sits in heaps, so that a placement costs next to nothing.

const failureWindowMs = 5 * 60 * 1000;
/** A node where so many tasks of this service failed lately comes after those where fewer did. */
const manyFailures = 5;

interface Entry {
  readonly candidate: Candidate;
  /** 0 below `manyFailures`. */
  readonly failures: number;
  ofService: number;
  all: number;
}

interface Branch {
  readonly value: string;
  /** Tasks of the service in here. */
  tasks: number;
  /** Places one task; undefined when nothing in here can take one. */
  place(wanted: Wanted): Candidate | undefined;
}

/** The nodes of one group of equal tasks, best first. */
export function rank(task: Task, wanted: Wanted, candidates: readonly Candidate[], now: number): Branch {
  const key = failureKey(task);
  const entries = candidates.map((candidate): Entry => {
    const { load } = candidate;
    return {
      candidate,
      failures: recentFailures(load.failures.get(key), now),
      ofService: load.byService.get(wanted.demand.serviceId) ?? 0,
      all: load.tasks,
    };
  });
  return grow('', entries, descriptorsOf(task.Spec.Placement), wanted);
}

function recentFailures(times: readonly number[] | undefined, now: number): number {
  const recent = times?.filter((time) => now - time < failureWindowMs).length ?? 0;
  return recent >= manyFailures ? recent : 0;
}

const descriptorsOf = (placement: Placement | undefined): readonly string[] =>
  (placement?.Preferences ?? []).flatMap(({ Spread }) => (Spread?.SpreadDescriptor ? [Spread.SpreadDescriptor] : []));

function grow(value: string, entries: Entry[], descriptors: readonly string[], wanted: Wanted): Branch {
  const [descriptor, ...rest] = descriptors;
  if (descriptor === undefined) return new Leaf(value, entries, wanted);
  const byValue = new Map<string, Entry[]>();
  for (const entry of entries) {
    // A descriptor that nobody knows makes one branch of all nodes.
    const fact = factOf(entry.candidate.node, descriptor) ?? '';
    const branch = byValue.get(fact);
    if (branch) branch.push(entry);
    else byValue.set(fact, [entry]);
  }
  return new Fork(
    value,
    [...byValue].map(([fact, members]) => grow(fact, members, rest, wanted)),
  );
}

class Fork implements Branch {
  readonly value: string;
  tasks: number;
  readonly #branches: Heap<Branch>;

  constructor(value: string, branches: Branch[]) {
    this.value = value;
    this.tasks = branches.reduce((sum, branch) => sum + branch.tasks, 0);
    this.#branches = new Heap(branches, (a, b) => a.tasks < b.tasks || (a.tasks === b.tasks && a.value < b.value));
  }

  place(wanted: Wanted): Candidate | undefined {
    for (let best = this.#branches.top; best; best = this.#branches.top) {
      const candidate = best.place(wanted);
      if (!candidate) {
        this.#branches.pop();
        continue;
      }
      this.tasks++;
      this.#branches.settleTop();
      return candidate;
    }
    return undefined;
  }
}

/** Nodes that are alike to the spread preferences. Tasks on those that take no more count for the branch all the same. */
class Leaf implements Branch {
  readonly value: string;
  tasks: number;
  readonly #entries: Heap<Entry>;

  constructor(value: string, entries: readonly Entry[], wanted: Wanted) {
    this.value = value;
    this.tasks = entries.reduce((sum, entry) => sum + entry.ofService, 0);
    this.#entries = new Heap(
      entries.filter((entry) => !obstacle(wanted, entry.candidate)),
      isBetter,
    );
  }

  place(wanted: Wanted): Candidate | undefined {
    for (let best = this.#entries.top; best; best = this.#entries.top) {
      // Loads only grow while tasks are placed, so who is full stays full.
      if (!stillFits(wanted, best.candidate)) {
        this.#entries.pop();
        continue;
      }
      best.candidate.place(wanted.demand);
      best.ofService++;
      best.all++;
      this.tasks++;
      this.#entries.settleTop();
      return best.candidate;
    }
    return undefined;
  }
}

function isBetter(a: Entry, b: Entry): boolean {
  if (a.failures !== b.failures) return a.failures < b.failures;
  if (a.ofService !== b.ofService) return a.ofService < b.ofService;
  if (a.all !== b.all) return a.all < b.all;
  return a.candidate.node.ID < b.candidate.node.ID;
}
