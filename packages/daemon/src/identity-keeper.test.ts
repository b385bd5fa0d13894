import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newCluster, newNode, signFor } from '@swarmctl/manager';
import {
  createCsr,
  createRootCa,
  crossSign,
  FrameStream,
  type Identity,
  isOfRoot,
  ManualClock,
  PortServer,
  silentLogger,
  splitPem,
  verifyNodeCertificate,
} from '@swarmctl/shared/kit';
import { type Cluster, type Draft, type Node, type NodeRole, trustedRoots } from '@swarmctl/shared/model';
import type { JoinAnswer, JoinMessage } from '@swarmctl/shared/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { aStore } from '../../../test/kit/index.ts';
import { IdentityKeeper } from './identity-keeper.ts';
import { ManagerList } from './manager-list.ts';
import { Vault } from './vault.ts';

const day = 24 * 3_600_000;
const ends: (() => unknown)[] = [];
let folder: string;
let clock: ManualClock;
let cluster: Draft<'cluster'>;
let managers: ManagerList;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'swarmd-keep-'));
  clock = new ManualClock();
  cluster = await newCluster({ clusterId: 'cluster1', spec: {}, now: clock.now() });
});
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
  rmSync(folder, { recursive: true });
});

async function identityOf(nodeId: string, role: NodeRole): Promise<Identity> {
  const { csr, key } = await createCsr();
  const signed = await signFor(cluster as Cluster, { nodeId, role }, csr, clock.now());
  return { nodeId, role, clusterId: 'cluster1', key, ...signed };
}

/** A manager that renews into the role that is asked for here. */
async function serve(role: () => NodeRole) {
  const server = await PortServer.listen(
    { host: '127.0.0.1', port: 0 },
    {
      identity: await identityOf('manager', 'manager'),
      state: () => ({ clusterId: 'cluster1', node: () => ({ role: 'worker', member: false }), behind: false }),
      accept: (_protocol, socket, peer) => {
        const frames = new FrameStream<JoinMessage, JoinAnswer>(socket);
        frames.once('message', async (message) => {
          if (message.type !== 'renew' || !peer) return frames.destroy();
          const name = { nodeId: peer.nodeId, role: role() };
          const signed = await signFor(cluster as Cluster, name, message.csr, clock.now());
          frames.send({ type: 'renewed', role: role(), revision: 0, ...signed });
          return frames.end();
        });
      },
      clock,
      log: silentLogger,
    },
  );
  ends.push(() => server.close());
  return server;
}

/** A keeper and the promise of its next identity. */
async function keep(identity: Identity, port: number, state?: ReturnType<typeof aStore>) {
  let changed: (identity: Identity) => void = () => undefined;
  managers = new ManagerList([{ nodeId: 'manager', addr: `127.0.0.1:${port}` }]);
  const keeper = new IdentityKeeper(folder, identity, {
    managers,
    vault: new Vault(folder),
    view: () => state?.view(),
    onChange: (one) => changed(one),
    clock,
    random: () => 0.5,
    log: silentLogger,
  });
  ends.push(() => keeper.stop());
  const next = () =>
    new Promise<Identity>((resolve) => {
      changed = resolve;
    });
  return { keeper, next };
}

/** Lets time go by until it is settled; what it waits for meanwhile is real. */
async function passTime(pending: Promise<unknown>): Promise<void> {
  let settled = false;
  const settle = () => {
    settled = true;
  };
  pending.then(settle, settle);
  while (!settled) await clock.advance(10);
}

