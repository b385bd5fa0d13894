import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Service, Task } from '@swarmctl/shared/model';
import type { Host } from '../lab/host.ts';
import { Lab } from '../lab/lab.ts';
import { atLeast, type Outcome } from './ingress-limits.ts';
import { median, print } from './stats.ts';

// A container to a container on another host, through an overlay network and, by turns, through a bridge with a VXLAN port made by hand on the
// same two hosts: one TCP stream of iperf3. The way over the service's virtual address is shown beside it.

const rounds = 15;
const seconds = 1;
const port = 5201;

const byHand = (number: number, other: number) => `
  ip netns add plain
  ip link add plain0 type bridge mcast_snooping 0
  ip link add plainx type vxlan id 99 dstport 4999 local 10.77.0.${number} remote 10.77.0.${other}
  ip link set plainx mtu 1450 master plain0 up
  ip link add plainp type veth peer name eth0 netns plain
  ip link set plainp mtu 1450 master plain0 up
  ip link set plain0 mtu 1450 up
  ip -n plain link set eth0 mtu 1450 up
  ip -n plain addr add 10.123.0.${number}/24 dev eth0
  # Where bridged packets pass the firewall of an engine.
  iptables -I FORWARD -i plain0 -o plain0 -j ACCEPT`;

/** How to run something in a network namespace of a host. */
type Into = readonly string[];

export async function overlay(): Promise<Outcome[]> {
  const name = `bo${process.pid}`;
  try {
    const lab = await Lab.up({ name, nodes: 2, managers: 1 });
    const [a, b] = [lab.host(1), lab.host(2)];
    for (const [host, other] of [
      [a, b],
      [b, a],
    ] as const)
      await sh(host, byHand(host.number, other.number));
    const ctl = (...args: string[]) => a.ctl(...args);
    await ctl('network', 'create', '--driver', 'overlay', 'back');
    for (const host of [a, b]) {
      const place = ['--constraint', `node.hostname==${host.name}`];
      await ctl('service', 'create', '--name', `s${host.number}`, '--network', 'back', ...place, 'web:1');
    }
    const [from, to] = [await into(a), await into(b)];
    const service = await a.api.get<Service>('/services/s2');
    const [task] = await tasksOf(a, 's2');
    const bare = (address = '') => address.split('/')[0] ?? '';
    const ways = {
      'by hand': { from: ['ip', 'netns', 'exec', 'plain'], addr: '10.123.0.2' },
      overlay: { from, addr: bare(task?.NetworksAttachments?.[0]?.Addresses[0]) },
      'overlay, virtual address': { from, addr: bare(service.Endpoint.VirtualIPs?.[0]?.Addr) },
    } as const;
    await listen(b, ['ip', 'netns', 'exec', 'plain']);
    await listen(b, to);
    const speeds = new Map<string, number[]>();
    for (let round = -1; round < rounds; round++)
      for (const [way, { from: there, addr }] of Object.entries(ways)) {
        const speed = await measure(a, there, addr);
        if (round >= 0) speeds.set(way, [...(speeds.get(way) ?? []), speed]);
      }
    print(`one TCP stream between containers on two hosts: medians of ${rounds} rounds`);
    const of = (way: string) => median(speeds.get(way) ?? []);
    for (const way of speeds.keys()) print(`  ${way.padEnd(26)} ${of(way).toFixed(2)} Gbit/s`);
    return [atLeast('overlay throughput, of a VXLAN bridge by hand', of('overlay') / of('by hand'), 0.95)];
  } finally {
    await Lab.remove(name);
  }
}

async function sh(host: Host, script: string): Promise<void> {
  const { code, err } = await host.exec('sh', '-ec', script);
  if (code !== 0) throw new Error(`${host.name}: ${err}`);
}

async function tasksOf(host: Host, service: string): Promise<Task[]> {
  const filters = JSON.stringify({ service: [service], 'desired-state': ['running'] });
  return host.api.get<Task[]>('/tasks', { filters });
}

/** That of the one container of its service there. */
async function into(host: Host): Promise<Into> {
  const { Id } = (await host.engine.docker.listContainers())[0] ?? { Id: '' };
  const { State } = await host.engine.docker.getContainer(Id).inspect();
  return ['nsenter', `--net=/proc/${State.Pid}/ns/net`];
}

async function listen(host: Host, there: Into): Promise<void> {
  const [program = '', ...args] = [...there, 'iperf3', '--server', '--port', String(port)];
  const server = host.spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  await once(server, 'spawn');
}

/** Gbit/s. */
async function measure(host: Host, there: Into, addr: string): Promise<number> {
  const [program = '', ...args] = [...there, 'iperf3', '--client', addr, '--port', String(port), '--json'];
  for (let attempt = 1; ; attempt++) {
    const { code, out, err } = await host.exec(program, ...args, '--time', String(seconds));
    const speed = code === 0 ? JSON.parse(out).end.sum_received.bits_per_second / 1e9 : Number.NaN;
    if (speed > 0) return speed;
    // The server may be on its way.
    if (attempt === 20) throw new Error(`${host.name}: iperf3 to ${addr}: ${err}${out}`);
    await sleep(100);
  }
}
