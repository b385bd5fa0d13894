import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { IngressBackend, IngressEntry } from '@swarmctl/shared/wire';
import { type Netns, type NetnsLab, openNetnsLab, startPeer } from '../kit/netns.ts';
import { atLeast, atMost, type Outcome } from './ingress-limits.ts';
import { median, print } from './stats.ts';

// The kernel's ingress beside the least rules by hand that do the same, and HAProxy in TCP mode with a thread for each core: a client, and for
// each contestant a node of its own in front of backends, all in network namespaces, by turns. `remote`: two backends on other nodes, clients
// masqueraded. `local`: a container on the node itself, clients keep their address; there the ingress has all rules for a mesh of five nodes as well,
// which those by hand do without, so that this is shown and has no limit.

const rounds = 15;
const seconds = 1;
const clients = 32;
const [front, behind] = [8080, 9000];

const cases = { 'kept alive': [], 'new connections': ['-H', 'Connection: close'] } as const;
type Case = keyof typeof cases;

const contestants = [
  'remote, by hand',
  'remote, ingress',
  'remote, haproxy',
  'local, by hand',
  'local, ingress',
] as const;
type Contestant = (typeof contestants)[number];

interface Sample {
  readonly perSecond: number;
  readonly p99Ms: number;
}

interface World {
  readonly client: Netns;
  readonly backends: readonly [Netns, Netns];
  readonly nodes: ReadonlyMap<Contestant, Netns>;
}

export async function path(): Promise<Outcome[]> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-ingress-'));
  const lab = openNetnsLab(contestants.length + 3);
  try {
    const world = await start(lab, folder);
    const samples = new Map<string, Sample[]>();
    for (let round = -1; round < rounds; round++) {
      for (const one of Object.keys(cases) as Case[]) {
        // Not always in the same order: somebody always comes after the noisiest.
        const first = (round + contestants.length) % contestants.length;
        for (const who of [...contestants.slice(first), ...contestants.slice(0, first)]) {
          const sample = await measure(world, one, who);
          if (round >= 0) samples.set(`${one} ${who}`, [...(samples.get(`${one} ${who}`) ?? []), sample]);
        }
      }
    }
    return report(samples);
  } finally {
    await lab.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

function report(samples: ReadonlyMap<string, readonly Sample[]>): Outcome[] {
  const outcomes: Outcome[] = [];
  for (const one of Object.keys(cases) as Case[]) {
    const of = (who: Contestant, what: keyof Sample) =>
      median((samples.get(`${one} ${who}`) ?? []).map((sample) => sample[what]));
    const ratio = (a: Contestant, b: Contestant, what: keyof Sample) => of(a, what) / of(b, what);
    print(`${one}, ${clients} clients: medians of ${rounds} rounds`);
    for (const who of contestants)
      print(
        `  ${who.padEnd(20)} ${of(who, 'perSecond').toFixed(0).padStart(7)} /s   p99 ${of(who, 'p99Ms').toFixed(2)} ms`,
      );
    outcomes.push(
      atLeast(`${one}: throughput, of rules by hand`, ratio('remote, ingress', 'remote, by hand', 'perSecond'), 0.95),
      atMost(`${one}: p99, of rules by hand`, ratio('remote, ingress', 'remote, by hand', 'p99Ms'), 1.2),
    );
    const [speed, p99] = (['perSecond', 'p99Ms'] as const).map((what) =>
      ratio('local, ingress', 'local, by hand', what).toFixed(2),
    );
    print(`  a mesh's rules as well: throughput ${speed}, p99 ${p99} of rules by hand, which have none`);
    const limit = one === 'kept alive' ? 1.3 : 1.1;
    outcomes.push(
      atLeast(`${one}: throughput, of HAProxy`, ratio('remote, ingress', 'remote, haproxy', 'perSecond'), limit),
    );
  }
  return outcomes;
}

async function start(lab: NetnsLab, folder: string): Promise<World> {
  const [client, one, two, ...spaces] = lab.spaces as [Netns, Netns, Netns, ...Netns[]];
  const nodes = new Map(contestants.map((who, i) => [who, spaces[i] as Netns]));
  const world: World = { client, backends: [one, two], nodes };
  const node = (who: Contestant) => nodes.get(who) as Netns;
  for (const space of world.backends) serveBackend(space, folder);
  client.run('sysctl', '-qw', 'net.ipv4.ip_local_port_range=1024 65535');
  await byHand(node('remote, by hand'), [one.addr, two.addr], true);
  await ingress(
    node('remote, ingress'),
    [one, two].map((space, i) => backend(`n${i + 2}`, space.addr)),
    false,
  );
  serve(node('remote, haproxy'), folder, frontConfig(world.backends));
  for (const who of ['local, by hand', 'local, ingress'] as const) {
    const container = lab.addContainer(node(who));
    serveBackend(container, folder);
    if (who === 'local, by hand') await byHand(node(who), [container.addr], false);
    else await ingress(node(who), [backend('n1', container.addr)], true);
  }
  for (const who of contestants) await answers(world, who);
  return world;
}

const execute = promisify(execFile);

async function answers({ client, nodes }: World, who: Contestant): Promise<void> {
  const at = `${nodes.get(who)?.addr}/${front}`;
  for (let i = 0; i < 100; i++) {
    const command = ['timeout', '1', 'bash', '-c', `exec 3<>/dev/tcp/${at}; echo GET / >&3; read -r <&3`];
    try {
      await execute('nsenter', [`--net=/run/netns/${client.name}`, ...command]);
      return;
    } catch {
      await sleep(50);
    }
  }
  throw new Error(`${who}: ${at} does not answer`);
}

async function measure({ client, nodes }: World, one: Case, who: Contestant): Promise<Sample> {
  const url = `http://${nodes.get(who)?.addr}:${front}/`;
  const { stdout } = await execute('nsenter', [
    ...[`--net=/run/netns/${client.name}`, 'wrk', '-t2', `-c${clients}`, `-d${seconds}s`, '--latency'],
    ...[...cases[one], url],
  ]);
  const perSecond = Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]);
  const [, p99, unit = ''] = /99%\s+([\d.]+)(us|ms|s)/.exec(stdout) ?? [];
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(stdout);
  // wrk calls it a read error when a connection is closed after an answer that it had whole.
  if (!(perSecond > 0) || [errors?.[1], errors?.[3], errors?.[4]].some((count = '0') => count !== '0'))
    throw new Error(`${who}, ${one}: ${stdout}`);
  return { perSecond, p99Ms: Number(p99) * ({ us: 0.001, ms: 1, s: 1_000 }[unit] ?? Number.NaN) };
}

