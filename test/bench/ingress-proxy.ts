import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { realClock, silentLogger } from '@swarmctl/shared/kit';
import type { IngressEntry } from '@swarmctl/shared/wire';
import type { ProxyIngress } from '../../packages/worker/src/network/proxy/ingress.ts';
import type { ProxyPool } from '../../packages/worker/src/network/proxy/pool.ts';
import { median, print } from './stats.ts';

// `npm run bench:ingress-proxy [-- --rounds N --seconds S --clients C --processes P]`: the userspace ingress against HAProxy in TCP mode with a thread for each
// core, and a plain Node pipe, by turns on loopback; as built, with P processes, else one for each core (`pool`, which the limit is for: nodes run
// it so), and in one. Two backends behind each; they are HAProxy's too, which costs little, and so does wrk, the
// load. Printed are medians over the rounds: the ratio to HAProxy in the same round, with the range of the middle half; and the same of processor time,
// that of everybody for one request, load and backends included: other work on the machine hardly changes it, and it is what the ratio comes to
// where the cores are full. Needs haproxy and wrk (`apt-get install haproxy wrk`).

const front = '127.31.9.1';
const behind = '127.31.9.2';
const backendPorts = [19_000, 19_001] as const;
const bulkPorts = [19_010, 19_011] as const;
/** The second serves the bulk. */
const contestants = { haproxy: 19_100, pool: 19_130, proxy: 19_110, pipe: 19_120 };
type Contestant = keyof typeof contestants;
const target = 0.7;
const bulkBytes = 1_048_576;

interface Case {
  readonly name: string;
  readonly bulk?: boolean;
  readonly clients: number;
  readonly options: readonly string[];
}

async function main(): Promise<void> {
  const [rounds, seconds, clients] = [option('rounds', 9), option('seconds', 2), option('clients', 32)];
  const cases: readonly Case[] = [
    { name: 'kept alive, requests/s', clients, options: [] },
    { name: 'new connections/s', clients, options: ['-H', 'Connection: close'] },
    { name: 'bulk, MiB/s', bulk: true, clients: 4, options: [] },
  ];
  const folder = mkdtempSync(join(tmpdir(), 'bench-ingress-proxy-'));
  const children: ChildProcess[] = [];
  try {
    const pids = await start(folder, children);
    const backends = children.slice(0, 2).map(({ pid }) => pid ?? 0);
    const samples = new Map<string, Sample[]>();
    const names = Object.keys(contestants) as Contestant[];
    for (const one of cases) for (const name of names) await measure(one, name, 2, [pids[name], ...backends]);
    for (let round = 0; round < rounds; round++) {
      for (const one of cases) {
        // Not always in the same order: somebody always comes after the noisiest.
        for (const name of [...names.slice(round % names.length), ...names.slice(0, round % names.length)]) {
          const key = `${one.name} ${name}`;
          samples.set(key, [...(samples.get(key) ?? []), await measure(one, name, seconds, [pids[name], ...backends])]);
        }
      }
      print(`round ${round + 1} of ${rounds} done`);
    }
    let good = true;
    print(
      '\n                         haproxy                  pool                     proxy                    plain Node pipe',
    );
    for (const one of cases) {
      const of = (name: Contestant) => samples.get(`${one.name} ${name}`) ?? [];
      const ratios = (name: Contestant) =>
        of(name).map(({ speed }, i) => speed / (of('haproxy')[i]?.speed ?? Number.NaN));
      const show = (name: Contestant) =>
        `${median(of(name).map(({ speed }) => speed)).toFixed(0)} (${median(of(name).map(({ ownUs }) => ownUs)).toFixed(0)} us)`;
      print(`${one.name.padEnd(24)} ${names.map((name) => show(name).padEnd(24)).join(' ')}`);
      print(`  ratio to haproxy       ${names.map((name) => middle(ratios(name)).padEnd(24)).join(' ')}`);
      const costs = (name: Contestant) =>
        of(name).map(({ allUs }, i) => (of('haproxy')[i]?.allUs ?? Number.NaN) / allUs);
      print(`  of processor time      ${names.map((name) => middle(costs(name)).padEnd(24)).join(' ')}`);
      // What a node with cores for it runs, and where HAProxy has as many threads.
      if (!one.bulk) good &&= median(ratios('pool')) >= target;
    }
    print(
      `\n(us: processor time of the process a request, of ${bulkBytes / 1024} KiB in bulk; target for kept alive and new: >= ${target})`,
    );
    process.exitCode = good ? 0 : 1;
  } finally {
    for (const child of children) child.kill('SIGKILL');
    // The processes of the pool end with it.
    rmSync(folder, { recursive: true, force: true });
  }
}

