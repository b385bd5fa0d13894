import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Node } from '@swarmctl/shared/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { whyNoHaproxy } from '../../packages/worker/src/network/l7/haproxy.ts';
import { makeCertificate } from '../../packages/worker/src/network/l7/test-http.ts';
import { type Cluster, type NodeHandle, runProgram } from '../kit/cluster.ts';
import { World } from './world.ts';

// Ports of HTTP on a cluster of processes: routes over all nodes, conflicts, updates and restarts of daemons under load. The tests share one
// cluster and run in order.

const why = await whyNoHaproxy();
const port = 8088;

describe.skipIf(why)(`ports of HTTP${why ? ` (skipped: ${why})` : ''}`, () => {
  let world: World;
  let cluster: Cluster;
  let manager: NodeHandle;
  let nodes: readonly Node[] = [];

  beforeAll(async () => {
    world = await World.make('process', { managers: 1, workers: 2 });
    cluster = world.cluster;
    manager = await cluster.anyManager();
    nodes = await manager.api.get<Node[]>('/nodes');
  }, 120_000);
  afterAll(async () => {
    await world?.stop();
    // HAProxy goes on without its daemon, as it should.
    for (const pid of haproxies()) process.kill(pid, 'SIGKILL');
  }, 60_000);

  /** Of this cluster's nodes. */
  const haproxies = (): number[] =>
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => nodes.some(({ ID }) => folderOf(pid).startsWith(`/dev/shm/swarmd-${ID}`)))
      .map(Number);
  const web = (name: string, route: string, ...flags: string[]) =>
    cluster.ctl(
      manager,
      ...world.web({ name, port, replicas: 2, flags: ['--label', `swarmctl.http.route=${route}`, ...flags] }),
    );
  /** Status and body of one request to a node. */
  async function ask(node: NodeHandle, host: string, path: string): Promise<string> {
    const options = JSON.stringify({ host: node.addr, port, path, headers: { host }, agent: false });
    const script = `require('http').get(${options}, (r) => { process.stdout.write(r.statusCode + ' '); r.pipe(process.stdout) }).on('error', (e) => console.log(e.code))`;
    return (await runProgram(...cluster.command(process.execPath, ['-e', script]))).out.trim();
  }

  /** Status, and who the certificate says that it is. */
  async function askTls(node: NodeHandle): Promise<string> {
    const options = JSON.stringify({ host: node.addr, port: port + 1, rejectUnauthorized: false, agent: false });
    const script = `require('https').get(${options}, (r) => { console.log(r.statusCode, 'CN=' + r.socket.getPeerCertificate().subject.CN) }).on('error', (e) => console.log(e.code))`;
    return (await runProgram(...cluster.command(process.execPath, ['-e', script]))).out.trim();
  }

  test('lead each request on each node to its service, over all nodes', async () => {
    await web('shop', 'shop.example.com');
    await web('api', 'shop.example.com/cgi-bin,*/cgi-bin');
    await cluster.eventually('all run', async () => (await cluster.running('api')).length === 2);
    const [shop, api] = [await cluster.running('shop'), await cluster.running('api')];
    await cluster.eventually('every node answers', async () => {
      const answers = await Promise.all(
        cluster.nodes.flatMap((node) => [ask(node, 'shop.example.com', '/'), ask(node, 'other', '/cgi-bin/id')]),
      );
      return answers.every((one) => one.startsWith('200 '));
    });
    expect(shop).toHaveLength(2);
    for (const node of cluster.nodes) {
      expect(await ask(node, 'shop.example.com', '/')).toBe('200 version 1');
      expect(await ask(node, 'other', '/')).toMatch(/^404 404: no service answers to this host and path/);
      const seen = new Set<string | undefined>();
      for (let i = 0; i < 4; i++)
        seen.add(/^task=(.*)$/m.exec(await ask(node, 'shop.example.com', '/cgi-bin/id'))?.[1]);
      expect(seen).toEqual(new Set(api.map(({ ID }) => ID)));
    }
  });

  test('refuse what cannot be shared, and certificates that are not there', async () => {
    await expect(web('other', 'x.example.com,SHOP.example.com/')).rejects.toThrow(
      /route 'shop.example.com' of port '8088' is already in use by service 'shop' \(\w+\)/,
    );
    await expect(cluster.ctl(manager, ...world.web({ name: 'other', port }))).rejects.toThrow(
      /port '8088' is already in use by service '(shop|api)'.* all have the label swarmctl.http.route/,
    );
    await expect(web('other', 'x.example.com', '--label', 'swarmctl.http.tls=nosuch')).rejects.toThrow(
      /secret not found: nosuch/,
    );
    await expect(web('other', 'http://x')).rejects.toThrow(/'http:\/\/x' is not a list of hosts/);
  });

  test('lose no request while a service is updated and a daemon restarts', async () => {
    const entry = cluster.workers[0] as NodeHandle;
    const loads = [cluster.workers[0], cluster.managers[0]].map((node) =>
      world.load((node as NodeHandle).addr, port, { rate: 40, path: '/cgi-bin/id' }),
    );
    await cluster.ctl(manager, 'service', 'update', '--update-order', 'start-first', ...world.toVersion('2'), 'api');
    await cluster.eventually('the update has ended', async () => {
      const { UpdateStatus } = await cluster.service('api');
      return UpdateStatus?.State === 'completed';
    });
    await cluster.ctl(manager, 'service', 'update', '--update-order', 'stop-first', ...world.toVersion('3'), 'api');
    await cluster.eventually('the second has ended', async () => {
      const { UpdateStatus } = await cluster.service('api');
      return UpdateStatus?.State === 'completed' && (await cluster.running('api')).length === 2;
    });
    // Its HAProxy answers meanwhile.
    await cluster.kill(entry);
    await cluster.startNode(entry);
    await cluster.eventually('it is back', async () => {
      const all = await manager.api.get<Node[]>('/nodes');
      return all.every(({ Status }) => Status.State === 'ready');
    });
    await web('late', 'late.example.com');
    await cluster.eventually('it takes a new service', async () =>
      (await ask(entry, 'late.example.com', '/')).startsWith('200'),
    );
    for (const { failures, ok, answers } of await Promise.all(loads.map((load) => load.stop()))) {
      expect(failures).toEqual([]);
      expect(ok).toBeGreaterThan(100);
      for (const version of ['1', '2', '3'])
        expect(Object.keys(answers).some((answer) => answer.startsWith(`version=${version}`))).toBe(true);
    }
  }, 120_000);

  test('end TLS on every node with the certificate of a secret, and follow its versions', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'swarm-cert-'));
    const write = (name: string) => {
      const { cert, key } = makeCertificate(name);
      const file = join(folder, 'site.pem');
      writeFileSync(file, cert + key);
      return file;
    };
    await cluster.ctl(manager, 'secret', 'create', 'site', write('one.example.com'));
    await cluster.ctl(
      manager,
      ...world.web({
        name: 'site',
        port: port + 1,
        flags: ['--label', 'swarmctl.http.route=*', '--label', 'swarmctl.http.tls=site'],
      }),
    );
    const everywhere = (wanted: string) => async () => {
      const seen = await Promise.all(cluster.nodes.map((node) => askTls(node)));
      return seen.every((one) => one === wanted);
    };
    await cluster.eventually('https everywhere', everywhere('200 CN=one.example.com'));
    await expect(cluster.ctl(manager, 'secret', 'rm', 'site')).rejects.toThrow(
      /is in use by the following service: site/,
    );
    await cluster.ctl(manager, 'secret', 'update', 'site', write('two.example.com'));
    await cluster.eventually('the new one everywhere', everywhere('200 CN=two.example.com'));
    await cluster.ctl(manager, 'service', 'rm', 'site');
    rmSync(folder, { recursive: true });
  });

  test('leave nothing behind when the last service has gone', async () => {
    expect(haproxies().length).toBeGreaterThan(0);
    await cluster.ctl(manager, 'service', 'rm', 'shop', 'api', 'late');
    await cluster.eventually('HAProxy has ended everywhere', () => haproxies().length === 0);
    expect(readdirSync('/dev/shm').filter((name) => nodes.some(({ ID }) => name === `swarmd-${ID}`))).toEqual([]);
  });
});

function folderOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return '';
  }
}