describe('the keeper of an identity', () => {
  test('renews in the middle of the certificate’s life, again and again', async () => {
    const server = await serve(() => 'worker');
    const identity = await identityOf('node1', 'worker');
    const { keeper, next } = await keep(identity, server.port);
    keeper.start();
    for (let round = 1; round <= 2; round++) {
      const { current } = keeper;
      await clock.advance(0.6 * 90 * day);
      expect(keeper.current).toBe(current);
      const renewed = next();
      await clock.advance(0.05 * 90 * day);
      const { certificate, key, ca } = await renewed;
      expect(key).not.toBe(current.key);
      expect(verifyNodeCertificate(certificate, ca, clock.now())).toMatchObject({ nodeId: 'node1', role: 'worker' });
      server.renew(await identityOf('manager', 'manager'));
    }
  });

  test('takes the role that the managers give', async () => {
    const server = await serve(() => 'manager');
    const { keeper } = await keep(await identityOf('node1', 'worker'), server.port);
    expect(await keeper.renew()).toMatchObject({ nodeId: 'node1', role: 'manager' });
    expect(keeper.current.role).toBe('manager');
  });

  test('renews at once when another root signs, then trusts that one alone; what is older than that is not listened to', async () => {
    const server = await serve(() => 'worker');
    const old = cluster.RootCA;
    const { keeper, next } = await keep(await identityOf('node1', 'worker'), server.port);
    keeper.follow(old.Certificate, 4);
    expect(keeper.current.ca).toBe(old.Certificate);
    const root = await createRootCa(clock.now());
    const CrossSigned = await crossSign({ certificate: old.Certificate, key: old.Key }, root.certificate);
    const RootCA = { ...old, Rotation: { Certificate: root.certificate, Key: root.key, CrossSigned } };
    cluster = { ...cluster, RootCA };

    const renewed = next();
    keeper.follow(trustedRoots(RootCA), 5);
    await passTime(renewed);
    const during = await renewed;
    expect(splitPem(during.ca)).toEqual([old.Certificate, root.certificate]);
    expect(isOfRoot(during.certificate, root.certificate)).toBe(true);
    // Those that have not heard of it yet believe us as well.
    expect(verifyNodeCertificate(during.certificate, old.Certificate, clock.now())).toMatchObject({ nodeId: 'node1' });

    const settled = next();
    keeper.follow(root.certificate, 6);
    expect(await settled).toMatchObject({ key: during.key, ca: root.certificate });
    expect(splitPem(keeper.current.certificate)).toHaveLength(1);
    keeper.follow(trustedRoots(RootCA), 5);
    expect(keeper.current.ca).toBe(root.certificate);
  });

  test('the end of a rotation that is heard of during a renewal outlasts its answer', async () => {
    const old = cluster.RootCA;
    const root = await createRootCa(clock.now());
    const CrossSigned = await crossSign({ certificate: old.Certificate, key: old.Key }, root.certificate);
    const RootCA = { ...old, Rotation: { Certificate: root.certificate, Key: root.key, CrossSigned } };
    cluster = { ...cluster, RootCA };
    const server = await serve(() => {
      keeper.follow(root.certificate, 6);
      return 'worker';
    });
    const { keeper } = await keep(await identityOf('node1', 'worker'), server.port);
    keeper.follow(trustedRoots(RootCA), 5);
    const { key } = keeper.current;
    await keeper.renew();
    expect(keeper.current.key).not.toBe(key);
    expect(keeper.current.ca).toBe(root.certificate);
  });

  test('asks again and again for a certificate of the signer while no manager can be reached', async () => {
    const identity = await identityOf('node1', 'worker');
    const { keeper, next } = await keep(identity, 1);
    const old = cluster.RootCA;
    const root = await createRootCa(clock.now());
    const CrossSigned = await crossSign({ certificate: old.Certificate, key: old.Key }, root.certificate);
    const RootCA = { ...old, Rotation: { Certificate: root.certificate, Key: root.key, CrossSigned } };
    keeper.follow(trustedRoots(RootCA), 5);
    const renewed = next();
    await clock.advance(20_000);
    expect(keeper.current).toBe(identity);
    cluster = { ...cluster, RootCA };
    const server = await serve(() => 'worker');
    managers.update([{ nodeId: 'manager', addr: `127.0.0.1:${server.port}` }]);
    await passTime(renewed);
    expect(isOfRoot((await renewed).certificate, root.certificate)).toBe(true);
  });

  test('a manager whose certificate has expired signs its own when nobody answers', async () => {
    const node = newNode({
      nodeId: 'node1',
      role: 'manager',
      availability: 'active',
      hostname: 'one',
      addr: '127.0.0.1',
      raft: { id: 1, addr: '127.0.0.1:1' },
    });
    const store = aStore({ cluster: cluster as Cluster, nodes: [node as Node] });
    const { keeper } = await keep(await identityOf('node1', 'manager'), 1, store);
    const early = keeper.renew();
    await passTime(early);
    await expect(early).rejects.toThrow('connection refused');
    await clock.advance(91 * day);
    const late = keeper.renew();
    await passTime(late);
    const { certificate, ca } = await late;
    expect(verifyNodeCertificate(certificate, ca, clock.now())).toMatchObject({ nodeId: 'node1', role: 'manager' });
  });
});
