import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type NetnsLab, type NetnsPeer, noNetns, openNetnsLab, startPeer } from '../../../../test/kit/netns.ts';

// Which ingress a node gets: with and without privileges, and after another one.

const why = noNetns('nft', 'setpriv');
const nobody = 65_534;

describe.skipIf(why)(`createIngress${why ? ` (skipped: ${why} is missing)` : ''}`, () => {
  let lab: NetnsLab;
  let root: NetnsPeer;
  let other: NetnsPeer;

  beforeAll(async () => {
    lab = openNetnsLab(1);
    const space = lab.spaces[0]!;
    [root, other] = await Promise.all([
      startPeer(space, { ingress: true }),
      startPeer(space, { ingress: true, uid: nobody }),
    ]);
  });
  afterAll(() => lab?.close());

  const create = (peer: NetnsPeer, kind: string, ingressAddrs: string[] = []) =>
    peer.call<string>('ingress', { kind, options: { nodeId: 'node1', ingressAddrs, advertiseAddr: '10.77.0.1' } });
  const tables = () => lab.spaces[0]!.run('nft', 'list', 'tables');

  it('is the kernel’s for root', async () => {
    expect(await create(root, 'auto')).toBe('nftables');
    expect(tables()).toBe('table inet swarmd_node1\n');
    await root.call('shut', { nodeId: 'node1' });
    expect(tables()).toBe('');
  });

  it.each(['proxy', 'off', 'auto'])('removes what the kernel’s left when it is %s now', async (kind) => {
    await create(root, 'nftables');
    await root.call('shut', { nodeId: 'node1', keep: true });
    expect(tables()).toBe('table inet swarmd_node1\n');
    // An address that the kernel's cannot have makes `auto` the proxy.
    expect(await create(root, kind, ['::1'])).toBe(kind === 'off' ? 'off' : 'proxy');
    expect(tables()).toBe('');
    await root.call('shut', { nodeId: 'node1' });
  });

  it('is the proxy without privileges, which says what low ports need', async () => {
    expect(await create(other, 'auto')).toBe('proxy');
    const entry = (publishedPort: number) => ({
      ...{
        key: `tcp/${publishedPort}`,
        serviceId: 's',
        serviceName: 'web',
        protocol: 'tcp',
        publishedPort,
        targetPort: 80,
      },
      backends: [
        {
          ...{ taskId: 't', nodeId: 'node1', protocol: 'tcp', targetPort: 80, localAddr: '10.77.0.1', localPort: 9000 },
          ...{ nodeAddr: '10.77.0.1', nodePort: 9000 },
        },
      ],
    });
    await root.call('listen', { host: '10.77.0.1', port: 9000, name: 'web' });
    await other.call('apply', { nodeId: 'node1', entries: [entry(80), entry(8080)] });
    const problems = await other.call<Record<string, string>>('problems', { nodeId: 'node1' });
    expect(problems['tcp/8080']).toMatch(/^clients are masqueraded/);
    expect(problems['tcp/80']).toMatch(/this user may not listen on .*:80: run swarmd as root/);
    expect(await root.call('ask', { host: '127.0.0.1', port: 8080 })).toEqual(['web 10.77.0.1']);
  });

  it('says why the kernel’s cannot be had when it was asked for', async () => {
    await expect(create(other, 'nftables')).rejects.toThrow(
      'the nftables ingress cannot be used: swarmd does not run as root; --ingress proxy needs no privileges',
    );
    await expect(create(root, 'nftables', ['::1'])).rejects.toThrow(
      'the nftables ingress cannot be used: nothing routes between ::1 and other addresses',
    );
  });
});
