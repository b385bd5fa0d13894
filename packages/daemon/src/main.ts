import { readFileSync } from 'node:fs';
import { createApi, RegistryClient, startManager } from '@swarmctl/manager';
import {
  createLogger,
  isClusterError,
  type Logger,
  messageOf,
  realClock,
  realNewId,
  realRandom,
} from '@swarmctl/shared/kit';
import { RaftError } from 'raft-ts';
import { type ConfigInput, type DaemonConfig, readConfig } from './config.ts';
import { openDataDir } from './data-dir.ts';
import { LocalNode } from './node.ts';
import { type SocketServer, serveSocket, serveStream, socketPlaces } from './socket-server.ts';
import { startWorker } from './worker-side.ts';

// swarmd: reads its configuration, locks its folder, opens the API's socket, and is a node until a signal ends it.

const version = (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string })
  .version;

export async function main(argv: readonly string[]): Promise<void> {
  const input = { argv, env: process.env, isRoot: process.getuid?.() === 0, version };
  try {
    const config = await readConfig(input);
    if ('print' in config) process.stdout.write(`${config.print}\n`);
    else await runDaemon(config, input);
  } catch (error) {
    process.stderr.write(`swarmd: ${messageOf(error)}\n`);
    if (!isClusterError(error) && !(error instanceof RaftError)) process.stderr.write(`${(error as Error).stack}\n`);
    process.exit(1);
  }
}

async function runDaemon(config: DaemonConfig, input: ConfigInput): Promise<void> {
  const places = socketPlaces(config);
  const { log, setLevel } = levelledLogger(config.logLevel);
  const dataDir = openDataDir(config.dataDir);
  const fatal = (error: unknown) => {
    log.fatal({ error: messageOf(error), stack: (error as Error)?.stack }, 'swarmd cannot go on');
    dataDir.release();
    process.exit(1);
  };
  process.on('uncaughtException', fatal);
  process.on('unhandledRejection', fatal);
  log.info({ version, pid: process.pid, dataDir: config.dataDir, runtime: config.runtime }, 'swarmd starts');

  const modules = { clock: realClock, random: realRandom, newId: realNewId, log };
  const node: LocalNode = new LocalNode(config, {
    ...modules,
    startManager,
    startWorker,
    serveApi: (socket) => serveStream(api.server, socket),
    onFatal: fatal,
  });
  const registries = new RegistryClient(
    { insecure: config.insecureRegistry, userAgent: `swarmd/${version}` },
    { clock: realClock },
  );
  const api = await createApi({ ...modules, local: node, registries, version, log: log.child({ module: 'api' }) });
  const sockets: SocketServer[] = [];
  for (const { path, group } of places) sockets.push(await serveSocket(path, api.server, group));
  // From here on a signal stops it in order, also while a manager is still starting.
  onSignals(log, async () => {
    await node.stop();
    await Promise.all(sockets.map((socket) => socket.close()));
    await api.close();
    dataDir.release();
  });
  process.on('SIGHUP', () => void reload(input, config, node, log, setLevel));
  await node.start();
  log.info({ sockets: sockets.map(({ path }) => path), state: node.state() }, 'swarmd is ready');
}

/** The first SIGTERM or SIGINT stops in order, the second at once. */
function onSignals(log: Logger, stop: () => Promise<void>): void {
  let stopping = false;
  const handler = (signal: NodeJS.Signals) => {
    if (stopping) process.exit(130);
    stopping = true;
    log.info({ signal }, 'stopping');
    stop().then(
      () => {
        log.info({}, 'stopped');
        process.exit(0);
      },
      (error) => {
        log.error({ error: messageOf(error) }, 'could not stop in order');
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', handler);
  process.on('SIGINT', handler);
}

/** What can be changed in flight: the log's level and the engine's labels. */
async function reload(
  input: ConfigInput,
  running: DaemonConfig,
  node: LocalNode,
  log: Logger,
  setLevel: (level: string) => void,
): Promise<void> {
  try {
    const config = await readConfig(input);
    if ('print' in config) return;
    setLevel(config.logLevel);
    node.relabel(config.label);
    const fixed = (Object.keys(config) as (keyof DaemonConfig)[]).filter(
      (key) => key !== 'logLevel' && key !== 'label' && String(config[key]) !== String(running[key]),
    );
    log.info({ logLevel: config.logLevel, labels: config.label }, 'configuration read again');
    if (fixed.length > 0) log.warn({ settings: fixed }, 'these settings change with a restart only');
  } catch (error) {
    log.error({ error: messageOf(error) }, 'the configuration stays as it was');
  }
}

/** A logger whose level can be changed with that of all its children, which keep their own. */
function levelledLogger(level: string): { readonly log: Logger; setLevel(level: string): void } {
  const children = new Set<WeakRef<Logger>>();
  const log = createLogger({ level, onChild: (child) => void children.add(new WeakRef(child as Logger)) });
  return {
    log,
    setLevel(to) {
      log.level = to;
      for (const reference of children) {
        const child = reference.deref();
        if (child) child.level = to;
        else children.delete(reference);
      }
    },
  };
}
