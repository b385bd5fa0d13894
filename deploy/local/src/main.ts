import { mkdirSync } from 'node:fs';
import { get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  must,
  recordContext,
  refuseTakenPorts,
  startDaemon,
  stopDaemons,
  swarmctl,
  sweep,
  waitForSocket,
} from './daemons.ts';
import { contextName, controlPort, dataFolder, localNodes, webPort } from './layout.ts';
import { type Choice, chooseRuntime } from './runtime-choice.ts';

// `npm start`: three nodes on this machine, formed the way that three machines would be, with a web service on them.

const say = (text = '') => process.stdout.write(`${text}\n`);
const [first, ...others] = localNodes as readonly [(typeof localNodes)[0], ...typeof localNodes];
const root = process.getuid?.() === 0;

async function start(signal: AbortSignal): Promise<void> {
  if (await sweep()) say('Swept what a former run had left.');
  await refuseTakenPorts(webPort);
  const choice = await chooseRuntime(process.env);
  say(`Runtime: ${choice.runtime} (${choice.why}).`);
  mkdirSync(dataFolder, { recursive: true, mode: 0o700 });
  await form(choice, signal);
  await recordContext(first);
  await deploy(choice, signal);
  await show(choice, signal);
  next();
}

async function form(choice: Choice, signal: AbortSignal): Promise<void> {
  say(`Starting three nodes: ${localNodes.map((node) => `${node.name} ${node.addr}:${controlPort}`).join(', ')}`);
  const flags = [
    '--runtime',
    choice.runtime,
    ...(choice.dockerHost ? ['--docker-host', choice.dockerHost] : []),
    ...(choice.runtime === 'process' && root ? ['--process-allow-root'] : []),
  ];
  const children = localNodes.map((node) => startDaemon(node, flags));
  await Promise.all(localNodes.map((node, i) => waitForSocket(node, children[i] as (typeof children)[0])));
  signal.throwIfAborted();
  await must(first, 'swarm', 'init', '--advertise-addr', first.addr);
  const token = await must(first, 'swarm', 'join-token', '-q', 'manager');
  for (const node of others) {
    signal.throwIfAborted();
    await must(node, 'swarm', 'join', '--token', token, '--advertise-addr', node.addr, `${first.addr}:${controlPort}`);
  }
}

async function deploy(choice: Choice, signal: AbortSignal): Promise<void> {
  say(`Creating the service hello: 3 replicas, published on port ${webPort}`);
  signal.throwIfAborted();
  await must(first, 'service', 'create', '--detach', '--name', 'hello', '--replicas', '3', ...choice.service(webPort));
  for (let waited = 0; waited < 60_000; waited += 100) {
    signal.throwIfAborted();
    const replicas = await must(first, 'service', 'ls', '--format', '{{.Replicas}}');
    if (replicas === '3/3') return;
    await sleep(100);
  }
  throw new Error(
    `the service did not get three running replicas in a minute:\n${await must(first, 'service', 'ps', '--no-trunc', 'hello')}`,
  );
}

async function show(choice: Choice, signal: AbortSignal): Promise<void> {
  say(`\n$ swarmctl node ls\n${await must(first, 'node', 'ls')}`);
  say(`\n$ swarmctl service ps hello\n${await must(first, 'service', 'ps', 'hello')}`);
  const path = choice.runtime === 'docker' && !choice.why.includes('whoami') ? '/cgi-bin/hello' : '/';
  const replicas = new Set<string>();
  for (const node of localNodes) {
    signal.throwIfAborted();
    say(`\n10 requests to http://${node.addr}:${webPort}${path}`);
    const counts = new Map<string, number>();
    for (let i = 0; i < 10; i++) {
      const answer = await ask(node.addr, path);
      counts.set(answer, (counts.get(answer) ?? 0) + 1);
      replicas.add(answer);
    }
    for (const [answer, count] of [...counts].sort()) say(`  ${String(count).padStart(2)} x ${answer}`);
  }
  if (replicas.size !== 3)
    throw new Error(`expected answers of three replicas, got ${replicas.size}: ${[...replicas].join('; ')}`);
}

/** The line that names the replica; new services may take a moment to reach every node's table, so a refusal is tried again. */
async function ask(addr: string, path: string): Promise<string> {
  for (let attempt = 0; ; attempt++) {
    try {
      const body = await fetchOnce(addr, path);
      return body.split('\n').find((line) => /^(Hello from|Hostname:)/.test(line)) ?? body.trim();
    } catch (error) {
      if (attempt >= 20) throw new Error(`http://${addr}:${webPort}${path} does not answer: ${String(error)}`);
      await sleep(100);
    }
  }
}

function fetchOnce(addr: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get({ host: addr, port: webPort, path, agent: false, timeout: 3_000 }, (response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () => resolve(body));
      response.on('error', reject);
    });
    request.on('timeout', () => request.destroy(new Error('time-out')));
    request.on('error', reject);
  });
}

function next(): void {
  say(`
The cluster runs. From another terminal in this folder (the context '${contextName}' is recorded and current):
  npx swarmctl node ls
  npx swarmctl service ls
  npx swarmctl service scale hello=5
  npx swarmctl service logs hello
  npx swarmctl node update --availability drain node2
  npx swarmctl service ps hello
Docker's own command line works too:
  docker -H unix://${first.socket} service ls
Logs of the daemons: ${dataFolder}/node*.log
Ctrl-C stops the cluster and removes everything that it made.`);
}

async function stop(): Promise<void> {
  say('\nStopping: removing the services, then the daemons and their data (Ctrl-C again to force).');
  const leader = await anyManager();
  if (leader) {
    const ids = (await swarmctl(leader, 'service', 'ls', '-q')).stdout.split('\n').filter(Boolean);
    if (ids.length > 0) await swarmctl(leader, 'service', 'rm', ...ids);
    await waitForTasks(leader);
  }
  await stopDaemons({ force: false });
  await sweep();
  say('Everything is removed.');
}

async function anyManager() {
  for (const node of localNodes) if ((await swarmctl(node, 'node', 'ls', '-q')).code === 0) return node;
  return undefined;
}

async function waitForTasks(node: (typeof localNodes)[0]): Promise<void> {
  for (let waited = 0; waited < 30_000; waited += 100) {
    const { code, stdout } = await swarmctl(node, 'task', 'ls', '-q');
    if (code === 0 && stdout.trim() === '') return;
    await sleep(100);
  }
  say('Some tasks did not end in 30 seconds; their containers are removed by force.');
}

const abort = new AbortController();
let stopping = false;
const forever = setInterval(() => undefined, 1 << 30);

async function onSignal(): Promise<void> {
  if (stopping) {
    say('\nForced.');
    await sweep();
    process.exit(130);
  }
  stopping = true;
  abort.abort(new Error('stopped'));
  await stop().catch((error) => say(`Stopping failed: ${String(error)}; what is left is swept by the next start.`));
  clearInterval(forever);
  process.exit(process.exitCode ?? 0);
}

for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => void onSignal());

try {
  await start(abort.signal);
} catch (error) {
  if (!stopping) {
    process.stderr.write(`\nnpm start failed: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
    stopping = true;
    await stopDaemons({ force: false });
    await sweep();
    process.exit(1);
  }
}
