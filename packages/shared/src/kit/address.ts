import { isIP } from 'node:net';
import { ClusterError } from './errors.ts';

// Addresses as people write them: `host`, `host:port`, `[ipv6]:port`, `:port`.

export interface Address {
  /** Empty when it was left out. */
  readonly host: string;
  readonly port: number;
}

/** `what` names the address in the error, e.g. `--listen-addr`. Without a default, the port must be there. */
export function parseAddress(text: string, what: string, defaultPort?: number): Address {
  const given = text.trim();
  const bare = isIP(given) === 6 ? given : undefined;
  const match = bare ? undefined : /^(?:\[([^\]]+)\]|([^:[\]\s]*))(?::(\d{1,5}))?$/.exec(given);
  const host = bare ?? match?.[1] ?? match?.[2] ?? '';
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  const right = (bare || match) && given !== '' && (match?.[1] === undefined || isIP(match[1]) === 6);
  if (!right || port === undefined || port < 1 || port > 65_535 || /[^0-9a-zA-Z.:%_-]/.test(host)) {
    throw new ClusterError(
      'invalid-argument',
      `${what}: '${text}' is not an address; it should look like 10.0.0.5:2377`,
    );
  }
  return { host, port };
}

export const formatAddress = (host: string, port: number): string =>
  isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
