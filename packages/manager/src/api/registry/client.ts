import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import { type Clock, ClusterError, type ErrorCode } from '@swarmctl/shared/kit';
import { type ImageName, isInRanges, type RegistryAuth } from '@swarmctl/shared/model';
import { type AuthorizationOptions, authorization, type Challenge, challengeOf } from './challenge.ts';
import { type Exchange, exchange, type Reply, Unreachable, within } from './transport.ts';

// The little that a manager asks of registries (OCI distribution specification, API v2): what an image is, and whether credentials are right.

export interface RegistryOptions {
  /** Registries that may speak plain HTTP, or show any certificate: `host[:port]`, or a range of addresses. Loopback ones always may. */
  readonly insecure: readonly string[];
  readonly userAgent: string;
}

/** As `GET /distribution/{name}/json` answers it. */
export interface Distribution {
  readonly Descriptor: { readonly mediaType: string; readonly digest: string; readonly size: number };
  readonly Platforms: readonly object[];
}

/** For all that one question takes. */
const timeoutMs = 15_000;
/** The most that registries must take as a manifest. */
const maxManifestBytes = 4 * 1024 * 1024;
const maxConfigBytes = 4 * 1024 * 1024;

const indexTypes = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
];
const manifestTypes = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];

interface Manifest {
  readonly mediaType?: string;
  readonly config?: { readonly digest?: unknown };
  readonly manifests?: readonly { readonly platform?: object }[];
}

export class RegistryClient {
  readonly #options: RegistryOptions;
  readonly #clock: Clock;

  constructor(options: RegistryOptions, { clock }: { readonly clock: Clock }) {
    this.#options = options;
    this.#clock = clock;
  }

  /** Throws `not-found`, `unauthenticated`, `permission-denied` as the registry says, `unknown` when it cannot be had. */
  async distribution(image: ImageName, auth?: RegistryAuth): Promise<Distribution> {
    return within(this.#clock, timeoutMs, async (signal) => {
      const scope = `repository:${image.repository}:pull`;
      const { talk } = await this.#open(image.registry, { auth, scope, offline: false }, signal);
      const reference = image.digest ?? image.tag ?? 'latest';
      const path = `/v2/${image.repository}`;
      const accept = [...indexTypes, ...manifestTypes].join(', ');
      const { body, headers } = await talk(`${path}/manifests/${reference}`, maxManifestBytes, accept);
      const digest = digestOf(body, image.digest ?? headers['docker-content-digest']);
      const manifest = parse<Manifest>(body);
      const mediaType = manifest.mediaType ?? (headers['content-type'] ?? '').split(';')[0] ?? '';
      if (![...indexTypes, ...manifestTypes].includes(mediaType)) {
        throw new ClusterError('unknown', `the registry has a manifest of a type that is not known: '${mediaType}'`);
      }
      const Descriptor = { mediaType, digest, size: body.length };
      if (indexTypes.includes(mediaType)) {
        return { Descriptor, Platforms: (manifest.manifests ?? []).flatMap(({ platform }) => platform ?? []) };
      }
      const config = String(manifest.config?.digest);
      if (!/^[a-z0-9]+:[a-f0-9]{32,}$/.test(config))
        throw new ClusterError('unknown', 'the manifest names no configuration');
      const blob = await talk(`${path}/blobs/${config}`, maxConfigBytes, '*/*');
      digestOf(blob.body, config);
      return { Descriptor, Platforms: platformsOf(parse(blob.body)) };
    });
  }

  /** The identity token that stands for the password from now on, if the registry has such. Throws `unauthenticated`, or `unknown` when it cannot be had. */
  async login(registry: string, auth: RegistryAuth): Promise<string | undefined> {
    return within(this.#clock, timeoutMs, async (signal) => {
      const { talk, refreshToken } = await this.#open(registry, { auth, scope: undefined, offline: true }, signal);
      await talk('/v2/', maxConfigBytes, '*/*');
      return refreshToken;
    });
  }

  /** A way to get things from a registry, its scheme and its wish for credentials found out. */
  async #open(registry: string, asked: Pick<AuthorizationOptions, 'auth' | 'scope' | 'offline'>, signal: AbortSignal) {
    const headers = { 'user-agent': this.#options.userAgent };
    const host = registry === 'docker.io' ? 'registry-1.docker.io' : registry;
    const insecure = isInsecure(host, this.#options.insecure);
    const { origin, reply } = await firstAnswer(host, insecure, { headers, maxBytes: maxConfigBytes }, signal);
    const challenge: Challenge | undefined =
      reply.status === 401 ? challengeOf(reply.headers['www-authenticate']) : undefined;
    const credentials = challenge && (await authorization(challenge, { ...asked, insecure, headers }, signal));
    const talk = async (path: string, maxBytes: number, accept: string): Promise<Reply> => {
      const all = { ...headers, accept, ...(credentials && { authorization: credentials.value }) };
      const url = new URL(path, origin);
      const got = await reaching(url, exchange({ url, headers: all, unverified: insecure, maxBytes }, signal));
      if (got.status !== 200) throw refusal(got, url);
      return got;
    };
    return { talk, refreshToken: credentials?.refreshToken };
  }
}

