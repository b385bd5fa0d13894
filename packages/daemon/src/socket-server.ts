import { chmodSync, chownSync, lstatSync, rmSync } from 'node:fs';
import type { Server as HttpServer } from 'node:http';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { ClusterError } from '@swarmctl/shared/kit';
import { readIfThere } from './files.ts';

// The unix socket of the API, there before the node belongs to a cluster. Who may open it may do everything, so it is its owner's alone.

/** What the kernel's address of a unix socket holds. */
const maxPathBytes = 107;

/** The sockets that swarmd is to have. Throws ClusterError for a group that could reach none of them. */
export function socketPlaces({
  dataDir,
  socket,
  socketGroup: group,
}: {
  readonly dataDir: string;
  readonly socket?: string | undefined;
  readonly socketGroup?: string | undefined;
}): { readonly path: string; readonly group?: string | undefined }[] {
  const own = { path: join(dataDir, 'api.sock') };
  if (socket !== undefined) return [own, { path: socket, group }];
  if (group === undefined) return [own];
  throw new ClusterError(
    'invalid-argument',
    `--socket-group: the group '${group}' cannot enter the data folder; say where its socket is to be, too: --socket PATH`,
  );
}

export interface SocketServer {
  readonly path: string;
  close(): Promise<void>;
}

/** Throws ClusterError for a path that is too long, in use, or something else than a socket. */
export async function serveSocket(path: string, http: HttpServer, group?: string): Promise<SocketServer> {
  if (Buffer.byteLength(path) > maxPathBytes) {
    throw new ClusterError(
      'invalid-argument',
      `the path of the API socket is too long for the kernel (${Buffer.byteLength(path)} bytes, at most ${maxPathBytes}): ${path}; choose a shorter --data-dir`,
    );
  }
  const gid = group === undefined ? undefined : groupId(group);
  await removeStale(path);
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    serveStream(http, socket);
  });
  await listen(server, path);
  if (gid !== undefined) {
    chownSync(path, -1, gid);
    chmodSync(path, 0o660);
  }
  return {
    path,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
}

/** Hands a stream over to the API. */
export function serveStream(http: HttpServer, socket: Socket): void {
  // A client of attach or exec ends its input, and reads on.
  socket.allowHalfOpen = true;
  http.emit('connection', socket);
}

/** The socket is bound within `listen`, so that it is never open to others, not even for a moment. */
function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    const before = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(before);
    }
  });
}

async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found) return;
  if (!found.isSocket()) throw new ClusterError('invalid-argument', `${path} is in the way: it is not a socket`);
  if (await answers(path)) throw new ClusterError('unavailable', `another program listens on ${path} already`);
  rmSync(path, { force: true });
}

const answers = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) =>
      resolve(!['ECONNREFUSED', 'ENOENT'].includes(error.code ?? '')),
    );
  });

function groupId(name: string): number {
  if (/^\d+$/.test(name)) return Number(name);
  const line = readIfThere('/etc/group')
    ?.split('\n')
    .find((one) => one.startsWith(`${name}:`));
  const gid = Number(line?.split(':')[2] ?? Number.NaN);
  if (!Number.isInteger(gid)) throw new ClusterError('invalid-argument', `--socket-group: there is no group '${name}'`);
  return gid;
}
