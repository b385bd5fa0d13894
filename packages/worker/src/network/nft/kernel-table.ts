import { type Logger, messageOf } from '@swarmctl/shared/kit';
import { emptyTable, type NodeTable, sameWays } from '../plan.ts';
import { drift, read } from './drift.ts';
import type { MeshNames, TableNames } from './names.ts';
import { changes, deletions, type RuleId, replacement } from './rules.ts';
import type { Nft } from './tool.ts';

// A node's nftables table as the kernel has it. What it has is remembered, so that a change writes what differs alone; what others did to it is
// found by comparing.

/** Rules that may be left over between two comparisons: nft looks through all that there are. */
const mostLeftOver = 64;

export interface KernelTableModules {
  readonly nft: Nft;
  readonly log: Logger;
  /** At which backend a port's first round begins, by key. */
  readonly firstRound: (key: string) => number;
}

export class KernelTable {
  readonly #modules: KernelTableModules;
  readonly #rounds = new Map<string, number>();
  /** What the kernel has; undefined: unknown, so that all of it is written. */
  #table: NodeTable | undefined;
  /** Ports that are ours, also while the table has to be written anew. */
  #held: ReadonlySet<string> = new Set();
  /** What the table's fixed part knows of the mesh. */
  #mesh: MeshNames | undefined;
  /** The listing of what never changes, as of the first comparison after a replacement. */
  #frame: string | undefined;
  /** Rules in it that others stand above. */
  #leftOver = 0;
  #clearing: Promise<void> = Promise.resolve();
  #isWriting = false;
  /** The latest comparison's finding. */
  #drift: string | undefined;
  #isComparable = true;

  constructor(modules: KernelTableModules) {
    this.#modules = modules;
  }

  /** What it was told last, or nothing. */
  get table(): NodeTable {
    return this.#table ?? emptyTable;
  }

  /** What is in force for sure; undefined: it is just being written, or unknown. */
  get inForce(): NodeTable | undefined {
    return this.#isWriting ? undefined : this.#table;
  }

  holds(key: string): boolean {
    return this.#held.has(key);
  }

  /** All of it is written the next time. */
  forget(): void {
    this.#table = undefined;
  }

  /** Rejects with ClusterError when the kernel refuses. */
  async write(names: TableNames, table: NodeTable): Promise<void> {
    await this.#clearing;
    const rounds = (key: string) => this.#round(key);
    const known = sameMesh(names.mesh, this.#mesh) ? this.#table : undefined;
    const change = known && changes(names.table, known, table, rounds, mostLeftOver - this.#leftOver);
    if (change?.text === '') {
      this.#table = table;
      return;
    }
    this.#isWriting = true;
    try {
      const isChanged = change !== undefined && (await this.#tryChanges(change.text));
      if (isChanged) this.#leftOver += change.leftOver;
      else {
        await this.#modules.nft.apply(replacement(names, table, rounds));
        this.#leftOver = 0;
        this.#frame = undefined;
        this.#mesh = names.mesh;
      }
      this.#advance(isChanged ? known : undefined, table);
      this.#table = table;
      this.#held = new Set(table.ports.keys());
    } finally {
      this.#isWriting = false;
    }
  }

  async #tryChanges(text: string): Promise<boolean> {
    try {
      await this.#modules.nft.apply(text);
      return true;
    } catch (error) {
      this.#modules.log.warn(
        { error: messageOf(error) },
        'the ingress table was changed by others; it is written anew',
      );
      return false;
    }
  }

  /** So that the next replacement of a rule rounds with another backend. */
  #advance(from: NodeTable | undefined, to: NodeTable): void {
    for (const key of this.#rounds.keys()) if (!to.ports.has(key)) this.#rounds.delete(key);
    for (const rule of to.ports.values()) {
      const old = from?.ports.get(rule.key);
      if (!old || !sameWays(old, rule)) this.#rounds.set(rule.key, this.#round(rule.key) + 1);
    }
  }

  #round(key: string): number {
    return this.#rounds.get(key) ?? this.#modules.firstRound(key);
  }

  /**
   * Compares it with what it should be, and removes the rules that are left over. False: others changed it, and it has to be written anew. The
   * listing takes long, so changes go on meanwhile, and a listing that one came across is worth nothing.
   */
  async check(name: string): Promise<boolean> {
    for (let attempt = 0; attempt < 3 && this.#isComparable; attempt++) {
      const table = this.inForce;
      if (!table) return true;
      const objects = await this.#modules.nft.list(name);
      if (this.inForce !== table) continue;
      const reading = objects && read(objects);
      const found = drift(reading, table, this.#frame);
      if (found !== undefined) return !this.#isChanged(found, objects !== undefined);
      this.#drift = undefined;
      if (!reading) return true;
      this.#frame = reading.frame;
      await this.#clear(name, reading.leftOver);
      return true;
    }
    return true;
  }

  /** Nothing is written meanwhile: in a table that was made anew the handles are those of other rules. */
  async #clear(name: string, rules: readonly RuleId[]): Promise<void> {
    this.#leftOver = rules.length;
    if (rules.length === 0) return;
    const cleared = this.#modules.nft.apply(deletions(name, rules));
    this.#clearing = cleared.catch(() => {});
    await cleared;
    this.#leftOver = 0;
  }

  #isChanged(found: string, isPresent: boolean): boolean {
    const { log } = this.#modules;
    if (isPresent && this.#drift === found && this.#frame === undefined) {
      // Found at once in what was just written: this nft says it in another way than we know.
      this.#isComparable = false;
      log.warn({ found }, 'listings of the ingress table cannot be understood; it is not compared any more');
      return false;
    }
    this.#drift = found;
    log.warn({ found }, 'the ingress table was changed by others; it is written anew');
    this.forget();
    return true;
  }
}

const sameMesh = (a: MeshNames | undefined, b: MeshNames | undefined): boolean =>
  JSON.stringify(a) === JSON.stringify(b);
