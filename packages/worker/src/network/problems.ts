import { ClusterError, type Logger } from '@swarmctl/shared/kit';

// What stands in the way of published ports, in words; the same whichever ingress it is.

/** Logs what has become of ports, by key, since `before`. */
export function logProblems(log: Logger, before: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): void {
  for (const [port, problem] of now)
    if (before.get(port) !== problem) log.warn({ port, problem }, 'published port has a problem here');
  for (const port of before.keys()) if (!now.has(port)) log.info({ port }, 'published port is all right again');
}

/** Why nobody can be listened to there. */
export function bindProblem(addr: string, port: number, error: NodeJS.ErrnoException): string {
  const where = addr.includes(':') ? `[${addr}]:${port}` : `${addr}:${port}`;
  switch (error.code) {
    case 'EADDRINUSE':
      return `another program has ${where}; it is tried again until that lets go`;
    case 'EACCES':
      return (
        `this user may not listen on ${where}: run swarmd as root, give it CAP_NET_BIND_SERVICE, ` +
        `or set sysctl net.ipv4.ip_unprivileged_port_start to ${port} or lower`
      );
    case 'EADDRNOTAVAIL':
      return `this machine has no address ${addr}`;
    default:
      return `cannot listen on ${where}: ${error.message}`;
  }
}

export const ingressClosed = (): ClusterError => new ClusterError('unavailable', 'the ingress is closed');