function option(name: string, fallback: number): number {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
}

function middle(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (q: number) => (sorted[Math.round((sorted.length - 1) * q)] ?? Number.NaN).toFixed(2);
  return `${median(values).toFixed(2)} [${at(0.25)}-${at(0.75)}]`;
}

async function start(folder: string, children: ChildProcess[]): Promise<Record<Contestant, number>> {
  writeFileSync(join(folder, 'bulk'), Buffer.alloc(bulkBytes, 'x'));
  const haproxy = async (name: string, config: string, port: number) => {
    writeFileSync(join(folder, name), config);
    return child(spawn('haproxy', ['-db', '-f', join(folder, name)], { stdio: 'ignore' }), children, port);
  };
  await haproxy(
    'backend',
    backendConfig(1, 'string "hello, this is a small answer\\n"', '', backendPorts),
    -backendPorts[0],
  );
  await haproxy(
    'bulk-backend',
    backendConfig(1, `file ${folder}/bulk`, `tune.bufsize ${bulkBytes + 65_536}`, bulkPorts),
    -bulkPorts[0],
  );
  const serve = (what: string, port: number) =>
    child(
      spawn(process.execPath, ['--no-warnings', '--import', 'tsx', fileURLToPath(import.meta.url), what], {
        stdio: ['ignore', 'inherit', 'inherit'],
      }),
      children,
      port,
    );
  return {
    haproxy: await haproxy('front', frontConfig(), contestants.haproxy),
    proxy: await serve('--serve-proxy', contestants.proxy),
    pool: await serve('--serve-pool', contestants.pool),
    pipe: await serve('--serve-pipe', contestants.pipe),
  };
}

/** Its pid, once `port` of the front answers; a negative one is the backends'. */
async function child(process_: ChildProcess, children: ChildProcess[], port: number): Promise<number> {
  children.push(process_);
  let why: unknown;
  process_.once('error', (error) => {
    why = error;
  });
  process_.once('exit', (code) => {
    why ??= new Error(`${process_.spawnargs.slice(0, 4).join(' ')} ended with ${code}`);
  });
  const [host, at] = port < 0 ? [behind, -port] : [front, port];
  for (;;) {
    if (why) throw why;
    const socket = connect({ host, port: at });
    const isOpen = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isOpen) return process_.pid ?? 0;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const timeouts = ['client 30s', 'server 30s', 'connect 3s', 'http-keep-alive 30s']
  .map((line) => `  timeout ${line}\n`)
  .join('');

const backendConfig = (threads: number, body: string, more: string, ports: readonly number[]) => `global
  nbthread ${threads}
  maxconn 4000
  ${more}
defaults
  mode http
${timeouts}
frontend f
${ports.map((port) => `  bind ${behind}:${port}\n`).join('')}
  http-request return status 200 content-type text/plain ${body}
`;

const frontConfig = () => `global
  nbthread ${availableParallelism()}
  maxconn 4000
defaults
  mode tcp
${timeouts}
${[backendPorts, bulkPorts]
  .map(
    (ports, i) => `listen l${i}
  bind ${front}:${contestants.haproxy + i}
  balance roundrobin
${ports.map((port) => `  server s${port} ${behind}:${port}\n`).join('')}`,
  )
  .join('')}`;

interface Sample {
  readonly speed: number;
  /** Of the process itself, and of everybody. */
  readonly ownUs: number;
  readonly allUs: number;
}

async function measure(one: Case, name: Contestant, seconds: number, pids: readonly number[]): Promise<Sample> {
  const [before, loadBefore] = [pids.map(processorUs), endedUs()];
  const url = `http://${front}:${contestants[name] + (one.bulk ? 1 : 0)}/`;
  const { stdout } = await promisify(execFile)('wrk', [
    ...['-t1', `-c${one.clients}`, `-d${seconds}s`],
    ...[...one.options, url],
  ]);
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(stdout);
  // wrk calls it a read error when a connection is closed after an answer that it had whole.
  if (errors && [errors[1], errors[3], errors[4]].some((count) => count !== '0')) throw new Error(`${name}: ${stdout}`);
  const count = Number(/(\d+) requests in/.exec(stdout)?.[1]);
  const perSecond = Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]);
  if (!(count > 0)) throw new Error(`${name}: ${stdout}`);
  const used = pids.map((pid, i) => (processorUs(pid) - (before[i] ?? 0)) / count);
  return {
    speed: one.bulk ? (perSecond * bulkBytes) / 2 ** 20 : perSecond,
    ownUs: used[0] ?? Number.NaN,
    allUs: used.reduce((total, us) => total + us, (endedUs() - loadBefore) / count),
  };
}

