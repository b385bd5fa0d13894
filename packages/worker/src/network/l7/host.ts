import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';

// What of this machine matters to HAProxy.

const mostConnections = 20_000;

/** Each connection of a client and the one to its task are open files. */
export function connectionsAllowed(limits = readFileSync('/proc/self/limits', 'utf8')): number {
  const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(limits)?.[1];
  return hard === undefined
    ? mostConnections
    : Math.max(50, Math.min(mostConnections, Math.floor((Number(hard) - 200) / 3)));
}

/** Whom HAProxy, started by root, is to become: the user of its package, or nobody. */
export function lesserUser(passwd = readFileSync('/etc/passwd', 'utf8')): {
  readonly uid: number;
  readonly gid: number;
} {
  const [, uid = '65534', gid = '65534'] =
    /^haproxy:[^:]*:(\d+):(\d+):/m.exec(passwd) ?? /^nobody:[^:]*:(\d+):(\d+):/m.exec(passwd) ?? [];
  return { uid: Number(uid), gid: Number(gid) };
}

export const hasIpv6 = (): boolean => existsSync('/proc/self/net/if_inet6');

/** Rejects as `listen` does when the port cannot be had. */
export function tryPort(addr: string | undefined, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ ...(addr !== undefined && { host: addr }), port, exclusive: true }, () =>
      server.close(() => resolve()),
    );
  });
}
