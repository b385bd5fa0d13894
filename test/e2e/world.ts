import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Cluster, isRoot, runProgram } from '../kit/cluster.ts';
import { buildImages, type Engine, startEngine } from '../kit/engine.ts';

// What an end-to-end suite stands on: a network namespace of its own (as root), an engine in it (docker), five nodes, and a web service that both
// runtimes can run.

export type RuntimeName = 'docker' | 'process';

const file = (name: string) => fileURLToPath(new URL(`../kit/${name}`, import.meta.url));

export interface WebOptions {
  readonly name: string;
  readonly replicas?: number;
  readonly port?: number;
  readonly version?: string;
  /** Ends at once with code 3. */
  readonly crash?: boolean;
  readonly flags?: readonly string[];
}

export class World {
  readonly runtime: RuntimeName;
  readonly cluster: Cluster;
  readonly #engine: Engine | undefined;
  readonly #netns: string | undefined;

  private constructor(runtime: RuntimeName, cluster: Cluster, engine: Engine | undefined, netns: string | undefined) {
    this.runtime = runtime;
    this.cluster = cluster;
    this.#engine = engine;
    this.#netns = netns;
  }

  static async make(runtime: RuntimeName, size = { managers: 3, workers: 2 }): Promise<World> {
    const netns = isRoot ? `swe2e-${process.pid}-${runtime}` : undefined;
    if (netns) {
      sh('ip', 'netns', 'add', netns);
      sh('ip', '-n', netns, 'link', 'set', 'lo', 'up');
    }
    let engine: Engine | undefined;
    try {
      if (runtime === 'docker') {
        engine = await startEngine({
          name: 'e2e',
          dataRoot: mkdtempSync(join(tmpdir(), 'swe')),
          ...(netns && { netns }),
        });
        await buildImages(engine.socket);
      }
      const cluster = await Cluster.form({
        runtime,
        ...size,
        ...(engine && { dockerHost: engine.dockerHost }),
        ...(netns && { netns }),
        subnet: netns ? 0 : 77,
      });
      return new World(runtime, cluster, engine, netns);
    } catch (error) {
      await engine?.stop();
      if (netns) sh('ip', 'netns', 'del', netns);
      throw error;
    }
  }

  get engine(): Engine {
    if (!this.#engine) throw new Error('this world has no engine');
    return this.#engine;
  }

  async stop(): Promise<void> {
    await this.cluster.stop();
    await this.#engine?.stop();
    if (this.#netns) sh('ip', 'netns', 'del', this.#netns);
  }

  /** Arguments of `swarmctl service create` for the web service; unless the flags say otherwise, it is not watched for as long as usual. */
  web(options: WebOptions): string[] {
    const { name, replicas = 1, port, version = '1', crash, flags = [] } = options;
    const common = [
      'service',
      'create',
      ...['--name', name, '--replicas', String(replicas)],
      ...(port ? ['--publish', `${port}:8080`] : []),
      ...(flags.includes('--update-monitor') ? [] : ['--update-monitor', '300ms']),
      ...[
        '--env',
        'TASK_ID={{.Task.ID}}',
        '--env',
        'TASK_NAME={{.Task.Name}}',
        '--env',
        'TASK_SLOT={{.Task.Slot}}',
        '--env',
        'NODE_ID={{.Node.ID}}',
      ],
      ...flags,
    ];
    if (this.runtime === 'docker') return [...common, crash ? 'crash:1' : `web:${version}`];
    return [
      ...common,
      '--runtime',
      'process',
      '--env',
      `VERSION=${version}`,
      ...(crash ? ['--env', 'CRASH=1'] : []),
      'process',
      process.execPath,
      file('web.mjs'),
    ];
  }

  /** Flags of `swarmctl service update` that change the version, or break it. */
  toVersion(version: string): string[] {
    return this.runtime === 'docker'
      ? ['--image', `web:${version}`]
      : ['--env-add', `VERSION=${version}`, '--env-rm', 'CRASH'];
  }

  toCrash(): string[] {
    return this.runtime === 'docker' ? ['--image', 'crash:1'] : ['--env-add', 'CRASH=1'];
  }

  /** One request from inside the cluster's namespace, on a connection of its own. */
  async get(addr: string, port: number, path = '/', timeoutMs = 3_000): Promise<string> {
    const script = `require('http').get({host:${JSON.stringify(addr)},port:${port},path:${JSON.stringify(path)},agent:false,timeout:${timeoutMs}},r=>{r.pipe(process.stdout);r.on('end',()=>process.exit(r.statusCode===200?0:2))}).on('timeout',()=>{console.error('time-out');process.exit(3)}).on('error',e=>{console.error(e.code||e.message);process.exit(1)})`;
    const [program, args] = this.cluster.command(process.execPath, ['-e', script]);
    const { code, out, err } = await runProgram(program, args);
    if (code !== 0) throw new Error(`GET http://${addr}:${port}${path}: ${err.trim() || `exit ${code}`}`);
    return out;
  }

  /** A constant load, each request on a connection of its own; `stop` resolves with what came of it. */
  load(
    addr: string,
    port: number,
    options: { rate?: number; path?: string; seconds?: number; count?: number } = {},
  ): Load {
    const [program, args] = this.cluster.command(process.execPath, [
      file('load.mjs'),
      ...[
        '--host',
        addr,
        '--port',
        String(port),
        '--path',
        options.path ?? '/',
        '--rate',
        String(options.rate ?? 50),
        '--seconds',
        String(options.seconds ?? 180),
      ],
      ...(options.count === undefined ? [] : ['--count', String(options.count)]),
    ]);
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    child.stdout.on('data', (chunk) => {
      out += chunk;
    });
    const ended = new Promise<LoadResult>((resolve, reject) =>
      child.once('close', () =>
        out ? resolve(JSON.parse(out) as LoadResult) : reject(new Error('the load printed nothing')),
      ),
    );
    return {
      ended,
      stop: () => {
        child.kill('SIGTERM');
        return ended;
      },
    };
  }

  /** Names of the replicas that answered `count` requests to a node. */
  async answering(addr: string, port: number, count: number): Promise<Map<string, number>> {
    const load = this.load(addr, port, { path: '/cgi-bin/id', rate: 100, count });
    const { answers, failures } = await load.ended;
    if (failures.length > 0) throw new Error(`requests to ${addr}:${port} failed: ${failures.slice(0, 3).join('; ')}`);
    const names = new Map<string, number>();
    for (const [answer, n] of Object.entries(answers)) {
      const name = /^task=(.*)$/m.exec(answer)?.[1] ?? answer;
      names.set(name, (names.get(name) ?? 0) + n);
    }
    return names;
  }
}

export interface Load {
  /** When its count or its time is reached. */
  readonly ended: Promise<LoadResult>;
  stop(): Promise<LoadResult>;
}

export interface LoadResult {
  readonly sent: number;
  readonly ok: number;
  readonly failures: readonly string[];
  readonly answers: Readonly<Record<string, number>>;
  readonly slowestMs: number;
}

export function sh(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
  return stdout;
}
