import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCsr, createRootCa, type Identity, signNodeCertificate } from '@swarmctl/shared/kit';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import * as state from './state-file.ts';
import { type NodeFile, writeNodeFile } from './state-file.ts';
import { Vault } from './vault.ts';

const readNode = (dataDir: string) => state.readNode(dataDir, new Vault(dataDir));
const wipeNode = (dataDir: string) => state.wipeNode(dataDir, new Vault(dataDir));
const writeIdentity = (dataDir: string, one: Identity) => state.writeIdentity(dataDir, new Vault(dataDir), one);

const now = 1_700_000_000_000;
const file: NodeFile = {
  version: 1,
  nodeId: 'node1',
  clusterId: 'cluster1',
  role: 'manager',
  listenAddr: '127.0.0.1:2377',
  advertiseAddr: '127.0.0.1:2377',
  managers: [],
  raftId: 7,
};

async function identityOf(nodeId: string): Promise<Identity> {
  const root = await createRootCa(now);
  const { csr, key } = await createCsr();
  const name = { nodeId, role: 'manager', clusterId: 'cluster1' } as const;
  return { ...name, key, certificate: await signNodeCertificate(root, csr, name, now), ca: root.certificate };
}

let identity: Identity;
let other: Identity;
let folder: string;
beforeAll(async () => {
  [identity, other] = [await identityOf('node1'), await identityOf('node2')];
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'swarmd-state-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('the state of a node', () => {
  test('is read as it was written, and private', () => {
    expect(readNode(folder)).toBeUndefined();
    writeIdentity(folder, identity);
    writeNodeFile(folder, file);
    const read = readNode(folder);
    expect(read?.file).toEqual(file);
    expect(read?.identity).toEqual({ ...identity, key: expect.stringContaining('PRIVATE KEY') });
    for (const name of ['state.json', 'identity/key.pem', 'identity/cert.pem', 'identity/ca.pem'])
      expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
  });

  test('goes as a whole', () => {
    writeIdentity(folder, identity);
    writeNodeFile(folder, file);
    wipeNode(folder);
    expect(readNode(folder)).toBeUndefined();
    expect(existsSync(join(folder, 'identity'))).toBe(false);
  });

  test.each([
    ['no JSON', () => writeFileSync(join(folder, 'state.json'), '{"version":'), 'state.json is damaged'],
    ['null', () => writeFileSync(join(folder, 'state.json'), 'null'), 'state.json is damaged'],
    ['of a newer version', () => writeFileSync(join(folder, 'state.json'), '{"version":2}'), 'reads version 1'],
    ['without an identity', () => rmSync(join(folder, 'identity'), { recursive: true }), 'the identity is missing'],
    ['with another node’s certificate', () => writeIdentity(folder, other), 'the certificate is of another node'],
    [
      'with another’s key',
      () => writeIdentity(folder, { ...identity, key: other.key }),
      'the key is not that of the certificate',
    ],
  ])('that is %s is refused', (_, damage, message) => {
    writeIdentity(folder, identity);
    writeNodeFile(folder, file);
    damage();
    expect(() => readNode(folder)).toThrow(message);
  });
});
