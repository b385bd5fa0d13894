import { defaultDockerHost, type EngineAddress, parseDockerHost } from '../runtime/docker/connect.ts';

/** Where HTTP requests for the engine go. Throws RuntimeError for a host that is not understood. */
export function engineAddress(dockerHost: string = defaultDockerHost): EngineAddress {
  const { host, ...rest } = parseDockerHost(dockerHost);
  return host === undefined ? rest : { ...rest, host: host.replace(/^\[|\]$/g, '') };
}
