import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { caDigest, createRootCa, isOfRoot, splitPem } from '@swarmctl/shared/kit';
import type { Node } from '@swarmctl/shared/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { NodeHandle } from '../kit/cluster.ts';
import { World } from './world.ts';

// The cluster's root certificate is rotated on separate processes: with a worker away, the leader killed in the middle, and a service that answers all
// along.

interface Swarm {
  readonly TLSInfo: { readonly TrustRoot: string };
  readonly JoinTokens: { readonly Worker: string };
  readonly RootRotationInProgress: boolean;
}

const port = 8_080;
let world: World;
let w1: NodeHandle;
let spare: NodeHandle;

const identityOf = (node: NodeHandle) => ({
  certificate: readFileSync(join(node.folder, 'identity', 'cert.pem'), 'utf8'),
  ca: readFileSync(join(node.folder, 'identity', 'ca.pem'), 'utf8'),
});
const swarm = async () => (await world.cluster.anyManager()).api.get<Swarm>('/swarm');

async function settled(what: string): Promise<Swarm> {
  await world.cluster.eventually(what, async () => !(await swarm()).RootRotationInProgress);
  const now = await swarm();
  await world.cluster.eventually('all nodes show the new root', async () => {
    const nodes = await (await world.cluster.anyManager()).api.get<Node[]>('/nodes');
    return nodes.every(({ Description }) => Description?.TLSInfo?.TrustRoot === now.TLSInfo.TrustRoot);
  });
  return now;
}

beforeAll(async () => {
  world = await World.make('process', { managers: 3, workers: 2 });
  [w1, spare] = world.cluster.workers as [NodeHandle, NodeHandle];
  // It joins anew later.
  const m1 = world.cluster.nodes[0] as NodeHandle;
  await world.cluster.ctl(spare, 'swarm', 'leave');
  await world.cluster.eventually('it is down', async () =>
    (await world.cluster.ctl(m1, 'node', 'ls')).split('\n').some((line) => /\bw2\b.*Down/.test(line)),
  );
  await world.cluster.ctl(m1, 'node', 'rm', 'w2');
  await world.cluster.ctl(m1, ...world.web({ name: 'web', replicas: 3, port }));
}, 60_000);
afterAll(() => world?.stop());

describe('rotation of the root certificate', () => {
  test('goes on past a worker that is away and a leader that is killed; old tokens are refused then', async () => {
    const { cluster } = world;
    const before = await swarm();
    const leader = await cluster.leader();
    const first = cluster.managers.find((node) => node !== leader) as NodeHandle;
    const load = world.load(first.addr, port, { rate: 20 });
    await cluster.kill(w1);
    expect(await cluster.ctl(leader, 'swarm', 'ca', '--rotate', '--detach')).toBe('');

    await cluster.eventually('the managers have new certificates', () =>
      cluster.managers.every((node) => {
        const { certificate, ca } = identityOf(node);
        return splitPem(ca).length === 2 && isOfRoot(certificate, splitPem(ca)[1] as string);
      }),
    );
    const during = await swarm();
    expect(during).toMatchObject({ RootRotationInProgress: true, TLSInfo: { TrustRoot: before.TLSInfo.TrustRoot } });
    expect(during.JoinTokens).toEqual(before.JoinTokens);

    await cluster.kill(leader);
    await cluster.leader();
    expect((await swarm()).RootRotationInProgress).toBe(true);
    await cluster.startNode(leader);
    await cluster.startNode(w1);

    const after = await settled('the rotation ends once the worker is back');
    expect(after.TLSInfo.TrustRoot).not.toBe(before.TLSInfo.TrustRoot);
    for (const node of [...cluster.managers, w1]) {
      const { certificate, ca } = identityOf(node);
      expect(ca).toBe(after.TLSInfo.TrustRoot);
      expect(splitPem(certificate)).toHaveLength(1);
      expect(isOfRoot(certificate, ca)).toBe(true);
    }
    expect((await cluster.ctl(first, 'swarm', 'ca')).trim()).toBe(after.TLSInfo.TrustRoot.trim());

    const join = ['swarm', 'join', '--advertise-addr', spare.addr, `${first.addr}:2377`, '--token'];
    const refused = await cluster.tryCtl(spare, ...join, before.JoinTokens.Worker);
    expect(refused.code).toBe(1);
    expect(refused.err).toContain(
      `remote CA does not match fingerprint. Expected: ${caDigest(before.TLSInfo.TrustRoot)}`,
    );
    await cluster.ctl(spare, ...join, after.JoinTokens.Worker);

    const { ok, failures } = await load.stop();
    expect(ok).toBeGreaterThan(20);
    expect(failures).toEqual([]);
  });

  test('to a root of one’s own, which is checked; everyone follows while they are watched', async () => {
    const { cluster } = world;
    const [, m2] = cluster.managers as [NodeHandle, NodeHandle];
    const own = await createRootCa(Date.now());
    const other = await createRootCa(Date.now());
    const file = (name: string, text: string) => {
      const path = join(cluster.folder, name);
      writeFileSync(path, text);
      return path;
    };
    const [cert, key, wrong] = [file('ca.crt', own.certificate), file('ca.key', own.key), file('wrong.key', other.key)];
    const mismatch = await cluster.tryCtl(m2, 'swarm', 'ca', '--rotate', '--ca-cert', cert, '--ca-key', wrong);
    expect(mismatch).toMatchObject({ code: 1, err: expect.stringContaining('certificate key mismatch') });

    const out = await cluster.ctl(
      m2,
      'swarm',
      'ca',
      '--rotate',
      '--ca-cert',
      cert,
      '--ca-key',
      key,
      '--cert-expiry',
      '48h',
    );
    expect(out).toContain('rotated CA certificates: 5/5 nodes');
    expect(out.endsWith(own.certificate)).toBe(true);
    for (const node of cluster.nodes) {
      const leaf = new X509Certificate(identityOf(node).certificate);
      expect(isOfRoot([leaf], own.certificate)).toBe(true);
      expect(Date.parse(leaf.validTo) - Date.parse(leaf.validFrom)).toBe(49 * 3_600_000);
    }
    await cluster.eventually('all are ready', async () =>
      (await m2.api.get<Node[]>('/nodes')).every(({ Status }) => Status.State === 'ready'),
    );
    expect(JSON.stringify(await m2.api.get('/swarm'))).not.toContain('PRIVATE');
  });
});
