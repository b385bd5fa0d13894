import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IngressBackend, IngressEntry } from '@swarmctl/shared/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildImages, type Engine, noEngine, startEngine } from '../../../../../test/kit/engine.ts';
import { type Netns, type NetnsLab, type NetnsPeer, openNetnsLab, startPeer } from '../../../../../test/kit/netns.ts';

// The kernel's ingress beside Docker's own rules: two nodes with engines, one without, and a client outside.

const missing = noEngine();

describe.skipIf(missing)(`nftables ingress with Docker${missing ? ` (skipped: ${missing} is missing)` : ''}`, () => {
  let lab: NetnsLab;
  let engines: Engine[] = [];
  let peers: NetnsPeer[] = [];
  const backends: IngressBackend[] = [];
  const containers: string[] = [];

  beforeAll(async () => {
    lab = openNetnsLab(4);
    const nodes = lab.spaces.slice(0, 3);
    engines = await Promise.all(
      nodes.slice(0, 2).map(({ name }) => {
        const dataRoot = mkdtempSync(join(tmpdir(), 'swarm-ingress-'));
        return startEngine({ name, netns: name, dataRoot });
      }),
    );
    await Promise.all(engines.map(({ socket }) => buildImages(socket)));
    for (const [i, engine] of engines.entries()) {
      for (const name of i === 0 ? ['a', 'b'] : ['c'])
        backends.push(await startTask(engine, nodes[i] as Netns, i, name));
      // As Docker does it where it turns forwarding on itself.
      nodes[i]?.run('iptables', '-P', 'FORWARD', 'DROP');
    }
    peers = await Promise.all(nodes.map((space) => startPeer(space, { ingress: true })));
    for (const [i, peer] of peers.entries()) {
      const options = { nodeId: `node${i}`, ingressAddrs: [], advertiseAddr: nodes[i]?.addr };
      expect(await peer.call('ingress', { options })).toBe('nftables');
    }
    await apply();
  }, 60_000);
  afterAll(async () => {
    await Promise.all(engines.map((engine) => engine.stop()));
    await lab?.close();
  });

  async function startTask(engine: Engine, node: Netns, index: number, name: string): Promise<IngressBackend> {
    const container = await engine.docker.createContainer({
      Image: 'web:1',
      Env: [`TASK_ID=${name}`],
      HostConfig: { PortBindings: { '8080/tcp': [{ HostIp: node.addr, HostPort: '' }] } },
    });
    await container.start();
    containers.push(container.id);
    const { NetworkSettings } = await container.inspect();
    return {
      ...{ taskId: name, nodeId: `node${index}`, protocol: 'tcp', targetPort: 8080 },
      ...{ localAddr: String(NetworkSettings.Networks['bridge']?.IPAddress), localPort: 8080 },
      ...{ nodeAddr: node.addr, nodePort: Number(NetworkSettings.Ports['8080/tcp']?.[0]?.HostPort) },
    };
  }

  async function apply(): Promise<void> {
    const service = {
      serviceId: 's',
      serviceName: 'web',
      protocol: 'tcp' as const,
      publishedPort: 80,
      targetPort: 8080,
    };
    const entries: IngressEntry[] = [{ key: 'tcp/80', ...service, backends }];
    await Promise.all(peers.map((peer, i) => peer.call('apply', { nodeId: `node${i}`, entries })));
  }

  /** Nine requests, each a new connection. */
  const asking = (host: string) =>
    `for i in 1 2 3 4 5 6 7 8 9; do printf 'GET /cgi-bin/id HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 5 ${host} 80; done`;

  const answering = (text: string) =>
    [...text.matchAll(/task=(\w+)/g)]
      .map(([, task]) => task)
      .sort()
      .join('');

  const tasks = (from: Netns, host: string) => answering(from.run('sh', '-c', `${asking(host)}; true`));

  it('answers on every node, from outside and from the node itself', () => {
    const outside = lab.spaces[3] as Netns;
    for (const node of lab.spaces.slice(0, 3)) {
      expect(tasks(outside, node.addr)).toBe('aaabbbccc');
      expect(tasks(node, '127.0.0.1')).toBe('aaabbbccc');
      expect(tasks(node, node.addr)).toBe('aaabbbccc');
    }
  });

  it('answers a container, itself included', async () => {
    const [engine] = engines as [Engine];
    const exec = await engine.docker.getContainer(containers[0] as string).exec({
      Cmd: ['sh', '-c', asking(String(lab.spaces[0]?.addr))],
      AttachStdout: true,
      Tty: true,
    });
    let output = '';
    for await (const chunk of await exec.start({ Tty: true })) output += chunk;
    expect(answering(output)).toBe('aaabbbccc');
  });

  it('goes on after Docker has started anew', async () => {
    const [engine] = engines as [Engine];
    await engine.down();
    await engine.up();
    const [node, outside] = [lab.spaces[0] as Netns, lab.spaces[3] as Netns];
    const restarted = engine.docker.getContainer(containers[0] as string);
    await restarted.start().catch(() => {});
    await engine.docker
      .getContainer(containers[1] as string)
      .start()
      .catch(() => {});
    for (const [i, name] of ['a', 'b'].entries()) {
      const { NetworkSettings } = await engine.docker.getContainer(containers[i] as string).inspect();
      const index = backends.findIndex(({ taskId }) => taskId === name);
      backends[index] = {
        ...(backends[index] as IngressBackend),
        localAddr: String(NetworkSettings.Networks['bridge']?.IPAddress),
        nodePort: Number(NetworkSettings.Ports['8080/tcp']?.[0]?.HostPort),
      };
    }
    await apply();
    await peers[0]?.call('sweep', { nodeId: 'node0' });
    expect(tasks(outside, node.addr)).toBe('aaabbbccc');
  });
});
