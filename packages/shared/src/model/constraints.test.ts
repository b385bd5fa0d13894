import { describe, expect, it } from 'vitest';
import { nodeMeets, parseConstraint, parseConstraints } from './constraints.ts';
import type { Node } from './objects.ts';

const node: Pick<Node, 'ID' | 'Spec' | 'Description' | 'Status'> = {
  ID: 'abc123',
  Spec: { Role: 'manager', Availability: 'active', Labels: { zone: 'East', Empty: '' } },
  Description: {
    Hostname: 'Alpha',
    Platform: { OS: 'linux', Architecture: 'x86_64' },
    Resources: {},
    Engine: { Labels: { 'com.example.disk': 'ssd' } },
    Runtimes: ['docker'],
    RuntimeReady: true,
  },
  Status: { State: 'ready', Addr: '10.1.2.3' },
};

describe('reading', () => {
  it.each([
    ['node.role==manager', { key: 'node.role', operator: '==', value: 'manager' }],
    ['  node.labels.a  !=  b c ', { key: 'node.labels.a', operator: '!=', value: 'b c' }],
    ['node.bogus==1', { key: 'node.bogus', operator: '==', value: '1' }],
  ])('%s', (text, constraint) => expect(parseConstraint(text)).toEqual(constraint));

  it.each([
    ['garbage', 'constraint expected one operator from ==, !='],
    ['node.role=manager', 'constraint expected one operator from ==, !='],
    ['', 'constraint expected one operator from ==, !='],
    ['==x', "key '' is invalid"],
    ['node role==x', "key 'node role' is invalid"],
    ['node.role==', "value '' is invalid"],
    ['node.role==a!=b', "value 'a!=b' is invalid"],
    ['node.role==a>b', "value 'a>b' is invalid"],
  ])('refuses %s', (text, message) => {
    expect(() => parseConstraint(text)).toThrow(
      expect.objectContaining({ code: 'unknown', message: `rpc error: code = Unknown desc = ${message}` }),
    );
  });
});

describe('matching', () => {
  it.each([
    ['node.id==ABC123', true],
    ['node.id!=abc123', false],
    ['NODE.Hostname==alpha', true],
    ['node.hostname!=beta', true],
    ['node.role==manager', true],
    ['node.role==worker', false],
    ['node.platform.os==Linux', true],
    ['node.platform.arch==amd64', true],
    ['node.platform.arch==x86_64', true],
    ['node.platform.arch!=amd64', false],
    ['node.platform.arch==arm64', false],
    ['node.labels.zone==east', true],
    ['node.labels.Zone==east', false],
    ['node.labels.zone!=west', true],
    ['node.labels.nosuch!=x', true],
    ['node.labels.nosuch==x', false],
    ['node.labels.toString!=x', true],
    ['engine.labels.com.example.disk==SSD', true],
    ['engine.labels.com.example.disk!=ssd', false],
    ['node.ip==10.1.2.3', true],
    ['node.ip==10.1.2.4', false],
    ['node.ip!=10.1.2.4', true],
    ['node.ip==10.1.0.0/16', true],
    ['node.ip!=10.1.0.0/16', false],
    ['node.ip==10.2.0.0/16', false],
    ['node.ip==fd00::/8', false],
    ['node.ip!=fd00::/8', true],
    ['node.ip==10.1.0.0/99', false],
    ['node.ip!=nonsense', false],
    ['node.bogus==1', false],
    ['node.bogus!=1', false],
    ['node.labels.==1', false],
  ])('%s: %s', (text, expected) => expect(nodeMeets(node, parseConstraints([text]))).toBe(expected));

  it('asks for all of them', () => {
    expect(nodeMeets(node, parseConstraints(['node.role==manager', 'node.labels.zone==east']))).toBe(true);
    expect(nodeMeets(node, parseConstraints(['node.role==manager', 'node.labels.zone==west']))).toBe(false);
    expect(nodeMeets(node, parseConstraints(undefined))).toBe(true);
  });

  it.each([
    ['node.hostname==alpha', false],
    ['node.hostname!=alpha', true],
    ['node.platform.os==linux', false],
    ['engine.labels.a!=b', true],
  ])('a node that has not reported yet: %s: %s', (text, expected) => {
    const { Description, ...silent } = node;
    expect(nodeMeets(silent, parseConstraints([text]))).toBe(expected);
  });

  it.each([
    ['fd00::5', 'node.ip==fd00::/8', true],
    ['[fd00::5]:2377', 'node.ip==fd00::5', true],
    ['10.0.0.9:2377', 'node.ip==10.0.0.0/24', true],
    ['', 'node.ip==10.0.0.0/24', false],
    ['', 'node.ip!=10.0.0.0/24', true],
  ])('the address %s: %s: %s', (Addr, text, expected) => {
    expect(nodeMeets({ ...node, Status: { State: 'ready', Addr } }, parseConstraints([text]))).toBe(expected);
  });
});
