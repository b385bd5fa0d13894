import { factOf, type Placement, type Task } from '@swarmctl/shared/model';
import { fits, type Wanted } from './filters.ts';
import { Heap } from './heap.ts';
import { type Candidate, failureKey } from './load.ts';

// Which of the nodes that a task may go to is the best. Spread preferences make a tree of branches, each level evened out by the service's
// tasks; within the last branch the nodes are ranked. Everything sits in heaps, so that a placement costs next to nothing.

const failureWindowMs = 5 * 60 * 1000;
/** A node where so many tasks of this service failed lately comes after those where fewer did. */
const manyFailures = 5;

/** One group of equal tasks. */
interface Question {
  readonly wanted: Wanted;
  readonly failureKey: string;
  readonly now: number;
}

interface Branch {
  readonly value: string;
  /** Tasks of the service in here. */
  readonly tasks: number;
  /** Places one task; undefined when nothing in here can take one. */
  place(): Candidate | undefined;
}

/** The nodes for one group of equal tasks, best first. `candidates` come in the order of their ids. */
export function rank(task: Task, wanted: Wanted, candidates: readonly Candidate[], now: number): Branch {
  return grow('', candidates, descriptorsOf(task.Spec.Placement), { wanted, failureKey: failureKey(task), now });
}

const descriptorsOf = (placement: Placement | undefined): readonly string[] =>
  (placement?.Preferences ?? []).flatMap(({ Spread }) => (Spread?.SpreadDescriptor ? [Spread.SpreadDescriptor] : []));

function grow(
  value: string,
  candidates: readonly Candidate[],
  descriptors: readonly string[],
  question: Question,
): Branch {
  const [descriptor, ...rest] = descriptors;
  if (descriptor === undefined) return new Leaf(value, candidates, question);
  const byValue = new Map<string, Candidate[]>();
  for (const candidate of candidates) {
    // A descriptor that nobody knows makes one branch of all nodes.
    const fact = factOf(candidate.node, descriptor) ?? '';
    const branch = byValue.get(fact);
    if (branch) branch.push(candidate);
    else byValue.set(fact, [candidate]);
  }
  return new Fork(
    value,
    [...byValue].map(([fact, members]) => grow(fact, members, rest, question)),
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

  place(): Candidate | undefined {
    for (let best = this.#branches.top; best; best = this.#branches.top) {
      const candidate = best.place();
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
  tasks = 0;
  readonly #wanted: Wanted;
  readonly #candidates: readonly Candidate[];
  readonly #scores: Float64Array;
  /** Places in `candidates`: plain numbers, since this is made for every group and every node. */
  readonly #order: Heap<number>;

  constructor(value: string, candidates: readonly Candidate[], question: Question) {
    this.value = value;
    this.#wanted = question.wanted;
    this.#candidates = candidates;
    const scores = new Float64Array(candidates.length);
    const places: number[] = [];
    for (let place = 0; place < candidates.length; place++) {
      const candidate = candidates[place] as Candidate;
      const ofService = candidate.tasksOf(question.wanted.demand.serviceId);
      this.tasks += ofService;
      if (!fits(question.wanted, candidate)) continue;
      scores[place] = scoreOf(candidate, ofService, question);
      places.push(place);
    }
    this.#scores = scores;
    this.#order = new Heap(places, (a, b) => {
      const difference = (scores[a] as number) - (scores[b] as number);
      return difference < 0 || (difference === 0 && a < b);
    });
  }

  place(): Candidate | undefined {
    for (let best = this.#order.top; best !== undefined; best = this.#order.top) {
      const candidate = this.#candidates[best] as Candidate;
      // Loads only grow while tasks are placed, so who is full stays full.
      if (!fits(this.#wanted, candidate)) {
        this.#order.pop();
        continue;
      }
      candidate.place(this.#wanted.demand);
      this.#scores[best] = (this.#scores[best] as number) + perTaskOfService + 1;
      this.tasks++;
      this.#order.settleTop();
      return candidate;
    }
    return undefined;
  }
}

const perTaskOfService = 2 ** 20;
const perFailure = 2 ** 40;

/** Recent failures if there are many, then tasks of the service, then all tasks, in one number; less is better. */
function scoreOf(candidate: Candidate, ofService: number, { failureKey, now }: Question): number {
  const times = candidate.failures(failureKey);
  const score = ofService * perTaskOfService + candidate.tasks;
  if (!times) return score;
  const recent = times.filter((time) => now - time < failureWindowMs).length;
  return recent >= manyFailures ? Math.min(recent, 8_000) * perFailure + score : score;
}
