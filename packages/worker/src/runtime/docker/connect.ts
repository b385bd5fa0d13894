import Docker from 'dockerode';
import { RuntimeError } from '../types.ts';

// How the engine is reached: `unix:///path`, a bare path, or `tcp://host:port`.

export const defaultDockerHost = 'unix:///var/run/docker.sock';

export interface EngineAddress {
  readonly socketPath?: string;
  readonly host?: string;
  readonly port?: number;
}

export function parseDockerHost(text: string): EngineAddress {
  if (text.startsWith('/')) return { socketPath: text };
  if (text.startsWith('unix://')) {
    const socketPath = text.slice('unix://'.length);
    if (socketPath.startsWith('/')) return { socketPath };
  }
  const tcp = /^(?:tcp|http):\/\/(\[[\da-f:]+\]|[^:/]+):(\d+)\/?$/i.exec(text);
  if (tcp) return { host: tcp[1] ?? '', port: Number(tcp[2]) };
  throw new RuntimeError(
    `docker host '${text}' is not understood; write unix:///path/to/docker.sock or tcp://host:port`,
    { permanent: true },
  );
}

/** True when the engine's containers are on this machine, so that their addresses and processes are ours to reach. */
export const isOnThisMachine = (address: EngineAddress): boolean =>
  address.host === undefined || /^(localhost|127\.|\[::1\])/.test(address.host);

/** Every member is named, since dockerode fills what is not from DOCKER_HOST and its kin. */
export const connect = ({ socketPath, host, port }: EngineAddress): Docker =>
  new Docker({
    socketPath,
    host,
    port,
    protocol: 'http',
    ca: undefined,
    cert: undefined,
    key: undefined,
    username: undefined,
    timeout: undefined,
  });
