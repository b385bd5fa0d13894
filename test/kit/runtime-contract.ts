import { get } from 'node:http';
import { connect } from 'node:net';
import {
  type ContainerSpec,
  momentOf,
  type PortConfig,
  type Task,
  type TaskSpec,
  toTimestamp,
  toUnixTime,
} from '@swarmctl/shared/model';
import type { LogLine, LogOptions } from '@swarmctl/shared/wire';
import type { ContainerState, Runtime, RuntimeNode } from '@swarmctl/worker';
import { afterEach, describe, expect, it } from 'vitest';

// The contract that every runtime keeps. Tasks run a shell script in `/bin/sh`, with a busybox at hand.

export interface ContractSubject {
  /** A new object on the same node: as after a restart of the daemon. */
  readonly open: (node?: RuntimeNode) => Runtime;
  readonly node: RuntimeNode;
  /** What a spec needs besides its command. */
  readonly container: ContainerSpec;
}

const ms = 1e6;
let made = 0;

export function makeTask(
  subject: Pick<ContractSubject, 'container' | 'node'>,
  script: string,
  more: { container?: ContainerSpec; spec?: TaskSpec; ports?: PortConfig[]; slot?: number } = {},
): Task {
  const id = `t${process.pid}x${Date.now().toString(36)}x${++made}`;
  return {
    ID: id,
    Version: { Index: 1 },
    CreatedAt: toTimestamp(0),
    UpdatedAt: toTimestamp(0),
    Labels: {},
    Spec: {
      ContainerSpec: { ...subject.container, Command: ['/bin/sh', '-c'], Args: [script], ...more.container },
      ...more.spec,
    },
    ServiceID: 'service1',
    Slot: more.slot ?? 1,
    NodeID: subject.node.nodeId,
    Status: { Timestamp: toTimestamp(0), State: 'assigned' },
    DesiredState: 'running',
    SpecVersion: 'v1',
    ServiceAnnotations: { Name: 'web', Labels: { tier: 'front', 'a.b': 'dotted' } },
    ...(more.ports && { Ports: more.ports }),
  };
}

/** Answers on $PORT, or 8080: `/` says hello, `/slow` after a while. */
export const webScript = `
  mkdir -p /tmp/www$$/cgi-bin && cd /tmp/www$$ && echo hello > index.html
  trap 'kill $!; rm -rf /tmp/www$$; exit 0' TERM
  busybox httpd -f -p "\${PORT:-8080}" -h . & wait`;

export const httpGet = (host: string, port: number): Promise<string> =>
  new Promise((resolve, reject) => {
    get({ host, port, agent: false }, (answer) => {
      let text = '';
      answer.on('data', (chunk) => {
        text += chunk;
      });
      answer.once('end', () => resolve(text));
    }).once('error', reject);
  });

