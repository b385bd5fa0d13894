import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ClusterError } from '@swarmctl/shared/kit';

// Which daemon to talk to: --host, SWARMD_HOST, DOCKER_HOST, the current context, the usual sockets, in this order.
// Contexts are recorded clusters, kept in ~/.swarmctl (or SWARMCTL_CONFIG).

export interface Endpoint {
  /** `unix:///path` or `tcp://host:port`. */
  readonly host: string;
  readonly tls?: { readonly certPath: string };
  /** Where the choice came from, for error messages. */
  readonly from: string;
}

export interface Context {
  readonly name: string;
  readonly host: string;
  readonly certPath?: string;
  readonly description?: string;
}

export type Environment = Readonly<Record<string, string | undefined>>;

export interface GlobalOptions {
  readonly host?: string;
  readonly context?: string;
}

export const configFolder = (env: Environment): string => env['SWARMCTL_CONFIG'] || join(homedir(), '.swarmctl');

const usualSockets = (env: Environment) => [
  '/run/swarmd/docker.sock',
  '/var/lib/swarmd/api.sock',
  join(env['XDG_DATA_HOME'] || join(homedir(), '.local/share'), 'swarmd/api.sock'),
];

export function resolveEndpoint(options: GlobalOptions, env: Environment): Endpoint {
  if (options.host) return endpointOf(options.host, env, 'the option --host');
  if (options.context) return fromContext(readContext(env, options.context), 'the option --context');
  if (env['SWARMD_HOST']) return endpointOf(env['SWARMD_HOST'], env, 'SWARMD_HOST');
  if (env['DOCKER_HOST']) return endpointOf(env['DOCKER_HOST'], env, 'DOCKER_HOST');
  const current = env['SWARMCTL_CONTEXT'] || currentContext(env);
  if (current && current !== 'default') return fromContext(readContext(env, current), `the context '${current}'`);
  const [fallback = ''] = usualSockets(env);
  const socket = usualSockets(env).find((path) => existsSync(path)) ?? fallback;
  return { host: `unix://${socket}`, from: 'the default, as no --host, SWARMD_HOST, DOCKER_HOST or context is set' };
}

/** A host in full, `unix://…` or `tcp://…`; throws when it is neither. */
export function hostOf(host: string, from: string): string {
  const text = host.startsWith('/') ? `unix://${host}` : host.includes('://') ? host : `tcp://${host}`;
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new ClusterError(
      'invalid-argument',
      `'${host}' (from ${from}) is not a host; it should look like unix:///run/swarmd/docker.sock or tcp://10.0.0.5:2376`,
    );
  }
  if (url.protocol !== 'unix:' && url.protocol !== 'tcp:') {
    throw new ClusterError(
      'invalid-argument',
      `'${host}' (from ${from}): the protocol ${url.protocol}// is not supported; use unix:// or tcp://`,
    );
  }
  return text;
}

function endpointOf(host: string, env: Environment, from: string): Endpoint {
  const text = hostOf(host, from);
  if (text.startsWith('unix:')) return { host: text, from };
  const certPath = env['DOCKER_CERT_PATH'] || (env['DOCKER_TLS_VERIFY'] ? join(homedir(), '.docker') : undefined);
  return { host: text, from, ...(certPath && { tls: { certPath } }) };
}

const fromContext = (context: Context, from: string): Endpoint => ({
  host: context.host,
  from,
  ...(context.certPath && { tls: { certPath: context.certPath } }),
});

const contextFile = (env: Environment, name: string) => join(configFolder(env), 'contexts', `${name}.json`);
const currentFile = (env: Environment) => join(configFolder(env), 'config.json');

export function currentContext(env: Environment): string | undefined {
  try {
    return (JSON.parse(readFileSync(currentFile(env), 'utf8')) as { currentContext?: string }).currentContext;
  } catch {
    return undefined;
  }
}

export function readContext(env: Environment, name: string): Context {
  checkContextName(name);
  try {
    return { ...(JSON.parse(readFileSync(contextFile(env, name), 'utf8')) as Context), name };
  } catch {
    const known = listContexts(env).map((context) => context.name);
    throw new ClusterError(
      'not-found',
      `context '${name}' not found${known.length > 0 ? `; known: ${known.join(', ')}` : ''}`,
    );
  }
}

export function listContexts(env: Environment): readonly Context[] {
  const folder = join(configFolder(env), 'contexts');
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .map((file) => readContext(env, file.slice(0, -'.json'.length)));
}

export function saveContext(env: Environment, context: Context): void {
  checkContextName(context.name);
  mkdirSync(join(configFolder(env), 'contexts'), { recursive: true, mode: 0o700 });
  const { name, ...content } = context;
  replaceFile(contextFile(env, name), content);
}

/** `undefined` goes back to the default. */
export function useContext(env: Environment, name: string | undefined): void {
  if (name !== undefined && name !== 'default') readContext(env, name);
  mkdirSync(configFolder(env), { recursive: true, mode: 0o700 });
  replaceFile(currentFile(env), name === undefined || name === 'default' ? {} : { currentContext: name });
}

export function removeContext(env: Environment, name: string): void {
  readContext(env, name);
  rmSync(contextFile(env, name));
  if (currentContext(env) === name) useContext(env, undefined);
}

function checkContextName(name: string): void {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.+-]*$/.test(name)) {
    throw new ClusterError(
      'invalid-argument',
      `'${name}' is not a context name: letters, digits and _ . + - after a letter or digit`,
    );
  }
}

function replaceFile(path: string, content: unknown): void {
  writeFileSync(`${path}.tmp`, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}
