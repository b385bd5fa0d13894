import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cluster, isRoot, runProgram } from '../kit/cluster.ts';
import { type NetnsLab, noNetns, openNetnsLab } from '../kit/netns.ts';

// Ports of the userspace proxy, through two real daemons: a client comes to a node without the task, which learns who it is by the PROXY header.
// Where the kernel's ingress answers the others (root), and where the proxy answers all, which needs no privileges.

const port = 18_080;
/** Answers with its first 28 bytes (a header of version 2 for IPv4) in hexadecimal. */
const task = `require('net').createServer((s) => { let all = Buffer.alloc(0); s.on('error', () => {});
  s.on('data', (d) => { all = Buffer.concat([all, d]); if (all.length >= 28) s.end(all.subarray(0, 28).toString('hex')); }) })
  .listen(process.env.PORT); process.on('SIGTERM', () => process.exit(0))`;

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
const hexOf = (addr: string) =>
  addr
    .split('.')
    .map((part) => hex(Number(part), 2))
    .join('');
const header = (from: string, to: string, at: number) =>
  `0d0a0d0a000d0a515549540a2111000c${hexOf(from)}${hexOf(to)}${hex(at, 4)}${hex(port, 4)}`;

interface Place {
  readonly cluster: Cluster;
  /** Of the client. */
  readonly addr: string;
  readonly netns: string | undefined;
}

/** What the task answers the client of the manager with, and the client's port. */
async function ask({ cluster, addr, netns }: Place): Promise<{ readonly from: number; readonly answer: string }> {
  const host = cluster.managers[0]?.addr;
  const script = `const s = require('net').connect({ host: '${host}', port: ${port}, localAddress: '${addr}' });
    let answer = ''; let from; s.on('connect', () => { from = s.localPort; s.write('x'.repeat(28)); });
    s.on('data', (d) => { answer += d; }); s.on('error', (e) => { console.error(e.code); process.exit(1); });
    s.on('end', () => { console.log(JSON.stringify({ from, answer })); s.end(); })`;
  const { code, out, err } = await runProgram(...cluster.command(process.execPath, ['-e', script], netns));
  if (code !== 0) throw new Error(err);
  return JSON.parse(out) as { from: number; answer: string };
}

function scenarios(open: () => Promise<Place>, kind: string): void {
  let place: Place;
  let close: () => Promise<void>;

  beforeAll(async () => {
    place = await open();
    const { cluster } = place;
    close = () => cluster.stop();
    const [manager] = cluster.managers;
    await cluster.ctl(
      manager!,
      ...['service', 'create', '--name', 'web', '--publish', `${port}:80`, '--constraint', 'node.hostname==w1'],
      ...['--label', 'swarmctl.ingress.client-address=proxy-v2', '--runtime', 'process'],
      ...['--update-monitor', '300ms', 'process', process.execPath, '-e', task],
    );
  }, 120_000);
  afterAll(() => close?.());

  test('a task on another node reads who the client is', async () => {
    const { cluster, addr } = place;
    const manager = cluster.managers[0]!;
    await cluster.eventually('an answer', () => ask(place).then(() => true));
    const { from, answer } = await ask(place);
    expect(answer).toBe(header(addr, manager.addr, from));
  });

  test('options of the port change while it answers; a wrong one is refused with what would be right', async () => {
    const { cluster } = place;
    const manager = cluster.managers[0]!;
    const update = (...labels: string[]) =>
      cluster.tryCtl(manager, 'service', 'update', '--detach', ...labels.flatMap((one) => ['--label-add', one]), 'web');
    const wrong = await update('swarmctl.ingress.max-connections=many');
    expect(wrong.err).toContain("'many' is not a number of connections from 1 to 1000000");
    expect((await update('swarmctl.ingress.balance=least-connections', 'swarmctl.ingress.idle-timeout=1m')).code).toBe(
      0,
    );
    const { from, answer } = await ask(place);
    expect(answer).toBe(header(place.addr, manager.addr, from));
    expect((await update('swarmctl.ingress.client-address=masquerade')).code).toBe(0);
    await cluster.eventually('no header', async () => (await ask(place)).answer === hex(0x78, 2).repeat(28));
  });

  test(`says that the ingress is ${kind}`, async () => {
    const { cluster } = place;
    expect(await cluster.ctl(cluster.managers[0]!, 'node', 'inspect', '--pretty', 'self')).toContain(
      `Ingress:\t\t${kind}`,
    );
  });
}

const why = noNetns('nft');
describe.skipIf(why)(`proxied ports beside nftables, two hosts${why ? ` (skipped: ${why} is missing)` : ''}`, () => {
  let lab: NetnsLab;
  afterAll(() => lab?.close());
  scenarios(async () => {
    lab = openNetnsLab(3);
    const [first, second, client] = lab.spaces;
    const hosts = [first!, second!].map(({ name, addr }) => ({ netns: name, addr }));
    const cluster = await Cluster.form({ runtime: 'process', managers: 1, workers: 1, hosts });
    return { cluster, addr: client!.addr, netns: client!.name };
  }, 'nftables');
});

describe('the proxy ingress, two daemons of this machine', () => {
  const netns = isRoot ? `swe2e-${process.pid}-proxy` : undefined;
  const ip = (...args: string[]) => {
    if (netns && spawnSync('ip', args).status !== 0) throw new Error(`ip ${args.join(' ')}`);
  };
  afterAll(() => ip('netns', 'del', `${netns}`));
  scenarios(async () => {
    ip('netns', 'add', `${netns}`);
    ip('-n', `${netns}`, 'link', 'set', 'lo', 'up');
    const flags = ['--ingress', 'proxy', '--ingress-processes', '2'];
    const given = { runtime: 'process' as const, managers: 1, workers: 1, flags, subnet: netns ? 0 : 78 };
    const cluster = await Cluster.form({ ...given, ...(netns && { netns }) });
    return { cluster, addr: '127.0.79.9', netns };
  }, 'proxy');
});
