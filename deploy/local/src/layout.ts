import { readFileSync } from 'node:fs';
import { homedir, tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

// Where the local cluster's files are, and what its nodes are called.

const root = fileURLToPath(new URL('../../../', import.meta.url));

export const swarmdBin = join(root, 'packages/daemon/bin/swarmd.js');
export const swarmctlBin = join(root, 'packages/cli/bin/swarmctl.js');
export const helloScript = fileURLToPath(new URL('./hello.js', import.meta.url));

/** Short, because a unix socket's path may have 107 bytes; private to the user. */
export const dataFolder = process.env['SWARMCTL_LOCAL_DATA'] || join(tmpdir(), `swarmctl-local-${userInfo().uid}`);
export const pidFile = join(dataFolder, 'processes.json');
export const contextName = 'local';
/** Marks the image that a start makes, so that its end can remove it. */
export const imageLabel = 'swarmctl.local';
export const configFolder = process.env['SWARMCTL_CONFIG'] || join(homedir(), '.swarmctl');

export interface LocalNode {
  readonly name: string;
  readonly addr: string;
  readonly folder: string;
  readonly socket: string;
  readonly log: string;
}

export const controlPort = Number(process.env['SWARMCTL_LOCAL_CONTROL_PORT'] ?? 2377);
export const webPort = Number(process.env['SWARMCTL_LOCAL_WEB_PORT'] ?? 8080);

export const localNodes: readonly LocalNode[] = [1, 2, 3].map((n) => {
  const folder = join(dataFolder, `node${n}`);
  return {
    name: `node${n}`,
    addr: `127.0.0.${n}`,
    folder,
    socket: join(folder, 'api.sock'),
    log: join(dataFolder, `node${n}.log`),
  };
});

/** Identifies a process beyond its number: start time in clock ticks since boot; undefined when it is gone. */
export function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
