import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Network, Task } from '@swarmctl/shared/model';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { buildImages, type Engine, noEngine, startEngine } from '../../../../../test/kit/engine.ts';
import { type NetnsLab, openNetnsLab } from '../../../../../test/kit/netns.ts';
import { makeTask } from '../../../../../test/kit/runtime-contract.ts';
import type { Runtime } from '../types.ts';
import { createDockerRuntime } from './runtime.ts';

// Networks that a node's engine makes by itself, and those that every engine has, on a real engine.

const missing = noEngine();
const node = { nodeId: 'node1', clusterId: 'cluster1', hostname: 'here', addr: '127.0.0.1' };
const subject = { node, container: { Image: 'bb:1' } };
const never = new AbortController().signal;
const stay = 'trap "exit 0" TERM; while :; do sleep 1 & wait $!; done';

type Spec = Network['Spec'];
const spec = (Name: string, driver: string, from?: string): Spec => ({
  ...{ Name, Labels: {}, Scope: 'swarm', DriverConfiguration: { Name: driver } },
  ...(from !== undefined && { ConfigFrom: { Network: from } }),
});

describe.skipIf(missing)(`networks of an engine${missing ? ` (skipped: ${missing} is missing)` : ''}`, () => {
  let lab: NetnsLab;
  let engine: Engine;
  let runtime: Runtime;
  let made: Task[] = [];

  beforeAll(async () => {
    lab = openNetnsLab(1);
    const [space] = lab.spaces;
    const dataRoot = mkdtempSync(join(tmpdir(), 'swarm-local-'));
    engine = await startEngine({ name: 'local', dataRoot, ...(space && { netns: space.name }) });
    await buildImages(engine.socket);
    runtime = open();
  }, 60_000);
  afterEach(async () => {
    for (const { ID } of made) await runtime.remove(ID);
    made = [];
    expect(await networks()).toEqual([]);
  });
  afterAll(async () => {
    await runtime?.close();
    await engine?.stop();
    await lab?.close();
  });

  const open = () => createDockerRuntime({ dockerHost: engine.dockerHost }, node);

  /** Of this node. */
  const networks = async () =>
    (await engine.docker.listNetworks()).map(({ Name }) => Name).filter((name) => name.startsWith('swarmd-'));

  async function configOnly(name: string, subnet: string, options = {}): Promise<void> {
    const body = { Name: name, ConfigOnly: true, IPAM: { Config: [{ Subnet: subnet }] }, Options: options };
    await engine.docker.createNetwork(body as never);
  }

  function task(script: string, on: Record<string, Spec | undefined>, aliases?: string[]): Task {
    const Networks = Object.keys(on).map((Target) => ({ Target, ...(aliases && { Aliases: aliases }) }));
    const one: Task = {
      ...makeTask(subject, script, { spec: { Networks } }),
      NetworksAttachments: Object.entries(on).map(([ID, Local]) => ({
        ...{ Network: { ID }, Addresses: [] },
        ...(Local && { Local }),
      })),
    };
    made.push(one);
    return one;
  }

  async function run(given: Task) {
    await runtime.prepare(given, never);
    return runtime.start(given);
  }

  async function output(given: Task): Promise<string> {
    await run(given);
    const lines: string[] = [];
    for await (const { line } of runtime.logs(given.ID, { follow: true, stdout: true, stderr: true }, never)) {
      lines.push(Buffer.from(line).toString());
    }
    return lines.join('\n');
  }

  it('is made for the first container on it by its config, and goes with the last', async () => {
    await configOnly('cfg', '172.29.7.0/24');
    const net = { n1: spec('own', 'bridge', 'cfg') };
    const first = task(stay, net, ['db']);
    await run(first);
    expect(await networks()).toEqual(['swarmd-node1-n1']);
    const seen = await output(task('busybox nslookup db; ip -4 addr', net));
    expect(seen).toMatch(/^Address.*172\.29\.7\.2$/m);
    expect(seen).toContain('172.29.7.3/24');
    await runtime.remove(first.ID);
    const second = task(stay, net);
    await run(second);
    await runtime.stop(second, 5_000);
    expect(await networks()).toEqual([]);
    await engine.docker.getNetwork('cfg').remove();
  });

  it('says what is missing where a node has no such config', async () => {
    const given = task(stay, { n1: spec('lan', 'macvlan', 'nowhere') });
    await expect(runtime.prepare(given, never)).rejects.toMatchObject({
      permanent: true,
      message:
        "network lan: this node's engine has no config-only network 'nowhere'; make it there with docker network create --config-only",
    });
  });

  it('is on the wire of the node with macvlan; what an earlier daemon left there makes way', async () => {
    await configOnly('wire', '192.168.7.0/24', { parent: 'eth0' });
    await runtime.prepare(task(stay, { n1: spec('old', 'macvlan', 'wire') }), never);
    const other = open();
    await engine.docker.getContainer((await other.inspect(made[0]?.ID ?? ''))?.containerId ?? '').remove();
    await other.close();
    expect(await networks()).toEqual(['swarmd-node1-n1']);
    const given = task('ip -4 -o addr show eth0', { n2: spec('new', 'macvlan', 'wire') });
    expect(await output(given)).toContain('192.168.7.2/24');
    expect(await networks()).toEqual(['swarmd-node1-n2']);
    await runtime.remove(given.ID);
    await engine.docker.getNetwork('wire').remove();
  });

  it('none and host are as every engine has them, and bridge goes with others', async () => {
    expect(await output(task('ls /sys/class/net', { none: undefined }))).toBe('lo');
    const inside = await output(task('ip -o link show eth0', { host: undefined }));
    expect(lab.spaces[0]?.run('ip', '-o', 'link', 'show', 'eth0')).toContain(/link\/ether (\S+)/.exec(inside)?.[1]);
    const both = task('ls /sys/class/net', { bridge: undefined, n1: spec('own', 'bridge') });
    expect(await output(both)).toBe('eth0\neth1\nlo');
  });
});
