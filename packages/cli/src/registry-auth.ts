import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ClusterError, messageOf } from '@swarmctl/shared/kit';
import { checkRegistryAuth, parseImage, type RegistryAuth } from '@swarmctl/shared/model';
import type { Environment } from './context.ts';

// Credentials that `docker login` left: in Docker's config.json, or with the helper that it names.

interface DockerConfig {
  readonly auths?: Readonly<Record<string, unknown>>;
  readonly credsStore?: string;
  readonly credHelpers?: Readonly<Record<string, string>>;
}

const helperTimeoutMs = 30_000;

/** The header for the registry of an image; one without credentials where there are none. */
export function registryAuthHeader(image: string, env: Environment): Readonly<Record<string, string>> {
  const registry = parseImage(image)?.registry ?? 'docker.io';
  const auth = storedAuth(registry === 'docker.io' ? 'https://index.docker.io/v1/' : registry, env) ?? {};
  return { 'x-registry-auth': Buffer.from(JSON.stringify(auth)).toString('base64url') };
}

function storedAuth(server: string, env: Environment): RegistryAuth | undefined {
  const path = join(env['DOCKER_CONFIG'] || join(env['HOME'] ?? homedir(), '.docker'), 'config.json');
  if (!existsSync(path)) return undefined;
  const wrong = (why: string) => new ClusterError('invalid-argument', `${path}: ${server}: ${why}`);
  let config: DockerConfig;
  try {
    config = JSON.parse(readFileSync(path, 'utf8')) as DockerConfig;
  } catch (error) {
    throw new ClusterError('invalid-argument', `${path} cannot be read as JSON: ${messageOf(error)}`);
  }
  const helper = config.credHelpers?.[server] ?? config.credsStore;
  const found = helper ? fromHelper(helper, server) : config.auths?.[server];
  const auth = found === undefined ? undefined : checkRegistryAuth(found, wrong);
  return auth && { ...auth, serveraddress: server };
}

/** By the protocol of Docker's credential helpers; nothing when it knows none. */
function fromHelper(helper: string, server: string): object | undefined {
  try {
    const text = execFileSync(`docker-credential-${helper}`, ['get'], {
      input: server,
      timeout: helperTimeoutMs,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const { Username, Secret } = JSON.parse(text.toString('utf8')) as { Username?: string; Secret?: string };
    return Username === '<token>' ? { identitytoken: Secret } : { username: Username, password: Secret };
  } catch (error) {
    if ((error as { status?: number | null }).status) return undefined;
    throw new ClusterError('unavailable', `docker-credential-${helper} cannot be asked: ${messageOf(error)}`);
  }
}
