import { describe, expect, test } from 'vitest';
import type { Protocol2377 } from '../wire/index.ts';
import { type AuthorityState, authorise, type KnownNode } from './authorise.ts';
import type { PeerCertificate } from './pki-verify.ts';

const peer = (nodeId: string, role: 'worker' | 'manager' = 'worker', clusterId = 'c'): PeerCertificate => ({
  nodeId,
  role,
  clusterId,
  notBefore: 0,
  notAfter: 1,
});

const nodes: Record<string, KnownNode> = {
  worker: { role: 'worker', member: false },
  manager: { role: 'manager', member: true },
  promoted: { role: 'manager', member: false },
  demoted: { role: 'worker', member: true },
};
const state = (behind = false): AuthorityState => ({ clusterId: 'c', node: (id) => nodes[id], behind });

const protocols: Protocol2377[] = ['raft', 'dispatch', 'join', 'api', 'engine'];

describe('authorise', () => {
  test.each([
    ['nobody', undefined, 'join'],
    ['a worker', peer('worker'), 'dispatch join engine'],
    ['a worker that still has its certificate of a manager', peer('worker', 'manager'), 'raft dispatch join engine'],
    ['a manager', peer('manager', 'manager'), 'raft dispatch join api engine'],
    ['a new manager that still has its certificate of a worker', peer('promoted'), 'raft dispatch join api engine'],
    ['a demoted manager that the group has not let go', peer('demoted', 'manager'), 'raft dispatch join engine'],
    ['a node that was removed', peer('gone', 'manager'), ''],
    ['a node of another cluster', peer('manager', 'manager', 'other'), ''],
  ])('lets %s speak only what it may', (_, one, allowed) => {
    expect(protocols.filter((protocol) => !authorise(protocol, one, state())).join(' ')).toBe(allowed);
  });

  test.each([
    ['an unknown manager', peer('new', 'manager'), 'raft dispatch join engine'],
    ['an unknown worker', peer('new'), 'dispatch join engine'],
    ['a node of another cluster', peer('new', 'manager', 'other'), ''],
  ])('a manager that is behind lets %s speak', (_, one, allowed) => {
    expect(protocols.filter((protocol) => !authorise(protocol, one, state(true))).join(' ')).toBe(allowed);
  });
});
