import {
  isEncrypted,
  type Node,
  type StoreChange,
  type Task,
  type TaskStatus,
  toTimestamp,
} from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import { explain, lacking, type Wanted, wantedBy } from './filters.ts';
import { Candidate } from './load.ts';
import type { Group } from './pending.ts';
import { rank } from './ranking.ts';

// One decision of the scheduler: groups are placed one after the other on the same nodes, until the budget is spent.

export interface Budget {
  /** Changes made in one decision. */
  readonly changes: number;
  /** Work, in nodes looked at; a placement counts for several. */
  readonly work: number;
}

export type Outcome = {
  /** Every task of the group was placed or has its reason. */
  readonly complete: boolean;
  readonly changed: boolean;
  /** Tasks that found no node. */
  readonly unplaced: number;
};

const placementWork = 10;

export class Round {
  readonly changes: StoreChange[] = [];
  readonly #view: View;
  readonly #now: number;
  readonly #time: string;
  readonly #budget: Budget;
  readonly #nodes: readonly Node[];
  readonly #candidates: readonly Candidate[];
  readonly #byId: ReadonlyMap<string, Candidate>;
  #work = 0;

  constructor(view: View, now: number, budget: Budget) {
    this.#view = view;
    this.#now = now;
    this.#time = toTimestamp(now);
    this.#budget = budget;
    this.#nodes = view.list('nodes');
    this.#candidates = this.#nodes.map((node, at) => new Candidate(node, at, view.tasksOfNode(node.ID)));
    this.#byId = new Map(this.#candidates.map((candidate) => [candidate.node.ID, candidate]));
  }

  get spent(): boolean {
    return this.changes.length >= this.#budget.changes || this.#work >= this.#budget.work;
  }

  schedule(group: Group): Outcome {
    const before = this.changes.length;
    const [first] = group.tasks;
    if (!first) return { complete: true, changed: false, unplaced: 0 };
    const wanted = wantedBy(first, this.#nodes, this.#isEncrypted(first));
    const { complete, unplaced } =
      first.NodeID === undefined ? this.#place(group, first, wanted) : this.#confirm(group, wanted);
    return { complete, changed: this.changes.length > before, unplaced };
  }

  #isEncrypted({ NetworksAttachments = [] }: Task): boolean {
    const networks = NetworksAttachments.flatMap(({ Network }) => this.#view.get('networks', Network.ID) ?? []);
    return networks.some(isEncrypted);
  }

  #place(group: Group, first: Task, wanted: Wanted): Pick<Outcome, 'complete' | 'unplaced'> {
    const branch = rank(first, wanted, this.#candidates, this.#now);
    this.#work += this.#candidates.length;
    let placed = 0;
    for (const task of group.tasks) {
      if (this.changes.length >= this.#budget.changes) return { complete: false, unplaced: 0 };
      const candidate = branch.place();
      if (!candidate) break;
      this.#work += placementWork;
      placed++;
      this.#write(task, {
        NodeID: candidate.node.ID,
        ...this.#claim(candidate, wanted),
        Status: this.#status('assigned', 'scheduler assigned task to node'),
      });
    }
    const rest = group.tasks.slice(placed);
    if (rest.length === 0) return { complete: true, unplaced: 0 };
    this.#work += this.#candidates.length;
    const reasons = explain(wanted, this.#candidates);
    const lacks = lacking(first, wanted, this.#candidates);
    // Up to the bracket the words are Docker's, and clients know them.
    const err = `no suitable node${reasons && ` (${reasons})`}${lacks && `: ${lacks}`}`;
    for (const task of rest) if (!this.#refuse(task, err)) return { complete: false, unplaced: rest.length };
    return { complete: true, unplaced: rest.length };
  }

  /** Tasks of global services have their node already; whether they fit there is still to be seen. */
  #confirm(group: Group, wanted: Wanted): Pick<Outcome, 'complete' | 'unplaced'> {
    let unplaced = 0;
    for (const task of group.tasks) {
      if (this.changes.length >= this.#budget.changes) return { complete: false, unplaced };
      this.#work++;
      const candidate = this.#byId.get(task.NodeID ?? '');
      const why = candidate && explain(wanted, [candidate]);
      // A task whose node is gone is its orchestrator's.
      if (why === undefined) unplaced++;
      else if (candidate && why === '') {
        candidate.place(wanted.demand);
        this.#work += placementWork;
        this.#write(task, {
          ...this.#claim(candidate, wanted),
          Status: this.#status('assigned', 'scheduler confirmed task can run on preassigned node'),
        });
      } else {
        unplaced++;
        const lacks = candidate && lacking(task, wanted, [candidate]);
        this.#refuse(task, lacks ? `${why}: ${lacks}` : why);
      }
    }
    return { complete: true, unplaced };
  }

  /** Writes the reason if it is a new one; false when the budget does not allow it. */
  #refuse(task: Task, Err: string): boolean {
    const Message = 'pending task scheduling';
    if (task.Status.Err === Err && task.Status.Message === Message) return true;
    if (this.changes.length >= this.#budget.changes) return false;
    this.#write(task, { Status: { ...this.#status('pending', Message), Err } });
    return true;
  }

  #status(State: 'assigned' | 'pending', Message: string): TaskStatus {
    return { Timestamp: this.#time, State, Message };
  }

  #claim(candidate: Candidate, { demand }: Wanted): Pick<Task, 'AssignedGenericResources'> {
    const claimed = candidate.claim(demand);
    return claimed ? { AssignedGenericResources: claimed } : {};
  }

  #write(task: Task, set: Partial<Pick<Task, 'NodeID' | 'Status' | 'AssignedGenericResources'>>): void {
    this.changes.push({ op: 'update', table: 'tasks', id: task.ID, set, ifExists: true });
  }
}
