import { ClusterError } from '@swarmctl/shared/kit';
import type { RegistryAuth } from '@swarmctl/shared/model';
import { exchange, Unreachable } from './transport.ts';

// What a registry wants to see before it answers: Basic credentials, or a Bearer token of its token service.

export interface Challenge {
  readonly scheme: 'basic' | 'bearer';
  readonly parameters: Readonly<Record<string, string>>;
}

/** Of `WWW-Authenticate`; undefined when it asks for nothing that is known. Bearer, where both are offered. */
export function challengeOf(header: string | undefined): Challenge | undefined {
  const found: Challenge[] = [];
  for (const match of (header ?? '').matchAll(/(?:^|,\s*)(basic|bearer)\b((?:\s*,?\s*\w+="[^"]*")*)/gi)) {
    const pairs = [...(match[2] ?? '').matchAll(/(\w+)="([^"]*)"/g)].map(([, name = '', value = '']) => [
      name.toLowerCase(),
      value,
    ]);
    found.push({ scheme: match[1]?.toLowerCase() as Challenge['scheme'], parameters: Object.fromEntries(pairs) });
  }
  return found.find(({ scheme }) => scheme === 'bearer') ?? found[0];
}

export interface AuthorizationOptions {
  readonly auth: RegistryAuth | undefined;
  readonly scope: string | undefined;
  readonly insecure: boolean;
  readonly headers: Readonly<Record<string, string>>;
  /** Asks for a refresh token as well, which stands for the password from then on. */
  readonly offline: boolean;
}

export interface Authorization {
  /** The value of the header. */
  readonly value: string;
  /** If the token service gave one. */
  readonly refreshToken?: string;
}

const maxTokenBytes = 256 * 1024;
const clientId = 'swarmd';

/** Undefined: there are no credentials to show. Throws `unauthenticated` when the token service refuses them. */
export async function authorization(
  { scheme, parameters }: Challenge,
  options: AuthorizationOptions,
  signal: AbortSignal,
): Promise<Authorization | undefined> {
  const { auth } = options;
  if (scheme === 'basic') return auth?.username === undefined ? undefined : { value: basic(auth) };
  if (auth?.registrytoken !== undefined) return { value: `Bearer ${auth.registrytoken}` };
  return token(parameters, options, signal);
}

const basic = ({ username = '', password = '' }: RegistryAuth) =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;

async function token(
  { realm = '', service = '' }: Challenge['parameters'],
  { auth, scope, insecure, headers, offline }: AuthorizationOptions,
  signal: AbortSignal,
): Promise<Authorization> {
  const url = realmOf(realm, insecure);
  const asked: Record<string, string> = { ...(service !== '' && { service }), ...(scope !== undefined && { scope }) };
  const common = { unverified: insecure, maxBytes: maxTokenBytes };
  const sent = auth?.identitytoken
    ? exchange(
        {
          ...{ ...common, method: 'POST', url },
          headers: { ...headers, 'content-type': 'application/x-www-form-urlencoded' },
          body: `${new URLSearchParams({ grant_type: 'refresh_token', client_id: clientId, refresh_token: auth.identitytoken, ...asked })}`,
        },
        signal,
      )
    : exchange(
        {
          ...common,
          url: withQuery(url, {
            ...asked,
            ...(auth?.username && { account: auth.username }),
            ...(offline && { client_id: clientId, offline_token: 'true' }),
          }),
          headers: { ...headers, ...(auth?.username !== undefined && { authorization: basic(auth) }) },
        },
        signal,
      );
  const reply = await sent.catch((error: unknown) => {
    if (!(error instanceof Unreachable)) throw error;
    throw new ClusterError('unknown', `Get "${url}": ${error.message}`, {}, error);
  });
  if ([400, 401, 403].includes(reply.status)) {
    throw new ClusterError('unauthenticated', 'unauthorized: incorrect username or password');
  }
  const found = reply.status === 200 ? tokenIn(reply.body) : undefined;
  if (found === undefined) throw new ClusterError('unknown', `Get "${url}": no token came, but status ${reply.status}`);
  return found;
}

/** Credentials go in the clear to nobody but registries that may be insecure. */
function realmOf(realm: string, insecure: boolean): URL {
  const url = URL.canParse(realm) ? new URL(realm) : undefined;
  if (url?.protocol === 'https:' || (insecure && url?.protocol === 'http:')) return url;
  throw new ClusterError('unknown', `the registry names a token service that is not at an https URL: '${realm}'`);
}

function withQuery(url: URL, query: Readonly<Record<string, string>>): URL {
  const full = new URL(url);
  for (const [name, value] of Object.entries(query)) full.searchParams.set(name, value);
  return full;
}

function tokenIn(body: Buffer): Authorization | undefined {
  const isToken = (value: unknown): value is string => typeof value === 'string' && /^[\x21-\x7e]+$/.test(value);
  try {
    const {
      token: one,
      access_token: other,
      refresh_token: refreshToken,
    } = JSON.parse(body.toString('utf8')) as Record<string, unknown>;
    const found = one ?? other;
    if (!isToken(found)) return undefined;
    return { value: `Bearer ${found}`, ...(isToken(refreshToken) && { refreshToken }) };
  } catch {
    return undefined;
  }
}
