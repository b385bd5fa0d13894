import { isDeepStrictEqual } from 'node:util';
import type { Node, NodeDescription, StoreChange } from '@swarmctl/shared/model';

// Which nodes are there: by when each was heard of last. What the state should say of a node follows from that and from what its agent said.

interface Facts {
  /** Monotonic ms: until then silence is forgiven. */
  deadline: number;
  /** Known by this leader to be there: it said hello, and was heard of in time since. */
  present: boolean;
  gone: boolean;
  description?: NodeDescription;
  addr?: string;
  /** Wall-clock ms, after a goodbye. */
  graceUntil?: number;
}

/** What an agent says of its node. */
interface Said {
  readonly description: NodeDescription;
  readonly addr: string;
}

export interface Times {
  /** Wall clock. */
  readonly now: number;
  readonly monotonic: number;
}

/**
 * A leader that died without a word is given up by the agents after a grace of theirs, about when the next leader's would be over that began a
 * moment later; so much more they get to come to it.
 */
const returnMs = 2_000;

export class Presence {
  readonly #nodes = new Map<string, Facts>();
  #graceMs: number;
  #lastSweep: number | undefined;

  constructor(graceMs: number) {
    this.#graceMs = graceMs;
  }

  /** From here on a node may be silent for so long. */
  set graceMs(ms: number) {
    this.#graceMs = ms;
  }

  /** A node that was not heard of by this leader yet: it gets one whole grace and some, or what is left of its restart's. */
  add(node: Node, { now, monotonic }: Times): void {
    if (this.#nodes.has(node.ID)) return;
    const graceMs = Math.max(this.#graceMs + returnMs, (node.RestartGraceUntil ?? 0) - now);
    this.#nodes.set(node.ID, {
      deadline: monotonic + graceMs,
      present: false,
      gone: node.Status.State === 'down',
      ...(node.RestartGraceUntil !== undefined && { graceUntil: node.RestartGraceUntil }),
    });
  }

  remove(nodeId: string): void {
    this.#nodes.delete(nodeId);
  }

  clear(): void {
    this.#nodes.clear();
  }

  hello(nodeId: string, { description, addr }: Said, { monotonic }: Times): void {
    this.#nodes.set(nodeId, { deadline: monotonic + this.#graceMs, present: true, gone: false, description, addr });
  }

  /** True when the state may have to say something else of the node now. */
  heard(nodeId: string, { monotonic }: Times): boolean {
    const facts = this.#nodes.get(nodeId);
    if (!facts || facts.graceUntil !== undefined) return false;
    facts.deadline = monotonic + this.#graceMs;
    const back = facts.gone;
    facts.gone = false;
    return back;
  }

  /** A new leader has not heard of it yet, and gives it time. */
  isAwaited(nodeId: string, { monotonic }: Pick<Times, 'monotonic'>): boolean {
    const facts = this.#nodes.get(nodeId);
    if (!facts || facts.present || facts.gone || facts.graceUntil !== undefined) return false;
    return monotonic < facts.deadline;
  }

  described(nodeId: string, { description, addr }: Said): void {
    const facts = this.#nodes.get(nodeId);
    if (facts) Object.assign(facts, { description, addr });
  }

  goodbye(nodeId: string, graceMs: number, { now, monotonic }: Times): void {
    const facts = this.#nodes.get(nodeId);
    if (!facts) return;
    facts.graceUntil = now + graceMs;
    facts.deadline = monotonic + graceMs;
  }

  /** Nodes whose time is over. When this process itself stood still, nobody could be heard, and everybody gets that time back. */
  sweep({ monotonic }: Times, everyMs: number): string[] {
    const stoodStill = this.#lastSweep === undefined ? 0 : monotonic - this.#lastSweep - everyMs;
    this.#lastSweep = monotonic;
    const lost: string[] = [];
    for (const [nodeId, facts] of this.#nodes) {
      if (facts.gone) continue;
      if (stoodStill > everyMs) facts.deadline += stoodStill;
      if (facts.deadline > monotonic) continue;
      facts.gone = true;
      lost.push(nodeId);
    }
    return lost;
  }

  /** What to write so that the state says of the node what is known here; undefined when it does. */
  change(node: Node, now: number): StoreChange | undefined {
    const facts = this.#nodes.get(node.ID);
    if (!facts) return undefined;
    if (facts.gone) return node.Status.State === 'down' ? undefined : downChange(node, now);
    return facts.present ? presentChange(node, facts) : undefined;
  }
}

const downChange = (node: Node, now: number): StoreChange => ({
  op: 'update',
  table: 'nodes',
  id: node.ID,
  ifExists: true,
  set: { Status: { ...node.Status, State: 'down', Message: 'heartbeat failure' }, DownSince: now },
  unset: ['RestartGraceUntil'],
});

function presentChange(node: Node, facts: Facts): StoreChange | undefined {
  const Status: Node['Status'] = { State: 'ready', Addr: facts.addr ?? node.Status.Addr };
  const { description: Description, graceUntil: RestartGraceUntil } = facts;
  const unset = (['RestartGraceUntil', 'DownSince'] as const).filter(
    (key) => node[key] !== undefined && !(key === 'RestartGraceUntil' && RestartGraceUntil !== undefined),
  );
  const set = {
    ...(!isDeepStrictEqual(node.Status, Status) && { Status }),
    ...(Description && !isDeepStrictEqual(node.Description, Description) && { Description }),
    ...(RestartGraceUntil !== undefined && node.RestartGraceUntil !== RestartGraceUntil && { RestartGraceUntil }),
  };
  if (Object.keys(set).length === 0 && unset.length === 0) return undefined;
  return { op: 'update', table: 'nodes', id: node.ID, ifExists: true, set, unset };
}
