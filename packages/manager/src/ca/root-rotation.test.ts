import { generateKeyPairSync } from 'node:crypto';
import { createCsr, createRootCa, isOfRoot, isSameKey, splitPem, verifyNodeCertificate } from '@swarmctl/shared/kit';
import type { Cluster } from '@swarmctl/shared/model';
import { beforeAll, describe, expect, test } from 'vitest';
import { builtAt } from '../../../../test/kit/index.ts';
import { signFor } from './certify.ts';
import { newCluster } from './new-cluster.ts';
import { wantedRootCa } from './root-rotation.ts';

let cluster: Cluster;
let root: Cluster['RootCA'];
const rsaKey = generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey.export({
  type: 'pkcs8',
  format: 'pem',
}) as string;
const [own, other] = [await createRootCa(builtAt), await createRootCa(builtAt)];

beforeAll(async () => {
  cluster = (await newCluster({ clusterId: 'cluster1', spec: {}, now: builtAt })) as Cluster;
  root = cluster.RootCA;
});

const wanted = (config: Parameters<typeof wantedRootCa>[1], from = root) => wantedRootCa(from, config, builtAt);
const brought = (pair = own) => ({ SigningCACert: pair.certificate, SigningCAKey: pair.key });

test('a key of another kind is another', async () => {
  expect(isSameKey(rsaKey, own.key)).toBe(false);
  // Nothing is left behind that would fail here.
  expect((await wanted({ ForceRotate: 1 })).Rotation).toBeDefined();
});

describe('what the spec wants of the root', () => {
  test('nothing: it stays the very same', async () => {
    expect(await wanted({})).toBe(root);
    expect(await wanted({ ForceRotate: 0 })).toBe(root);
    expect(await wanted({ ForceRotate: 3 }, { ...root, LastForcedRotation: 3 })).toEqual({
      ...root,
      LastForcedRotation: 3,
    });
  });

  test('another: a new one is on its way, and the present one stays until the end', async () => {
    const { Rotation, LastForcedRotation, ...rest } = await wanted({ ForceRotate: 1 });
    expect(rest).toEqual(root);
    expect(LastForcedRotation).toBe(1);
    if (!Rotation) throw new Error('no rotation');
    expect(isOfRoot(Rotation.CrossSigned, root.Certificate)).toBe(true);
    expect(isOfRoot(Rotation.Certificate, Rotation.Certificate)).toBe(true);
  });

  test('one that is brought', async () => {
    const { Rotation } = await wanted(brought());
    expect(Rotation).toMatchObject({ Certificate: own.certificate });
    expect(isSameKey(Rotation?.Key ?? '', own.key)).toBe(true);
  });

  test('while one is on its way: the same changes nothing, another takes its place, the present one takes it back', async () => {
    const going = await wanted(brought());
    expect(await wanted(brought(), going)).toBe(going);
    const instead = await wanted(brought(other), going);
    expect(instead.Rotation?.Certificate).toBe(other.certificate);
    // Signed by the root that all trust, not by the one that never came to be it.
    expect(isOfRoot(instead.Rotation?.CrossSigned ?? '', root.Certificate)).toBe(true);
    const back = await wanted(brought({ certificate: root.Certificate, key: root.Key }), going);
    expect(back).toEqual(root);
  });

  test.each<[string, () => Parameters<typeof wantedRootCa>[1], string]>([
    ['a key alone', () => ({ SigningCAKey: own.key }), 'the signing CA cert must also be provided'],
    [
      'a certificate alone',
      () => ({ SigningCACert: own.certificate }),
      'external CA corresponding to the desired CA certificate',
    ],
    ['a key that is not its own', () => ({ ...brought(), SigningCAKey: other.key }), 'certificate key mismatch'],
    ['a key of another kind', () => ({ ...brought(), SigningCAKey: rsaKey }), 'certificate key mismatch'],
    [
      'two certificates',
      () => ({ ...brought(), SigningCACert: own.certificate + other.certificate }),
      'multiple certificates',
    ],
  ])('%s is refused', async (_, config, message) => {
    await expect(wanted(config())).rejects.toMatchObject({
      code: 'invalid-argument',
      message: expect.stringContaining(message),
    });
  });

  test('another certificate with the present key is refused', async () => {
    const from = { ...root, Certificate: other.certificate, Key: own.key };
    await expect(wanted(brought(), from)).rejects.toThrow('identical key');
  });
});

test('from its start on, the next root signs; whoever trusts the present one alone trusts it as well', async () => {
  const going: Cluster = { ...cluster, RootCA: await wanted(brought()) };
  const { csr } = await createCsr();
  const { certificate, ca } = await signFor(going, { nodeId: 'n1', role: 'worker' }, csr, builtAt);
  expect(splitPem(ca)).toEqual([root.Certificate, own.certificate]);
  expect(isOfRoot(certificate, own.certificate)).toBe(true);
  for (const roots of [root.Certificate, own.certificate])
    expect(verifyNodeCertificate(certificate, roots, builtAt)).toMatchObject({ nodeId: 'n1' });
});
