import { createRootCa, tlsInfoOf } from '@swarmctl/shared/kit';
import { expect, test } from 'vitest';
import { aNode } from '../../../../test/kit/index.ts';
import { progressOf } from './swarm-ca.ts';

const now = 1_800_000_000_000;
const [old, next] = [(await createRootCa(now)).certificate, (await createRootCa(now)).certificate];
const node = (trusted: string, signer: string) => {
  const { Description } = aNode({ id: 'n' });
  return { Description: { ...Description, TLSInfo: tlsInfoOf(trusted, signer) } } as Parameters<
    typeof progressOf
  >[1][number];
};
const swarm = (trusted: string, RootRotationInProgress: boolean) => ({
  TLSInfo: tlsInfoOf(trusted, next) as Parameters<typeof progressOf>[0]['TLSInfo'],
  RootRotationInProgress,
});

test.each([
  ['at its start', swarm(old, true), [node(old, old), node(old, old)], '0/2', '0/2', false],
  ['with some renewed', swarm(old, true), [node(old, next), node(old, old)], '1/2', '0/2', false],
  ['with all renewed', swarm(old, true), [node(old, next), node(old, next)], '2/2', '0/2', false],
  ['when the root is the next', swarm(next, false), [node(next, next), node(old, next)], '2/2', '1/2', false],
  ['when all trust it', swarm(next, false), [node(next, next), node(next, next)], '2/2', '2/2', true],
  [
    'with a node that has said nothing',
    swarm(next, false),
    [node(next, next), aNode({ id: 'n' })],
    '1/2',
    '0/2',
    false,
  ],
])('a rotation %s', (_, seen, nodes, certificates, roots, done) => {
  const progress = progressOf(seen, nodes);
  expect(progress.text).toMatch(/^desired root digest: sha256:[0-9a-f]{64}\n/);
  expect(progress.text).toContain(`rotated TLS certificates: ${certificates} nodes\n`);
  expect(progress.text).toContain(`rotated CA certificates: ${roots} nodes\n`);
  expect(progress.done).toBe(done);
});
