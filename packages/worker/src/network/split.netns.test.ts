import type { IngressEntry } from '@swarmctl/shared/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Netns,
  type NetnsLab,
  type NetnsPeer,
  noNetns,
  openNetnsLab,
  startPeer,
} from '../../../../test/kit/netns.ts';

// The proxy beside the kernel's ingress, on a real kernel: two nodes, a client on a third machine.

const why = noNetns('nft');

describe.skipIf(why)(`SplitIngress${why ? ` (skipped: ${why} is missing)` : ''}`, () => {
  let lab: NetnsLab;
  let [node, far, client]: Netns[] = [];
  let ingress: NetnsPeer;
  let asker: NetnsPeer;

  beforeAll(async () => {
    lab = openNetnsLab(3);
    [node, far, client] = lab.spaces;
    let backends: NetnsPeer;
    [ingress, backends, asker] = await Promise.all([
      startPeer(node!, { ingress: true }),
      startPeer(far!),
      startPeer(client!),
    ]);
    await backends.call('listen', { host: '10.77.0.2', port: 9000, name: 'a' });
    await backends.call('listenUdp', { host: '10.77.0.2', port: 9000, name: 'a' });
    const options = { nodeId: 'node1', ingressAddrs: [], advertiseAddr: '10.77.0.1' };
    expect(await ingress.call('ingress', { options })).toBe('nftables');
  });
  afterAll(() => lab?.close());

  /** Published on the one node, with its task on the other. */
  const entry = (more: Partial<IngressEntry> = {}, protocol: 'tcp' | 'udp' = 'tcp'): IngressEntry => ({
    ...{ key: `${protocol}/8080`, serviceId: 's', serviceName: 'web', protocol, publishedPort: 8080, targetPort: 80 },
    backends: [
      {
        ...{ taskId: 't', nodeId: 'node2', protocol, targetPort: 80, localAddr: '172.17.0.2', localPort: 80 },
        ...{ nodeAddr: '10.77.0.2', nodePort: 9000 },
      },
    ],
    ...more,
  });
  const apply = (...entries: IngressEntry[]) => ingress.call('apply', { nodeId: 'node1', entries });
  const problems = () => ingress.call<Record<string, string>>('problems', { nodeId: 'node1' });
  const ask = async (host = '10.77.0.1', from = asker) => (await from.call<string[]>('ask', { host, port: 8080 }))[0];
  /** In hexadecimal, with the port that the client had: what the task gets, as its echo after its greeting. */
  const received = (space: Netns, host: string) =>
    JSON.parse(
      space.run(
        process.execPath,
        '-e',
        `let all = ''; const s = require('net').connect(8080, '${host}');
         s.on('data', (d) => { all += d.toString('latin1'); const got = all.slice(all.indexOf('\\n') + 1);
           if (got.length < 28) return;
           console.log(JSON.stringify({ port: s.localPort, bytes: Buffer.from(got, 'latin1').toString('hex') })); s.destroy(); })`,
      ),
    ) as { port: number; bytes: string };
  const hex = (value: number) => value.toString(16).padStart(4, '0');
  const signature = '0d0a0d0a000d0a515549540a';

  it('sends the header with the real client to a task on another node', async () => {
    await apply(entry({ clientAddress: 'proxy-v2' }));
    const { port, bytes } = received(client!, '10.77.0.1');
    expect(bytes).toBe(`${signature}2111000c${'0a4d0003'}${'0a4d0001'}${hex(port)}${hex(8080)}`);
    expect(await problems()).toEqual({});
  });

  it('says so by IPv6 as well', async () => {
    await apply(entry({ clientAddress: 'proxy-v2' }));
    const { bytes } = received(client!, 'fd77::1');
    const of = (last: number) => `fd77${'0'.repeat(24)}${hex(last)}`;
    expect(bytes.slice(0, 96)).toBe(`${signature}21210024${of(3)}${of(1)}`);
  });

  it('says where the address is lost', async () => {
    await apply(entry({ proxy: { balance: 'least-connections' } }), entry({ proxy: { idleMs: 5_000 } }, 'udp'));
    expect(await ask()).toBe('a 10.77.0.1');
    expect(await asker.call('udp', { key: 'u', host: '10.77.0.1', port: 8080 })).toEqual(['a 10.77.0.1']);
    expect(await problems()).toEqual({
      'tcp/8080':
        'clients are masqueraded: the proxy answers here; swarmctl.ingress.client-address=proxy-v2 tells tasks who they are',
      'udp/8080': 'clients are masqueraded: the proxy answers here',
    });
    await apply(entry({ proxy: { balance: 'least-connections' }, clientAddress: 'masquerade' }));
    expect(await problems()).toEqual({});
  });

  it('refuses nobody while a port changes hands', async () => {
    await apply(entry());
    await asker.call('load', { host: '10.77.0.1', port: 8080 });
    const table = () => node!.run('nft', 'list', 'table', 'inet', 'swarmd_node1');
    for (let i = 0; i < 5; i++) {
      await apply(entry({ proxy: { idleMs: 5_000 } }));
      expect(table()).not.toContain('s_tcp_8080');
      await apply(entry());
      expect(table()).toContain('s_tcp_8080');
    }
    const counts = await asker.call<Record<string, number>>('halt');
    expect(Object.keys(counts)).toEqual(['a']);
    expect(counts['a']).toBeGreaterThan(50);
  });

  it('answers clients of IPv6 on the kernel’s ports, too, where no task has such an address', async () => {
    await apply(entry(), entry({}, 'udp'));
    expect(await ask('::1', ingress)).toBe('a 10.77.0.1');
    expect(await ask('fd77::1')).toBe('a 10.77.0.1');
    expect(await ingress.call('udp', { key: 'v6', host: '::1', port: 8080 })).toEqual(['a 10.77.0.1']);
    await apply();
    expect([await ask('::1', ingress), await ask('fd77::1')]).toEqual(['ECONNREFUSED', 'ECONNREFUSED']);
  });

  it('lets in the same clients, whoever answers', async () => {
    const allow = ['10.77.0.3/32', 'fd77::3/128'];
    for (const more of [{}, { proxy: { idleMs: 5_000 } }]) {
      await apply(entry({ allow, ...more }));
      expect([await ask(), await ask('fd77::1')]).toEqual(['a 10.77.0.1', 'a 10.77.0.1']);
      for (const host of ['10.77.0.1', 'fd77::1', '::1'])
        expect(await ask(host, ingress)).toMatch(/^ECONN(REFUSED|RESET)$/);
    }
  });

  it('answers on an address alone, whoever answers', async () => {
    node!.run('ip', 'addr', 'add', '10.77.0.101/24', 'dev', 'eth0');
    for (const more of [{}, { proxy: { idleMs: 5_000 } }]) {
      await apply(entry({ key: 'tcp/8080@10.77.0.101', address: '10.77.0.101', ...more }));
      expect([await ask('10.77.0.101'), await ask(), await ask('fd77::1')]).toEqual([
        ...['a 10.77.0.1', 'ECONNREFUSED', 'ECONNREFUSED'],
      ]);
    }
  });

  it('leaves a port to a program that has it', async () => {
    await apply();
    await ingress.call('listen', { host: '0.0.0.0', port: 8080, name: 'other' });
    await apply(entry());
    expect((await problems())['tcp/8080']).toMatch(/another program listens on 0.0.0.0:8080/);
    expect(await ask()).toBe('other 10.77.0.3');
  });
});
