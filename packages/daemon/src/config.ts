import { readFileSync } from 'node:fs';
import { homedir, hostname } from 'node:os';
import { join } from 'node:path';
import {
  amount,
  ClusterError,
  type Config,
  choice,
  durationMs,
  loadConfig,
  messageOf,
  onOff,
  parseAddress,
  sizeBytes,
  text,
  texts,
} from '@swarmctl/shared/kit';
import { parseIp, wrongRanges } from '@swarmctl/shared/model';
import { parse as parseYaml } from 'yaml';
import yargs from 'yargs';

// What swarmd is told: flags over SWARMD_* variables over a YAML file, checked once and frozen.

export type Environment = Readonly<Record<string, string | undefined>>;

export const defaultPort = 2377;
/** Docker's for TLS. */
export const defaultApiPort = 2376;
export const defaultListenAddr = `0.0.0.0:${defaultPort}`;
const envPrefix = 'SWARMD_';

const anAddress = (given: string, where: string) => void parseAddress(given, where, defaultPort);

const aDockerHost = (given: string, where: string) => {
  if (!/^(unix:\/\/\/.+|(tcp|http):\/\/[^/]+)$/.test(given))
    throw invalid(`${where}: '${given}' should look like unix:///var/run/docker.sock or tcp://10.0.0.5:2375`);
};

const aLabel = (given: string, where: string) => {
  if (!/^[^=\s]+(=.*)?$/.test(given)) throw invalid(`${where}: '${given}' is not of the form name=value`);
};

const aHostname = (given: string, where: string) => {
  if (!/^[0-9a-zA-Z]([0-9a-zA-Z._-]{0,253}[0-9a-zA-Z])?$/.test(given))
    throw invalid(`${where}: '${given}' is not a host name`);
};

const aHostOrIp = (given: string, where: string) => {
  if (!parseIp(given)) aHostname(given, where);
};

const aRegistry = (given: string, where: string) => {
  if (given.includes('/') ? wrongRanges(given) !== undefined : !URL.canParse(`http://${given}`))
    throw invalid(
      `${where}: '${given}' is neither a registry such as registry.lan:5000 nor a range such as 10.0.0.0/8`,
    );
};

const anIp = (given: string, where: string) => {
  const { host } = parseAddress(given, where, defaultPort);
  if (host !== given) throw invalid(`${where}: '${given}' is not an address without a port`);
};

const aRealIp = (given: string, where: string) => {
  if (!parseIp(given)) throw invalid(`${where}: '${given}' is not an IP address`);
};

const aProcessCount = (given: string, where: string) => {
  if (!/^\d{1,3}$/.test(given)) throw invalid(`${where}: '${given}' is not a number of processes from 0 to 999`);
};

const aMark = (given: string, where: string) => {
  if (markOf(given) === undefined) throw invalid(`${where}: '${given}' is not a number from 0x1 to 0xffff`);
};

/** The upper half of a packet's mark. */
export function markOf(text: string): number | undefined {
  const value = /^(0x[0-9a-f]{1,4}|\d{1,5})$/i.test(text) ? Number(text) : 0;
  return value > 0 && value <= 0xffff ? (value << 16) >>> 0 : undefined;
}

