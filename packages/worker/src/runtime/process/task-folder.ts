import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { PortConfig, TaskEndpoint } from '@swarmctl/shared/model';
import type { ProcessIdentity } from './proc.ts';

// One folder a task, `PROCESS_FOLDER/<task id>`: all that is known of it, so that a restarted daemon and the shim agree. Files appear in one
// step or not at all.

/** `task.json`: written once when the task is prepared. The shim reads it. */
export interface TaskConfig {
  readonly taskId: string;
  readonly nodeId: string;
  readonly clusterId: string;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly stopSignal: string;
  readonly logFileBytes: number;
  readonly health?: HealthConfig;
  /** Where a process joins the task's cgroups, and where it goes back. */
  readonly cgroups: readonly { readonly enter: string; readonly leave: string }[];
  /** Set once the command runs: the shim has more threads than some tasks may have. */
  readonly lateLimits?: readonly { readonly file: string; readonly value: string }[];
  /** Counts the kernel's out-of-memory kills. */
  readonly oomFile?: string;
  readonly endpoints: readonly TaskEndpoint[];
  readonly hostPorts: readonly PortConfig[];
}

export interface HealthConfig {
  readonly command: readonly string[];
  readonly intervalMs: number;
  readonly startIntervalMs: number;
  readonly timeoutMs: number;
  readonly startPeriodMs: number;
  readonly retries: number;
}

/** `exit.json`. */
export interface ExitStatus {
  readonly code: number;
  readonly oomKilled?: boolean;
  readonly error?: string;
  readonly at: string;
}

export interface TaskFiles {
  readonly config: TaskConfig;
  /** The shim that runs, or ran, it; absent before the start. */
  readonly claim?: ProcessIdentity;
  /** The command's process. */
  readonly run?: ProcessIdentity;
  readonly exit?: ExitStatus;
}

export const controlSocket = 'ctl.sock';
export const logFile = 'output.log';

export class TaskFolders {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  path(taskId: string): string {
    // Ids come from the managers; a path must not.
    if (!/^[\w-]+$/.test(taskId)) throw new Error(`'${taskId}' is no task id`);
    return join(this.root, taskId);
  }

  /** The folder appears with its configuration in it. */
  async create(config: TaskConfig): Promise<void> {
    const path = this.path(config.taskId);
    const temporary = join(this.root, `.new-${config.taskId}`);
    await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary, { recursive: true, mode: 0o700 });
    await writeSynced(join(temporary, 'task.json'), config);
    await rename(temporary, path);
  }

  async read(taskId: string): Promise<TaskFiles | undefined> {
    const path = this.path(taskId);
    const config = await readJson<TaskConfig>(join(path, 'task.json'));
    if (!config) return undefined;
    const [claim, run] = await Promise.all([
      readJson<ProcessIdentity>(join(path, 'claim.json')),
      readJson<ProcessIdentity>(join(path, 'run.json')),
    ]);
    const exit = await this.readExit(taskId);
    return { config, ...(claim && { claim }), ...(run && { run }), ...(exit && { exit }) };
  }

  readExit(taskId: string): Promise<ExitStatus | undefined> {
    return readJson<ExitStatus>(join(this.path(taskId), 'exit.json'));
  }

  /** For a shim that could not do it itself. */
  async writeExit(taskId: string, exit: ExitStatus): Promise<void> {
    const path = this.path(taskId);
    await writeSynced(join(path, '.exit.json'), exit);
    await rename(join(path, '.exit.json'), join(path, 'exit.json'));
  }

  async list(): Promise<string[]> {
    const names = await readdir(this.root).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    });
    return names.filter((name) => !name.startsWith('.'));
  }

  /** Gone in one step for all who look; then the files go. */
  async remove(taskId: string): Promise<void> {
    const grave = join(this.root, `.removed-${taskId}`);
    await rm(grave, { recursive: true, force: true });
    await rename(this.path(taskId), grave).catch(ignoreMissing);
    await rm(grave, { recursive: true, force: true });
  }
}

async function writeSynced(path: string, value: unknown): Promise<void> {
  const file = await open(path, 'w', 0o600);
  try {
    await file.writeFile(JSON.stringify(value));
    await file.sync();
  } finally {
    await file.close();
  }
}

async function readJson<T>(path: string): Promise<T | undefined> {
  const text = await readFile(path, 'utf8').catch(ignoreMissing);
  return text === undefined ? undefined : (JSON.parse(text) as T);
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
  return undefined;
}
