import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Clock, type Logger, messageOf } from '@swarmctl/shared/kit';
import type { IngressEntry, MeshView, NetworkView } from '@swarmctl/shared/wire';
import type { TaskRecord } from './task-runner.ts';

// What an agent remembers over its own end: its tasks as they were last wanted and seen, and the ingress table and the mesh. With it a restarted daemon
// knows its containers and goes on routing before it reaches a manager. Losing it loses nothing that the managers and the runtime do not know.

export interface Journal {
  readonly version: 1;
  readonly nodeId: string;
  /** The latest that a manager has brought this node to. */
  readonly revision: number;
  readonly tasks: readonly TaskRecord[];
  readonly ingress: readonly IngressEntry[];
  /** Earlier versions knew none. */
  readonly mesh?: MeshView;
  readonly networks?: readonly NetworkView[];
}

/** Undefined when there is none for this node, or none that can be read. */
export async function readJournal(path: string, nodeId: string, log: Logger): Promise<Journal | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const journal = JSON.parse(text) as Journal;
    if (journal.version !== 1) throw new Error(`version ${String(journal.version)} is not known`);
    if (journal.nodeId !== nodeId) return undefined;
    // Earlier versions wrote down no port, as it was always this.
    const networks = journal.networks?.map((view) => ({ ...view, port: view.port ?? 4_789 }));
    return { ...journal, ...(networks && { networks }) };
  } catch (error) {
    log.error({ path, error: messageOf(error) }, 'the journal cannot be read; going on without it');
    return undefined;
  }
}

/** Whole or not at all: a new file takes the place of the old one when it is on the disk. Power lost at once may bring the old one back. */
export async function writeJournal(path: string, journal: Journal): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.new`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(JSON.stringify(journal));
    await file.datasync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

export interface JournalKeeperModules {
  readonly current: () => Journal;
  readonly write: (journal: Journal) => Promise<void>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Its writes wait for the disk that raft's log and the engine wait for, too. */
const gatherMs = 1_000;

/** Writes the journal after changes, once a second at most. */
export class JournalKeeper {
  readonly #modules: JournalKeeperModules;
  #due = false;
  #dirty = false;
  #writing: Promise<void> = Promise.resolve();

  constructor(modules: JournalKeeperModules) {
    this.#modules = modules;
  }

  touch(): void {
    this.#dirty = true;
    if (this.#due) return;
    this.#due = true;
    this.#modules.clock.after(
      gatherMs,
      () => {
        this.#due = false;
        void this.flush();
      },
      { unref: true },
    );
  }

  /** Resolves when all that was touched before is on the disk. A disk that fails is reported and tried again at the next change. */
  flush(): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      if (!this.#dirty) return;
      this.#dirty = false;
      try {
        await this.#modules.write(this.#modules.current());
      } catch (error) {
        this.#dirty = true;
        this.#modules.log.error({ error: messageOf(error) }, 'the journal cannot be written');
      }
    });
    return this.#writing;
  }
}
