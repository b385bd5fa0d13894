import { isHandover, serverAddress, serverArguments } from './config.ts';
import type { HttpBackend } from './plan.ts';

// Which servers, which are tasks, one worker of HAProxy has, and the commands that make them those that are wanted. One that has left gets
// no new requests; it goes once its last one has ended. Pure.

export interface KnownServer {
  readonly backend: string;
  readonly name: string;
  readonly addr: string;
  readonly port: number;
  /** Requests are sent to it. */
  readonly isUp: boolean;
}

/** What `show servers state` says of tasks. */
export function parseServers(said: readonly string[]): KnownServer[] {
  return said
    .filter((line) => /^\d+ /.test(line))
    .map((line) => line.split(' '))
    .filter((fields) => !isHandover(fields[1] ?? ''))
    .map((fields) => ({
      backend: fields[1] ?? '',
      name: fields[3] ?? '',
      addr: fields[4] ?? '',
      port: Number(fields[18]),
      isUp: Number(fields[6]) === 0,
    }));
}

export interface ServerCommands {
  readonly commands: readonly string[];
  /** How many of them make a new one. */
  readonly added: number;
  /** Some have left and are not gone. */
  readonly isLeaving: boolean;
}

export function serverCommands(
  known: readonly KnownServer[],
  wanted: ReadonlyMap<string, HttpBackend>,
): ServerCommands {
  const there = new Map(known.map((server) => [`${server.backend}/${server.name}`, server]));
  const [coming, leaving]: [string[], string[]] = [[], []];
  let added = 0;
  const kept = new Set<string>();
  for (const backend of wanted.values()) {
    for (const server of backend.servers) {
      const path = `${backend.name}/${server.name}`;
      const one = there.get(path);
      kept.add(path);
      if (!one) {
        added++;
        coming.push(`add server ${path} ${serverArguments(server, backend)}`, `enable server ${path}`);
        continue;
      }
      if (one.addr !== server.addr || one.port !== server.port)
        coming.push(`set server ${path} addr ${serverAddress(server.addr)} port ${server.port}`);
      if (!one.isUp) coming.push(`set server ${path} state ready`);
    }
  }
  for (const [path, { isUp }] of there) {
    if (kept.has(path)) continue;
    if (isUp) leaving.push(`set server ${path} state maint`);
    leaving.push(`del server ${path}`);
  }
  return { commands: [...coming, ...leaving], added, isLeaving: leaving.length > 0 };
}
