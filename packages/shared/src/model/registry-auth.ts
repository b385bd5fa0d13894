import { ClusterError } from '../kit/errors.ts';
import type { PullAuth, Service } from './objects.ts';

// What a client shows a registry, as Docker's header X-Registry-Auth carries it. Secret: no error, answer or log line quotes it.

export interface RegistryAuth {
  readonly username?: string;
  readonly password?: string;
  readonly serveraddress?: string;
  /** A refresh token, in place of the password. */
  readonly identitytoken?: string;
  /** A token for the registry itself. */
  readonly registrytoken?: string;
}

const names = ['username', 'password', 'serveraddress', 'identitytoken', 'registrytoken'] as const;

/** Of the header: JSON in base64, of either alphabet. Undefined: it holds no credentials. Throws `invalid-argument`. */
export function parseRegistryAuth(header: string): RegistryAuth | undefined {
  const text = header.trim();
  if (!/^[\w+/-]*={0,2}$/.test(text)) throw wrong('it is not base64');
  let given: unknown;
  try {
    given = JSON.parse(Buffer.from(text, 'base64').toString('utf8'));
  } catch {
    throw wrong('what its base64 holds is not JSON');
  }
  // What some clients make of having none.
  return given === null ? undefined : checkRegistryAuth(given, wrong);
}

/** The members that are known, of a foreign value. Undefined: no credentials. `wrong` makes the error. */
export function checkRegistryAuth(given: unknown, wrong: (why: string) => ClusterError): RegistryAuth | undefined {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) throw wrong('it is not a JSON object');
  const found: Record<string, string> = {};
  for (const [key, value] of Object.entries(given)) {
    const name = [...names, 'auth' as const].find((one) => one === key.toLowerCase());
    if (!name || value === null || value === '') continue;
    if (typeof value !== 'string') throw wrong(`its ${name} is not a text`);
    found[name] = value;
  }
  const { auth, ...rest } = found;
  if (auth !== undefined && rest['username'] === undefined) {
    const both = Buffer.from(auth, 'base64').toString('utf8');
    const colon = both.indexOf(':');
    if (colon < 1) throw wrong('its auth is not user:password in base64');
    Object.assign(rest, { username: both.slice(0, colon), password: both.slice(colon + 1) });
  }
  const credentials = Object.keys(rest).filter((name) => name !== 'serveraddress');
  return credentials.length === 0 ? undefined : rest;
}

const wrong = (why: string) => new ClusterError('invalid-argument', `invalid X-Registry-Auth header: ${why}`);

/** What a service is to have with its next spec, pulled with `next`. Nothing where there never were credentials. */
export const withPullAuth = (
  { PullAuth: last }: Pick<Service, 'PullAuth'>,
  next: PullAuth | undefined,
): Pick<Service, 'PullAuth'> =>
  last || next ? { PullAuth: { ...(next && { Spec: next }), ...(last?.Spec && { PreviousSpec: last.Spec }) } } : {};
