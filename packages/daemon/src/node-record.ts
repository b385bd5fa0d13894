import { ClusterError } from '@swarmctl/shared/kit';
import { type NodeFile, settleRaft, wipeRaft, writeNodeFile } from './state-file.ts';
import type { Vault } from './vault.ts';

// A node's own record of its place in a cluster: in memory until the place counts, from then on in its file as well. The raft log goes with it.

export class NodeRecord {
  readonly #dataDir: string;
  readonly #vault: Vault;
  #file: NodeFile;
  #persistent: boolean;

  /** `persistent`: the file is on the disk already. */
  constructor(dataDir: string, vault: Vault, { file, persistent }: { file: NodeFile; persistent: boolean }) {
    this.#dataDir = dataDir;
    this.#vault = vault;
    this.#file = file;
    this.#persistent = persistent;
  }

  get file(): NodeFile {
    return this.#file;
  }

  /** Of a manager, which always has one. */
  get raftId(): number {
    const { raftId } = this.#file;
    if (raftId === undefined) throw new ClusterError('internal', 'this manager has no raft id');
    return raftId;
  }

  /** From now on the node is found again after a restart. */
  persist(): void {
    this.#persistent = true;
    writeNodeFile(this.#dataDir, this.#file);
  }

  save(set: { readonly [K in keyof NodeFile]?: NodeFile[K] | undefined }): void {
    this.#file = { ...this.#file, ...set } as NodeFile;
    if (this.#persistent) writeNodeFile(this.#dataDir, this.#file);
  }

  /** Leaves the log that the record names, if it names one. */
  settleRaft(): void {
    settleRaft(this.#dataDir, this.#file.raftId);
    if (this.#file.raftId === undefined) this.wipeRaft();
  }

  wipeRaft(): void {
    wipeRaft(this.#dataDir, this.#vault);
  }

  /** The file first: a crash in between must not leave one that misses its log. */
  forgetRaft(): void {
    this.save({ role: 'worker', raftId: undefined, raftStarted: undefined });
    this.wipeRaft();
  }
}
