import { chmod, chown, mkdir, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Logger, messageOf } from '@swarmctl/shared/kit';
import { payloadReferences, type Task } from '@swarmctl/shared/model';
import { type RunCommand, runCommand } from '../network/command.ts';
import { RuntimeError, type RuntimeNode } from '../runtime/types.ts';
import type { PayloadStore } from './payload-store.ts';
import { type TaskFile, taskFiles } from './task-files.ts';

// The files of tasks' secrets and configs on this machine: for each task a tmpfs of its own, which root alone may enter and which is not swapped
// where the kernel has that (6.4). The engine binds each file into the container. What is there goes when the task has ended.

/** Where an engine finds a file, and where it goes in the container. */
export interface FileMount {
  readonly source: string;
  readonly target: string;
}

/** What a task's life needs of them. */
export interface TaskMounts {
  /** Before its container is made, and again before it is started. Rejects with RuntimeError. Idempotent. */
  provide(task: Task): Promise<readonly FileMount[]>;
  /** It does not run any more. Idempotent, and does not reject: what cannot be taken away is left to `keepOnly`. */
  drop(taskId: string): Promise<void>;
  /** Those of all other tasks go; asked of each just before. Does not reject. */
  keepOnly(isWanted: (taskId: string) => boolean): Promise<void>;
}

export interface TaskMountsModules {
  readonly payloads: Pick<PayloadStore, 'byId'>;
  readonly log: Logger;
  /** Runs `mount` and `umount`. */
  readonly run?: RunCommand;
  /** The mounts that there are, as in /proc/self/mountinfo. */
  readonly mountInfo?: () => Promise<string>;
}

/** Not under the service manager's runtime folder, which goes when swarmd stops. */
const mountsFolder = '/run/swarmd-tasks';
const pageBytes = 4_096;

/** Of a node whose daemon is root and whose engine is on this machine. */
export function createTaskMounts(
  node: RuntimeNode,
  modules: TaskMountsModules,
  options: { readonly folder?: string } = {},
): TaskMounts {
  return new TmpfsMounts(node, join(options.folder ?? mountsFolder, node.nodeId), modules);
}

class TmpfsMounts implements TaskMounts {
  readonly #node: RuntimeNode;
  readonly #folder: string;
  readonly #modules: TaskMountsModules;
  readonly #run: RunCommand;
  /** Those in place, by task. */
  readonly #provided = new Map<string, readonly FileMount[]>();
  #swapTold = false;

  constructor(node: RuntimeNode, folder: string, modules: TaskMountsModules) {
    this.#node = node;
    this.#folder = folder;
    this.#modules = modules;
    this.#run = modules.run ?? runCommand;
  }

  async provide(task: Task): Promise<readonly FileMount[]> {
    if (payloadReferences(task.Spec.ContainerSpec).length === 0) return [];
    const known = this.#provided.get(task.ID);
    if (known) return known;
    const files = taskFiles(task, this.#node, (id) => this.#modules.payloads.byId(id));
    const folder = this.#path(task.ID);
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      await mkdir(folder, { recursive: true, mode: 0o700 });
      if (!(await this.#isMounted(folder))) await this.#mount(folder, files);
      const mounts = await Promise.all(files.map((file, i) => write(join(folder, String(i)), file)));
      this.#provided.set(task.ID, mounts);
      return mounts;
    } catch (error) {
      await this.drop(task.ID);
      throw new RuntimeError(`secrets and configs cannot be put in place: ${messageOf(error)}`, { cause: error });
    }
  }

  async drop(taskId: string): Promise<void> {
    this.#provided.delete(taskId);
    const folder = this.#path(taskId);
    try {
      const names = await readdir(folder).catch(() => undefined);
      if (!names) return;
      // A mount that something still looks at is gone by name only: its files go first.
      for (const name of names) await rm(join(folder, name), { force: true });
      if (await this.#isMounted(folder)) await this.#unmount(folder);
      await rmdir(folder);
      // Unless others are there.
      await rmdir(this.#folder).catch(() => undefined);
    } catch (error) {
      this.#modules.log.warn({ task: taskId, error: messageOf(error) }, 'files of a task that is gone stay for now');
    }
  }

  async keepOnly(isWanted: (taskId: string) => boolean): Promise<void> {
    const there = await readdir(this.#folder).catch(() => []);
    for (const taskId of there) if (!isWanted(taskId)) await this.drop(taskId);
  }

  #path(taskId: string): string {
    return join(this.#folder, taskId);
  }

  async #mount(folder: string, files: readonly TaskFile[]): Promise<void> {
    const pages = files.reduce((sum, { data }) => sum + Math.ceil(data.length / pageBytes), 0);
    const size = `size=${(pages + 4) * pageBytes},nr_inodes=${files.length + 4}`;
    const options = `nosuid,nodev,noexec,mode=0700,${size}`;
    const mount = (more: string) => this.#run('mount', ['-t', 'tmpfs', '-o', `${options}${more}`, 'tmpfs', folder]);
    if ((await mount(',noswap')).code === 0) return;
    const { code, stderr } = await mount('');
    if (code !== 0) throw new Error(`mount: ${stderr.trim()}`);
    if (this.#swapTold) return;
    this.#swapTold = true;
    this.#modules.log.info('this kernel may swap what secrets and configs hold: encrypt its swap, or have none');
  }

  async #unmount(folder: string): Promise<void> {
    if ((await this.#run('umount', [folder])).code === 0) return;
    const { code, stderr } = await this.#run('umount', ['-l', folder]);
    if (code !== 0) throw new Error(`umount: ${stderr.trim()}`);
  }

  async #isMounted(folder: string): Promise<boolean> {
    const info = await (this.#modules.mountInfo?.() ?? readFile('/proc/self/mountinfo', 'utf8'));
    return info.includes(` ${folder} `);
  }
}

async function write(path: string, { path: target, data, uid, gid, mode }: TaskFile): Promise<FileMount> {
  // In place: a container that is made but not started is bound to the name alone.
  await writeFile(path, data, { mode: 0o600 });
  await chown(path, uid, gid);
  await chmod(path, mode);
  return { source: path, target };
}