/** By https; where that cannot be had and the registry may be insecure, by http. */
async function firstAnswer(
  host: string,
  insecure: boolean,
  rest: Omit<Exchange, 'url'>,
  signal: AbortSignal,
): Promise<{ readonly origin: string; readonly reply: Reply }> {
  const ask = async (scheme: string) => {
    const url = new URL(`${scheme}://${host}/v2/`);
    return { origin: url.origin, reply: await reaching(url, exchange({ ...rest, url, unverified: insecure }, signal)) };
  };
  try {
    return await ask('https');
  } catch (error) {
    if (!insecure || signal.aborted) throw error;
    return ask('http');
  }
}

/** With the URL in front of what went wrong, as Docker says it. */
async function reaching(url: URL, reply: Promise<Reply>): Promise<Reply> {
  try {
    return await reply;
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    throw new ClusterError('unknown', `Get "${url}": ${error.message}`, {}, error);
  }
}

const codeOf: Readonly<Record<number, ErrorCode>> = {
  401: 'unauthenticated',
  403: 'permission-denied',
  404: 'not-found',
};

/** In the registry's words, put as Docker puts them: `manifest unknown: …`. */
function refusal({ status, body }: Reply, url: URL): ClusterError {
  const code = codeOf[status] ?? 'unknown';
  const plain: Readonly<Record<number, string>> = {
    401: 'unauthorized: authentication required',
    403: 'denied: requested access to the resource is denied',
    404: 'manifest unknown: manifest unknown',
  };
  let message = plain[status] ?? `Get "${url}": the registry answers with status ${status}`;
  try {
    const [first] = parse<{ errors?: { code?: string; message?: string }[] }>(body).errors ?? [];
    if (typeof first?.code === 'string') {
      message = `${first.code.toLowerCase().replaceAll('_', ' ')}: ${first.message ?? ''}`;
    }
  } catch {
    // No JSON: the status says it.
  }
  return new ClusterError(code, message);
}

/** Of the content itself; throws when that is not what it was asked for, or is said to be. */
function digestOf(content: Buffer, wanted: string | string[] | undefined): string {
  const [algorithm = 'sha256'] = typeof wanted === 'string' ? wanted.split(':') : [];
  if (!['sha256', 'sha384', 'sha512'].includes(algorithm)) {
    throw new ClusterError('unknown', `digests by ${algorithm} are not known`);
  }
  const digest = `${algorithm}:${createHash(algorithm).update(content).digest('hex')}`;
  if (typeof wanted === 'string' && wanted !== digest) {
    throw new ClusterError('unknown', `the registry sent other content than its digest says: ${digest}, not ${wanted}`);
  }
  return digest;
}

function parse<T>(body: Buffer): T {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    if (typeof value === 'object' && value !== null) return value as T;
  } catch {
    // As any other text that is none.
  }
  throw new ClusterError('unknown', 'the registry sent something else than JSON');
}

function platformsOf(config: Record<string, unknown>): object[] {
  const known = ['architecture', 'os', 'os.version', 'os.features', 'variant'].filter((key) => config[key]);
  return known.length > 0 ? [Object.fromEntries(known.map((key) => [key, config[key]]))] : [];
}

/** `host[:port]`. */
export function isInsecure(host: string, listed: readonly string[]): boolean {
  const name = new URL(`http://${host}`).hostname.replace(/^\[|\]$/g, '');
  if (name === 'localhost' || name === '::1') return true;
  if (isIP(name) === 4 && name.startsWith('127.')) return true;
  return listed.some(
    (one) => one === host || one === name || (isIP(name) !== 0 && one.includes('/') && isInRanges([one], name)),
  );
}
