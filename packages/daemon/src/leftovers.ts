import { mkdirSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Logger, messageOf } from '@swarmctl/shared/kit';
import { readIfThere } from './files.ts';

// What nodes leave in the machine's memory when their daemon is killed while it leaves, or their data folder is wiped: keys, files of secrets, programs that
// still answer. Which nodes a data folder had is noted where the machine forgets it when it forgets those, and the folder's next node clears it away.

/** A file for each node: the data folder that it has. */
const nodesFolder = '/run/swarmd-nodes';

export interface LeftoversModules {
  /** Idempotent. */
  readonly clear: (nodeId: string) => Promise<void>;
  readonly log: Logger;
  readonly folder?: string;
}

/** Of nodes that this data folder had before. Does not reject: what cannot be cleared now is tried at the next start. */
export async function clearLeftovers(
  node: { readonly nodeId: string; readonly dataDir: string },
  { clear, log, folder = nodesFolder }: LeftoversModules,
): Promise<void> {
  try {
    const dataDir = realpathSync(node.dataDir);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, node.nodeId), dataDir, { mode: 0o600 });
    for (const nodeId of readdirSync(folder)) {
      if (nodeId === node.nodeId || readIfThere(join(folder, nodeId)) !== dataDir) continue;
      await clear(nodeId);
      rmSync(join(folder, nodeId), { force: true });
      log.info({ node: nodeId }, 'cleared away what an earlier node of this data folder had left');
    }
  } catch (error) {
    // Who may not write there has hardly left anything either.
    log.debug({ error: messageOf(error) }, 'what earlier nodes left is not looked for');
  }
}

/** The node has left, and leaves nothing. */
export const forgetLeftovers = (nodeId: string, folder: string = nodesFolder): void =>
  rmSync(join(folder, nodeId), { force: true });