export function contract(name: string, getSubject: () => ContractSubject): void {
  describe(`${name} keeps the runtime contract`, () => {
    const opened: Runtime[] = [];
    const tasks: Task[] = [];
    const aborts: AbortController[] = [];
    const never = new AbortController().signal;

    afterEach(async () => {
      for (const abort of aborts.splice(0)) abort.abort();
      const [runtime = open()] = opened;
      await Promise.all(tasks.splice(0).map((task) => runtime.remove(task.ID)));
      await Promise.all(opened.splice(0).map((one) => one.close()));
    });

    function open(node?: RuntimeNode): Runtime {
      const runtime = getSubject().open(node);
      opened.push(runtime);
      return runtime;
    }
    function task(script: string, more?: Parameters<typeof makeTask>[2]): Task {
      const made = makeTask(getSubject(), script, more);
      tasks.push(made);
      return made;
    }
    async function run(runtime: Runtime, given: Task): Promise<ContainerState> {
      await runtime.prepare(given, never);
      return runtime.start(given);
    }
    const eventually = (runtime: Runtime, given: Task, wanted: Partial<ContainerState>, timeout = 10_000) =>
      expect.poll(() => runtime.inspect(given.ID), { timeout, interval: 30 }).toMatchObject(wanted);
    const waitFor = (check: () => unknown, timeout = 10_000) =>
      expect.poll(check, { timeout, interval: 30 }).toBeTruthy();
    async function logs(runtime: Runtime, given: Task, options: Partial<LogOptions> = {}) {
      const all: LogOptions = { follow: false, stdout: true, stderr: true, ...options };
      const lines: LogLine[] = [];
      for await (const line of runtime.logs(given.ID, all, never)) lines.push(line);
      return lines;
    }
    const text = (lines: readonly LogLine[]) =>
      lines.map(({ stream, line }) => `${stream === 'stderr' ? '!' : ''}${Buffer.from(line).toString('utf8')}`);

    it('describes the machine', async () => {
      const { ready, reason, description } = await open().describe();
      expect({ ready, reason }).toEqual({ ready: true, reason: undefined });
      expect(description.Platform.OS).toBe('linux');
      expect(description.Resources.NanoCPUs).toBeGreaterThanOrEqual(1e9);
      expect(description.Resources.MemoryBytes).toBeGreaterThan(1e8);
      expect(description.Engine.EngineVersion).toBeTruthy();
    });

    it('prepares, starts, runs and ends with an exit code', async () => {
      const runtime = open();
      const given = task('exit 7');
      expect(await runtime.inspect(given.ID)).toBeUndefined();
      const created = await runtime.prepare(given, never);
      expect(created).toMatchObject({ taskId: given.ID, phase: 'created', endpoints: [], hostPorts: [] });
      expect(await runtime.prepare(given, never)).toMatchObject({ phase: 'created' });
      await runtime.start(given);
      await eventually(runtime, given, { phase: 'exited', exitCode: 7, pid: 0 });
    });

    it('starts once: not again what runs, nor what has ended', async () => {
      const runtime = open();
      const given = task('echo started; [ "$ONCE" ] && exit 0; sleep 60');
      const first = await run(runtime, given);
      expect(first).toMatchObject({ phase: 'running' });
      expect(first.pid).toBeGreaterThan(1);
      expect(await runtime.start(given)).toMatchObject({ phase: 'running', pid: first.pid });
      const ended = task('echo started; exit 3');
      await run(runtime, ended);
      await eventually(runtime, ended, { phase: 'exited', exitCode: 3 });
      expect(await runtime.start(ended)).toMatchObject({ phase: 'exited', exitCode: 3 });
      expect(text(await logs(runtime, ended))).toEqual(['started']);
    });

    it('refuses to start what was not prepared', async () => {
      await expect(open().start(task('true'))).rejects.toMatchObject({ name: 'RuntimeError', permanent: true });
    });

    it('says for good that a program is not there', async () => {
      const runtime = open();
      const given = task('', { container: { Command: ['/no/such/program'], Args: [] } });
      await runtime.prepare(given, never);
      await expect(runtime.start(given)).rejects.toMatchObject({ name: 'RuntimeError', permanent: true });
    });

    it('stops with the stop signal within the grace', async () => {
      const runtime = open();
      const given = task("trap 'echo usr1; exit 5' USR1; echo ready; while :; do sleep 0.1; done", {
        container: { StopSignal: 'SIGUSR1' },
      });
      await run(runtime, given);
      await expect.poll(async () => text(await logs(runtime, given))).toEqual(['ready']);
      await runtime.stop(given, 10_000);
      expect(await runtime.inspect(given.ID)).toMatchObject({ phase: 'exited', exitCode: 5 });
      expect(text(await logs(runtime, given))).toEqual(['ready', 'usr1']);
      await runtime.stop(given, 10_000);
    });

    it('kills what does not stop within the grace', async () => {
      const runtime = open();
      const given = task("trap '' TERM; echo deaf; while :; do sleep 0.1; done");
      await run(runtime, given);
      await expect.poll(async () => text(await logs(runtime, given))).toEqual(['deaf']);
      const begun = performance.now();
      await runtime.stop(given, 300);
      expect(performance.now() - begun).toBeGreaterThan(280);
      expect(performance.now() - begun).toBeLessThan(5_000);
      expect(await runtime.inspect(given.ID)).toMatchObject({ phase: 'exited', exitCode: 137 });
    });

    it('keeps, tails and filters logs, to the last line without its end', async () => {
      const runtime = open();
      const given = task('for i in 1 2 3; do echo out$i; sleep 0.05; echo err$i >&2; sleep 0.05; done; printf end');
      await run(runtime, given);
      await eventually(runtime, given, { phase: 'exited' });
      const all = await logs(runtime, given);
      expect(text(all)).toEqual(['out1', '!err1', 'out2', '!err2', 'out3', '!err3', 'end']);
      expect(all[0]).toMatchObject({ taskId: given.ID });
      expect(all[0]?.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
      expect(Math.abs(Date.parse(all[0]?.time ?? '') - Date.now())).toBeLessThan(60_000);
      expect(text(await logs(runtime, given, { tail: 2 }))).toEqual(['!err3', 'end']);
      expect(text(await logs(runtime, given, { stderr: false }))).toEqual(['out1', 'out2', 'out3', 'end']);
      const third = toUnixTime(momentOf(all[4]?.time ?? '') ?? 0n);
      expect(text(await logs(runtime, given, { since: third }))).toEqual(['out3', '!err3', 'end']);
    });

    it('keeps long lines whole', async () => {
      const runtime = open();
      const given = task("head -c 40000 /dev/zero | tr '\\0' x; echo; echo after");
      await run(runtime, given);
      await eventually(runtime, given, { phase: 'exited' });
      expect((await logs(runtime, given)).map(({ line }) => line.length)).toEqual([40_000, 5]);
    });

    it('follows logs until the end, or until told to stop', async () => {
      const runtime = open();
      const given = task('echo one; sleep 0.4; echo two; sleep 0.4; echo three');
      await run(runtime, given);
      const followed = await logs(runtime, given, { follow: true });
      expect(text(followed)).toEqual(['one', 'two', 'three']);

      const endless = task('echo begun; sleep 60');
      await run(runtime, endless);
      const abort = new AbortController();
      const lines: LogLine[] = [];
      const options: LogOptions = { follow: true, stdout: true, stderr: true };
      for await (const line of runtime.logs(endless.ID, options, abort.signal)) {
        lines.push(line);
        abort.abort();
      }
      expect(text(lines)).toEqual(['begun']);
    });

    it('has no logs of what is not there', async () => {
      await expect(logs(open(), task('true'))).rejects.toMatchObject({ name: 'RuntimeError' });
    });

    it('removes what runs, and what is gone', async () => {
      const runtime = open();
      const given = task('sleep 60');
      await run(runtime, given);
      await runtime.remove(given.ID);
      expect(await runtime.inspect(given.ID)).toBeUndefined();
      expect((await runtime.list()).map(({ taskId }) => taskId)).not.toContain(given.ID);
      await runtime.remove(given.ID);
      await open().remove('never-there');
      await runtime.stop(given, 1_000);
    });

    it('readopts what runs, and sees what ended meanwhile', async () => {
      const before = open();
      const [lasting, ending, waiting] = [task('echo on; sleep 60'), task('sleep 0.5; exit 9'), task('exit 1')];
      const state = await run(before, lasting);
      await run(before, ending);
      await before.prepare(waiting, never);
      await before.close();

      const after = open();
      await eventually(after, ending, { phase: 'exited', exitCode: 9 });
      const listed = await after.list();
      expect(listed.map(({ taskId, phase }) => [taskId, phase])).toEqual(
        expect.arrayContaining([
          [lasting.ID, 'running'],
          [ending.ID, 'exited'],
          [waiting.ID, 'created'],
        ]),
      );
      expect(await after.prepare(lasting, never)).toMatchObject({ phase: 'running', pid: state.pid });
      expect(await after.start(lasting)).toMatchObject({ phase: 'running', pid: state.pid });
      expect(text(await logs(after, lasting))).toEqual(['on']);
      await after.stop(lasting, 200);
      expect(await after.inspect(lasting.ID)).toMatchObject({ phase: 'exited' });
    });

    it('tells of starts and ends, also of what it did not start itself', async () => {
      const starter = open();
      const early = task('sleep 0.5; exit 4');
      await run(starter, early);
      const watcher = open();
      const seen = new Map<string, string>();
      const abort = new AbortController();
      aborts.push(abort);
      const look = async (taskId: string) => {
        const state = await watcher.inspect(taskId);
        seen.set(taskId, state ? `${state.phase} ${state.exitCode ?? ''}`.trim() : 'gone');
      };
      watcher.watch(({ taskId }) => void look(taskId), abort.signal);
      await waitFor(() => seen.get(early.ID) === 'exited 4');
      const late = task('sleep 0.3; exit 2');
      await run(watcher, late);
      await waitFor(() => seen.get(late.ID) === 'exited 2');
      await watcher.remove(late.ID);
      await waitFor(() => seen.get(late.ID) === 'gone');
    });

    it('reports health as it changes, and tells of it', async () => {
      const runtime = open();
      const abort = new AbortController();
      aborts.push(abort);
      const told = new Set<string>();
      runtime.watch(({ taskId }) => told.add(taskId), abort.signal);
      const given = task('sleep 0.6; touch /tmp/well-$MARK; sleep 1.2; rm /tmp/well-$MARK; sleep 60', {
        container: {
          Env: [`MARK=${process.pid}-${made}`],
          Healthcheck: {
            Test: ['CMD-SHELL', '[ -e /tmp/well-$MARK ]'],
            Interval: 200 * ms,
            Timeout: 5_000 * ms,
            StartPeriod: 10_000 * ms,
            Retries: 2,
          },
        },
      });
      expect(await run(runtime, given)).toMatchObject({ health: 'starting' });
      told.clear();
      await eventually(runtime, given, { health: 'healthy' });
      await expect.poll(() => told.has(given.ID)).toBe(true);
      // A new object knows it at once.
      expect(await open().inspect(given.ID)).toMatchObject({ phase: 'running', health: 'healthy' });
      await eventually(runtime, given, { health: 'unhealthy' });
      const plain = task('sleep 60');
      expect((await run(runtime, plain)).health).toBeUndefined();
    });

    it('fills templates in the environment', async () => {
      const runtime = open();
      const { node } = getSubject();
      const given = task('echo "$WHO"; echo "$WHERE"; echo "$LABELS"', {
        slot: 3,
        container: {
          Env: [
            'WHO={{.Service.Name}} {{.Service.ID}} {{ .Task.Name }} {{.Task.ID}} {{.Task.Slot}}',
            'WHERE={{.Node.ID}} {{.Node.Hostname}}',
            'LABELS={{.Service.Labels.tier}} {{index .Service.Labels "a.b"}}',
          ],
        },
      });
      await run(runtime, given);
      await eventually(runtime, given, { phase: 'exited' });
      expect(text(await logs(runtime, given))).toEqual([
        `web service1 web.3.${given.ID} ${given.ID} 3`,
        `${node.nodeId} ${node.hostname}`,
        'front dotted',
      ]);
      const bad = task('true', { container: { Env: ['X={{.Nothing}}'] } });
      await expect(runtime.prepare(bad, never)).rejects.toMatchObject({ name: 'RuntimeError', permanent: true });
    });

    it('serves its ports where its endpoints say, and counts connections', async () => {
      const runtime = open();
      const { node } = getSubject();
      const given = task(webScript, {
        ports: [{ Protocol: 'tcp', TargetPort: 8080, PublishedPort: 30_080, PublishMode: 'ingress' }],
      });
      const { endpoints, hostPorts } = await run(runtime, given);
      expect(hostPorts).toEqual([]);
      expect(endpoints).toMatchObject([{ protocol: 'tcp', targetPort: 8080, nodeAddr: node.addr }]);
      const [endpoint] = endpoints;
      if (!endpoint) throw new Error('no endpoint');
      const local = () => httpGet(endpoint.localAddr, endpoint.localPort).catch(() => undefined);
      await waitFor(async () => (await local()) === 'hello\n');
      expect(await httpGet(endpoint.nodeAddr, endpoint.nodePort)).toBe('hello\n');
      await expect.poll(() => runtime.connections(given)).toBe(0);
      for (const [addr, port] of [
        [endpoint.localAddr, endpoint.localPort],
        [endpoint.nodeAddr, endpoint.nodePort],
      ] as const) {
        const socket = connect(port, addr);
        await new Promise((resolve) => socket.once('connect', resolve));
        await expect.poll(() => runtime.connections(given)).toBe(1);
        socket.destroy();
        await expect.poll(() => runtime.connections(given)).toBe(0);
      }
      await runtime.stop(given, 5_000);
      expect(await runtime.connections(given)).toBe(0);
      expect((await runtime.inspect(given.ID))?.endpoints).toEqual([]);
    });

    it('gives two tasks of one service ports of their own', async () => {
      const runtime = open();
      const ports: PortConfig[] = [{ TargetPort: 8080, PublishedPort: 30_081, PublishMode: 'ingress' }];
      const [one, two] = [task(webScript, { ports }), task(webScript, { ports, slot: 2 })];
      const states = await Promise.all([run(runtime, one), run(runtime, two)]);
      const nodePorts = states.map(({ endpoints }) => endpoints[0]?.nodePort);
      expect(new Set(nodePorts).size).toBe(2);
      for (const port of nodePorts)
        await waitFor(async () => (await httpGet(getSubject().node.addr, port ?? 0).catch(() => '')) === 'hello\n');
    });

    it('binds host-mode ports as published', async () => {
      const runtime = open();
      const published = 33_000 + (process.pid % 5_000);
      const given = task(webScript.replaceAll('$PORT', '$PORT').replace('PORT:-8080', 'PORT_8080:-8080'), {
        ports: [{ Protocol: 'tcp', TargetPort: 8080, PublishedPort: published, PublishMode: 'host' }],
      });
      const state = await run(runtime, given);
      expect(state.endpoints).toEqual([]);
      expect(state.hostPorts).toMatchObject([{ TargetPort: 8080, PublishedPort: published, PublishMode: 'host' }]);
      await waitFor(async () => (await httpGet(getSubject().node.addr, published).catch(() => '')) === 'hello\n');
    });

    it('leaves alone what belongs to another node or another cluster', async () => {
      const { node } = getSubject();
      const runtime = open();
      const given = task('sleep 60');
      await run(runtime, given);
      for (const stranger of [open({ ...node, nodeId: 'other-node' }), open({ ...node, clusterId: 'other-cluster' })]) {
        expect(await stranger.list()).toEqual([]);
        expect(await stranger.inspect(given.ID)).toBeUndefined();
        await stranger.stop(given, 0);
        await stranger.remove(given.ID);
      }
      expect(await runtime.inspect(given.ID)).toMatchObject({ phase: 'running' });
    });
  });
}