/** As many connections as a benchmark makes are not remembered for two minutes after their end. */
const forgetSoon = (space: Netns) => space.run('sysctl', '-qw', 'net.netfilter.nf_conntrack_tcp_timeout_time_wait=2');

async function byHand(space: Netns, addrs: readonly string[], masquerades: boolean): Promise<void> {
  const map = addrs.map((addr, slot) => `${slot} : ${addr} . ${behind}`).join(', ');
  const to = addrs.length > 1 ? `numgen inc mod ${addrs.length} map { ${map} }` : `${addrs[0]}:${behind}`;
  const rules = `table ip least {
    chain web { meta l4proto tcp dnat ip to ${to}; }
    chain prerouting { type nat hook prerouting priority -100; ip daddr ${space.addr} tcp dport vmap { ${front} : goto web }; }
    ${masquerades ? 'chain postrouting { type nat hook postrouting priority 100; ct status dnat masquerade; }' : ''}
  }`;
  space.run('sysctl', '-qw', 'net.ipv4.ip_forward=1');
  space.run('nft', rules);
  forgetSoon(space);
}

const backend = (nodeId: string, addr: string): IngressBackend => ({
  ...{ taskId: `t-${nodeId}`, nodeId, protocol: 'tcp', targetPort: 80 },
  ...{ localAddr: addr, localPort: behind, nodeAddr: addr, nodePort: behind },
});

async function ingress(space: Netns, backends: readonly IngressBackend[], hasMesh: boolean): Promise<void> {
  const peer = await startPeer(space, { ingress: true });
  await peer.call('ingress', { options: { nodeId: 'n1', ingressAddrs: [], advertiseAddr: space.addr } });
  const key = `tcp/${front}`;
  const service = { serviceId: 's', serviceName: 'web', targetPort: 80 };
  const entry: IngressEntry = { ...service, key, protocol: 'tcp', publishedPort: front, backends };
  await peer.call('apply', { nodeId: 'n1', entries: [entry], ...(hasMesh && { mesh: meshOfFive(space.addr) }) });
  forgetSoon(space);
}

/** What the peers' part in it comes to in rules. */
function meshOfFive(addr: string) {
  const peers = [2, 3, 4, 5];
  const own = [1, ...peers].map((number) => ({ node: `10.99.0.${number}`, mesh: `198.18.0.${number}` }));
  return {
    ...{ device: 'swm1', self: 1, addresses: { v4: '198.18.0.1', v6: 'fd73::1' }, mark: 0x5377_0000, mtu: 1_450 },
    ...{ vxlan: { vni: 7, port: 4789 }, routedByMain: [], ways: {} },
    marks: peers.map((number) => [`02:73:77:6d:00:0${number}`, 0x5377_0000 + number]),
    senders: peers.map((number) => `10.99.0.${number}`),
    own: [...own, { node: addr, mesh: '198.18.0.1' }],
  };
}

function serveBackend(space: Netns, folder: string): void {
  // Else it would take a new connection for a late packet of an old one that had the same port, when so many follow each other.
  space.run('sysctl', '-qw', 'net.ipv4.tcp_max_tw_buckets=0');
  serve(space, folder, backendConfig());
}

function serve(space: Netns, folder: string, config: string): void {
  const file = join(folder, `${space.name}.cfg`);
  writeFileSync(file, config);
  space.spawn('haproxy', ['-db', '-f', file], { stdio: 'ignore' });
}

const timeouts = ['client 30s', 'server 30s', 'connect 3s', 'http-keep-alive 30s']
  .map((line) => `  timeout ${line}\n`)
  .join('');

const backendConfig = () => `global
  nbthread 1
  maxconn 4000
defaults
  mode http
${timeouts}
frontend f
  bind :${behind}
  http-request return status 200 content-type text/plain string "hello, this is a small answer\\n"
`;

const frontConfig = (backends: readonly Netns[]) => `global
  nbthread ${availableParallelism()}
  maxconn 4000
defaults
  mode tcp
${timeouts}
listen l
  bind :${front}
  balance roundrobin
${backends.map(({ name, addr }) => `  server ${name} ${addr}:${behind}\n`).join('')}`;
