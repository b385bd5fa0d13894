import { readlinkSync } from 'node:fs';
import { realClock, seededRandom, silentLogger } from '@swarmctl/shared/kit';
import type { NetworkName, NetworkView } from '@swarmctl/shared/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type Netns,
  type NetnsLab,
  type NetnsPeer,
  noNetns,
  openNetnsLab,
  startPeer,
} from '../../../../../test/kit/netns.ts';
import { ContainerVips } from './vip.ts';

// Virtual addresses for real: three containers, each a network namespace, on one network.

const why = noNetns('nft', 'conntrack');
const vip = '10.77.0.100';
const vip6 = 'fd66::100';

describe.skipIf(why)(`virtual addresses${why ? ` (skipped: ${why} is missing)` : ''}`, () => {
  let lab: NetnsLab;
  let spaces: [Netns, Netns, Netns];
  let peers: [NetnsPeer, NetnsPeer, NetnsPeer];
  let vips: ContainerVips;

  beforeEach(async () => {
    lab = openNetnsLab(3);
    spaces = lab.spaces as unknown as typeof spaces;
    for (const [i, space] of spaces.entries())
      space.run('ip', 'addr', 'add', `fd66::${i + 1}/64`, 'dev', 'eth0', 'nodad');
    peers = (await Promise.all(spaces.map((space) => startPeer(space)))) as typeof peers;
    for (const [i, peer] of peers.entries()) {
      const name = 'abc'[i];
      for (const host of [`10.77.0.${i + 1}`, `fd66::${i + 1}`]) await peer.call('listen', { host, port: 80, name });
      await peer.call('listenUdp', { host: '0.0.0.0', port: 53, name });
    }
    vips = new ContainerVips({ log: silentLogger, clock: realClock, random: seededRandom(1) });
  });
  afterEach(async () => {
    await vips.close();
    await lab.close();
  });

  const service = (address: string, ...containers: number[]): NetworkName => ({
    name: 'web',
    vip: address,
    tasks: containers.map((i) => ({
      taskId: `t${i}`,
      addr: address.includes(':') ? `fd66::${i + 1}` : `10.77.0.${i + 1}`,
    })),
  });
  const viewsOf = (...names: NetworkName[]): ReadonlyMap<string, NetworkView> => {
    const view = {
      id: 'n',
      name: 'net',
      vni: 1,
      port: 4789,
      encrypted: false,
      internal: false,
      subnets: [],
      far: [],
      names,
    };
    return new Map([['n', view]]);
  };
  const start = (i = 0) => vips.started(`t${i}`, peers[i]!.pid, ['n']);
  const ask = async (host = vip, times = 10, i = 0) => {
    const answers = await peers[i]!.call<string[]>('ask', { host, port: 80, times });
    return answers.map((answer) => answer.split(' ')[0]);
  };
  const shares = (answers: readonly (string | undefined)[]) => {
    const counts: Record<string, number> = {};
    for (const answer of answers) counts[answer ?? ''] = (counts[answer ?? ''] ?? 0) + 1;
    return counts;
  };
  const udp = (key: string, times = 1, waitMs = 3_000) =>
    peers[0]
      .call<string[]>('udp', { key, host: vip, port: 53, times, waitMs })
      .then((all) => all.map((one) => one.split(' ')[0]));
  const table = (i = 0) => spaces[i]!.run('nft', 'list', 'table', 'inet', 'swarmd_vip');

  it('lead to the tasks by turns, with the client’s address kept', async () => {
    await vips.apply(viewsOf(service(vip, 1, 2)));
    await start();
    expect(shares(await ask())).toEqual({ b: 5, c: 5 });
    expect(await peers[0].call<string[]>('ask', { host: vip, port: 80 })).toEqual([
      expect.stringMatching(/^[bc] .*10\.77\.0\.1$/),
    ]);
    const flows = await Promise.all(['1', '2', '3', '4'].map((key) => udp(key)));
    expect(shares(flows.flat())).toEqual({ b: 2, c: 2 });
  });

  it('lead a task to itself, too, and by any port', async () => {
    await vips.apply(viewsOf(service(vip, 0, 1)));
    await start();
    expect(shares(await ask())).toEqual({ a: 5, b: 5 });
    await peers[1].call('listen', { host: '10.77.0.2', port: 8080, name: 'other' });
    const answers = await peers[0].call<string[]>('ask', { host: vip, port: 8080, times: 2 });
    expect(answers.map((one) => one.split(' ')[0]).sort()).toEqual(['ECONNREFUSED', 'other']);
  });

  it('work by IPv6', async () => {
    await vips.apply(viewsOf(service(vip6, 1, 2)));
    await start();
    expect(shares(await ask(vip6))).toEqual({ b: 5, c: 5 });
  });

  it('follow the tasks at once: new connections and UDP go elsewhere, what is open goes on', async () => {
    await vips.apply(viewsOf(service(vip, 1)));
    await start();
    expect(await peers[0].call<string>('hold', { key: 'tcp', host: vip, port: 80 })).toContain('b ');
    expect(await udp('flow', 2)).toEqual(['b', 'b']);
    await vips.apply(viewsOf(service(vip, 2)));
    expect(shares(await ask())).toEqual({ c: 10 });
    expect(await udp('flow', 2)).toEqual(['c', 'c']);
    expect(await peers[0].call<string>('say', { key: 'tcp', text: 'still there' })).toBe('still there');
  });

  it('refuse at once while there is no task, and serve when there is one', async () => {
    await vips.apply(viewsOf(service(vip), service(vip6)));
    await start();
    const begun = performance.now();
    expect(shares(await ask(vip, 3))).toEqual({ ECONNREFUSED: 3 });
    expect(shares(await ask(vip6, 3))).toEqual({ ECONNREFUSED: 3 });
    expect(performance.now() - begun).toBeLessThan(2_500);
    await vips.apply(viewsOf(service(vip, 1), service(vip6)));
    expect(shares(await ask(vip, 3))).toEqual({ b: 3 });
    await vips.apply(viewsOf());
    expect(table()).not.toContain('v_');
  });

  it('serve a flow that was there before them', async () => {
    expect(await udp('early', 1, 300)).toEqual(['none']);
    // One of few services, and one of many.
    const others = Array.from({ length: 20 }, (_, i) => ({ ...service(`10.77.1.${i}`, 2), name: `s${i}` }));
    await vips.apply(viewsOf(service(vip, 1), ...others));
    await start();
    expect(await udp('early')).toEqual(['b']);
    await vips.apply(viewsOf());
    expect(await udp('early', 1, 300)).toEqual(['none']);
    await vips.apply(viewsOf(service(vip, 2)));
    expect(await udp('early')).toEqual(['c']);
  });

  it('are written by what changed, and whole when others took them away', async () => {
    const other = { ...service('10.77.0.101', 1, 2), name: 'other' };
    await vips.apply(viewsOf(service(vip, 1), other));
    await start();
    // Three of four turns of the other one; a rule that is written anew would begin again.
    const first = await ask('10.77.0.101', 3);
    await vips.apply(viewsOf(service(vip, 1, 2), other));
    expect((await ask('10.77.0.101', 1))[0]).toBe(first[1]);
    spaces[0].run('nft', 'delete', 'table', 'inet', 'swarmd_vip');
    await vips.apply(viewsOf(service(vip, 2), other));
    expect(shares(await ask())).toEqual({ c: 10 });
    expect(shares(await ask('10.77.0.101'))).toEqual({ b: 5, c: 5 });
  });

  it('are taken over by the next daemon without a gap', async () => {
    await vips.apply(viewsOf(service(vip, 1)));
    await start();
    expect(await udp('flow')).toEqual(['b']);
    await vips.close();
    expect(await peers[0].call<string>('hold', { key: 'tcp', host: vip, port: 80 })).toContain('b ');
    vips = new ContainerVips({ log: silentLogger, clock: realClock, random: seededRandom(1) });
    await vips.apply(viewsOf(service(vip, 2)));
    await start();
    expect(shares(await ask())).toEqual({ c: 10 });
    expect(await udp('flow')).toEqual(['c']);
    expect(await peers[0].call<string>('say', { key: 'tcp', text: 'hello' })).toBe('hello');
  });

  it('are in containers that are on the network, and never in the machine’s own namespace', async () => {
    await vips.apply(viewsOf(service(vip, 1)));
    await vips.started('host', process.pid, ['n']);
    await vips.started('t1', peers[1].pid, []);
    await vips.started('gone', 2 ** 22 - 1, ['n']);
    await start(2);
    expect(() => table(1)).toThrow('No such file');
    expect(table(2)).toContain('v_a4d0064');
    expect(vips.problems()).toEqual([]);
  });

  it('are forgotten with their container', async () => {
    await vips.apply(viewsOf(service(vip, 1)));
    await Promise.all([start(0), start(1), start(2)]);
    await peers[2].end();
    await vips.apply(viewsOf(service(vip, 0, 1)));
    expect(vips.problems()).toEqual([]);
    expect(shares(await ask())).toEqual({ a: 5, b: 5 });
  });

  it('are written anew where somebody else has changed them, and left alone where not', async () => {
    await vips.apply(viewsOf(service(vip, 1, 2), service('10.77.0.101'), service(vip6, 1)));
    await start();
    const handles = () => spaces[0].run('nft', '-a', 'list', 'table', 'inet', 'swarmd_vip');
    // Each time, it begins with another task.
    const text = () => table().replace(/mod 2 map \{.*\}/, (map) => [...map.matchAll(/10\.77\.0\.\d/g)].sort().join());
    const right = text();
    const before = handles();
    await vips.sweep();
    expect(handles()).toBe(before);
    for (const harm of [
      'delete table inet swarmd_vip',
      'flush chain inet swarmd_vip v_a4d0064',
      'insert rule inet swarmd_vip c_output accept',
      'flush chain inet swarmd_vip c_refuse',
      'delete element inet swarmd_vip idle4 { 10.77.0.101 }',
      'add element inet swarmd_vip idle4 { 10.77.0.9 }',
      'add chain inet swarmd_vip v_1',
      'delete element inet swarmd_vip vips6 { fd66::100 : goto v_fd660000000000000000000000000100 }',
    ]) {
      spaces[0].run('nft', harm);
      await vips.sweep();
      expect([harm, text()]).toEqual([harm, right]);
    }
    expect(shares(await ask())).toEqual({ b: 5, c: 5 });
  });

  it('change in many containers, and only where they differ', async () => {
    const more = Array.from({ length: 70 }, () => lab.addContainer(spaces[2]));
    const sleepers = more.map((space) => space.spawn('sleep', ['1000']));
    const own = readlinkSync('/proc/self/ns/net');
    await expect.poll(() => sleepers.every(({ pid }) => readlinkSync(`/proc/${pid}/ns/net`) !== own)).toBe(true);
    await vips.apply(viewsOf(service(vip, 1)));
    await Promise.all(sleepers.map(({ pid }, i) => vips.started(`m${i}`, pid ?? 0, [i === 0 ? 'other' : 'n'])));
    const listed = (i: number) => more[i]!.run('nft', '-a', 'list', 'table', 'inet', 'swarmd_vip');
    const first = listed(0);
    await vips.apply(viewsOf(service(vip, 1, 2)));
    for (let i = 1; i < more.length; i++) expect([i, listed(i)]).toEqual([i, expect.stringContaining('mod 2')]);
    expect(listed(0)).toBe(first);
    sleepers[1]!.kill('SIGKILL');
    await vips.apply(viewsOf(service(vip, 2)));
    for (let i = 2; i < more.length; i++)
      expect([i, listed(i)]).toEqual([i, expect.stringContaining('dnat ip to 10.77.0.3')]);
    expect(vips.problems()).toEqual([]);
  });
});