/** Of children that have ended: the load. */
function endedUs(): number {
  const fields = readFileSync('/proc/self/stat', 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[13]) + Number(fields[14])) * 10_000;
}

/** Of all threads, and of the processes that it started. */
function processorUs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
  const own = (Number(fields[11]) + Number(fields[12])) * 10_000;
  return children.reduce((total, child) => total + processorUs(Number(child)), own);
}

/** What `npm run build` made: the sources would be measured with what translates them. */
async function serveProxy(port: number, processes: number): Promise<void> {
  const built = async <T>(file: string) =>
    (await import(new URL(`../../packages/worker/dist/network/proxy/${file}.js`, import.meta.url).href)) as T;
  const options = { nodeId: 'n1', ingressAddrs: [], advertiseAddr: front };
  const modules = { log: silentLogger, clock: realClock };
  const { ProxyIngress } = await built<{ ProxyIngress: new (...of: unknown[]) => ProxyIngress }>('ingress');
  const { ProxyPool } = await built<{ ProxyPool: new (...of: unknown[]) => ProxyPool }>('pool');
  const ingress =
    processes > 0
      ? new ProxyPool({ ...options, processes, execArgv: ['--no-warnings'] }, modules)
      : new ProxyIngress(options, modules);
  const entry = (publishedPort: number, ports: readonly number[]): [string, IngressEntry] => {
    const key = `tcp/${publishedPort}`;
    const backends = ports.map((localPort) => ({
      ...{
        taskId: `t${localPort}`,
        nodeId: 'n1',
        protocol: 'tcp' as const,
        targetPort: 80,
        localAddr: behind,
        localPort,
      },
      ...{ nodeAddr: behind, nodePort: localPort },
    }));
    const service = { serviceId: 's', serviceName: 'web' };
    return [key, { ...service, key, protocol: 'tcp', publishedPort, targetPort: 80, backends }];
  };
  await ingress.apply(new Map([entry(port, backendPorts), entry(port + 1, bulkPorts)]));
}

function servePipe(): void {
  [backendPorts, bulkPorts].forEach((ports, i) => {
    let next = 0;
    createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (client) => {
      const server = connect({ host: behind, port: ports[next++ % 2] ?? 0, allowHalfOpen: true, noDelay: true });
      client.on('error', () => server.destroy());
      server.on('error', () => client.destroy());
      server.on('connect', () => {
        client.pipe(server);
        server.pipe(client);
      });
    }).listen(contestants.pipe + i, front);
  });
}

const [mode] = process.argv.slice(2);
if (mode === '--serve-proxy') await serveProxy(contestants.proxy, 0);
else if (mode === '--serve-pool') await serveProxy(contestants.pool, option('processes', availableParallelism()));
else if (mode === '--serve-pipe') servePipe();
else await main();
