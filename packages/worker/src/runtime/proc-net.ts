import { readFile } from 'node:fs/promises';

// Open TCP connections of a network namespace, as the kernel lists them.

/** States in which the local side may still have something to say: SYN_RECV, ESTABLISHED, FIN_WAIT1, CLOSE_WAIT, LAST_ACK. */
const busy = new Set(['01', '03', '04', '08', '09']);

/** Connections into `ports` as seen by process `pid`; undefined when its namespace cannot be read. */
export async function countConnections(pid: number, ports: ReadonlySet<number>): Promise<number | undefined> {
  const tables = await Promise.all(
    ['tcp', 'tcp6'].map((name) => readFile(`/proc/${pid}/net/${name}`, 'utf8').catch(() => undefined)),
  );
  if (tables[0] === undefined) return undefined;
  return tables.reduce((total, table) => total + (table ? countBusy(table, ports) : 0), 0);
}

/** Counts the lines of a `/proc/net/tcp` table that are busy on one of `ports`. */
export function countBusy(table: string, ports: ReadonlySet<number>): number {
  let count = 0;
  for (const line of table.split('\n')) {
    const [, local = '', , state = ''] = line.trim().split(/\s+/);
    const port = Number.parseInt(local.slice(local.lastIndexOf(':') + 1), 16);
    if (busy.has(state) && ports.has(port)) count++;
  }
  return count;
}