const settingsOf = (env: Environment, isRoot: boolean) => ({
  'data-dir': text('Folder of everything this node keeps', 'DIR', defaultDataDir(env, isRoot)),
  'listen-addr': text('Where a manager listens for other nodes', 'HOST:PORT', defaultListenAddr, anAddress),
  'advertise-addr': text('Where others reach this node', 'ADDR', undefined, anAddress),
  'api-addr': text(
    'Where a manager serves the API over TLS, to clients with a certificate of the cluster’s; nowhere if not given',
    'HOST:PORT',
    undefined,
    (given, where) => void parseAddress(given, where, defaultApiPort),
  ),
  'api-name': texts('Another name or address of this machine for clients of --api-addr', 'NAME', aHostOrIp),
  runtime: choice('What runs the containers of this node', ['docker', 'process'], 'docker'),
  'docker-host': text('Engine of the docker runtime', 'URL', 'unix:///var/run/docker.sock', aDockerHost),
  ingress: choice('How published ports are served', ['auto', 'nftables', 'proxy', 'off'], 'auto'),
  'ingress-addr': texts('Address that published ports answer on; every local one if not given', 'ADDR', anIp),
  'ingress-processes': text(
    'Processes that the proxy carries TCP in, 0 for the daemon’s own; as many as cores if not given, but at most 4',
    'NUMBER',
    undefined,
    aProcessCount,
  ),
  mesh: choice('How tasks of other nodes see the clients of published ports', ['auto', 'off'], 'auto'),
  'data-path-addr': text(
    'Where other nodes send that traffic; the advertised one if not given',
    'IP',
    undefined,
    aRealIp,
  ),
  'mesh-mark': text('Upper 16 bits of the marks on its packets', 'NUMBER', '0x5377', aMark),
  'reserved-cpus': amount('CPUs that tasks may not have', 'CPUS'),
  'reserved-memory': sizeBytes('Memory that tasks may not have'),
  'process-allow-root': onOff('As root, also run processes that name no other user'),
  socket: text('Another socket of the API, for whoever does not enter the data folder', 'PATH', undefined),
  'socket-group': text('Group that may use that socket', 'GROUP', undefined),
  'insecure-registry': texts(
    'Registry that a manager may ask by plain HTTP or without verifying its certificate, beside those on loopback; the engines have an option of their own',
    'HOST[:PORT]|RANGE',
    aRegistry,
  ),
  hostname: text('Name of this node', 'NAME', hostname(), aHostname),
  label: texts('Label of this node’s engine', 'NAME=VALUE', aLabel),
  'log-history': sizeBytes(
    'Disk for the logs of tasks whose containers are gone, of each 1 MiB at most; 0 keeps none; 256m if not given',
    256 * 1024 * 1024,
  ),
  'log-level': choice('What to log', ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], 'info'),
  'restart-grace': durationMs('How long the cluster waits for this node after a clean stop', 30_000),
  config: text('YAML file with these settings', 'FILE', undefined),
});

export type DaemonConfig = Config<ReturnType<typeof settingsOf>>;

function defaultDataDir(env: Environment, isRoot: boolean): string {
  return isRoot ? '/var/lib/swarmd' : join(env['XDG_DATA_HOME'] || join(homedir(), '.local/share'), 'swarmd');
}

export interface ConfigInput {
  readonly argv: readonly string[];
  readonly env: Environment;
  readonly isRoot: boolean;
  readonly version: string;
}

/** The configuration, or the text that --help or --version asks for. Throws ClusterError for what is wrong. */
export async function readConfig(input: ConfigInput): Promise<DaemonConfig | { readonly print: string }> {
  const settings = settingsOf(input.env, input.isRoot);
  let printed: string | undefined;
  const parser = yargs()
    .scriptName('swarmd')
    .usage('Usage: swarmd [OPTIONS]\n\nThe daemon of a node: runs its tasks, and manages the cluster if it is told to.')
    .epilogue('Each option may also be an environment variable (--data-dir: SWARMD_DATA_DIR) or a line of the file.')
    .parserConfiguration({
      'camel-case-expansion': false,
      'dot-notation': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'boolean-negation': false,
    })
    .version(`swarmd ${input.version}`)
    .wrap(100)
    .exitProcess(false)
    .fail((message, error) => {
      throw error ?? new ClusterError('invalid-argument', message);
    });
  for (const [name, setting] of Object.entries(settings)) {
    parser.option(name, {
      describe: setting.describe + (name === 'log-history' ? '' : shownDefault(setting.default)),
      type: setting.value === undefined ? 'boolean' : 'string',
    });
  }
  const parsed = await parser.parseAsync([...input.argv], {}, (_error, _argv, output) => {
    if (output) printed = output;
  });
  if (printed !== undefined) return { print: printed };
  const { _: words, $0: _program, help: _help, version: _version, ...flags } = parsed;
  if (words.length > 0) throw invalid(`unexpected argument '${words[0]}'; swarmd takes options alone`);
  const path = flags['config'] ?? input.env['SWARMD_CONFIG'];
  return loadConfig(settings, {
    flags,
    env: input.env,
    envPrefix,
    foreignEnv: ['SWARMD_HOST'],
    ...(typeof path === 'string' && path !== '' && { file: { path, content: readYaml(path) } }),
  });
}

const shownDefault = (value: unknown): string => {
  if (value === undefined || value === false || value === 0 || (Array.isArray(value) && value.length === 0)) return '';
  return ` [${typeof value === 'number' ? `${value / 1_000}s` : String(value)}]`;
};

function readYaml(path: string): unknown {
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (error) {
    throw invalid(`cannot read the configuration ${path}: ${messageOf(error)}`);
  }
  try {
    return parseYaml(content);
  } catch (error) {
    throw invalid(`${path} is not YAML: ${messageOf(error).split('\n')[0]}`);
  }
}

const invalid = (message: string) => new ClusterError('invalid-argument', message);
