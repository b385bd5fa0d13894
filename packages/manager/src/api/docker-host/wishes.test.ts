import { expect, test } from 'vitest';
import { aNode } from '../../../../../test/kit/builders.ts';
import { hardOf, wishesOf } from './wishes.ts';

const place = (name: string, Labels: Record<string, string> = {}) => ({
  node: aNode({ id: 'n1', hostname: 'host-n1' }),
  row: { Id: 'a'.repeat(64), Names: [`/${name}`], Created: 1, State: 'running', Labels },
});

test('constraints and affinities come from the environment and from labels, in old words and new', () => {
  const Env = [
    'A=b',
    'constraint:node==east-1',
    'constraint:storage != ssd',
    'constraint:node.labels.zone==east',
    'affinity:container==/db',
    'affinity:container != web-1',
  ];
  const Labels = {
    'swarmctl.constraints': 'node.role==worker, engine.labels.a==b',
    'com.docker.swarm.constraints': '["region==north"]',
    'com.docker.swarm.affinities': '["container==cache"]',
  };
  const { constraints, nodes, containers } = wishesOf({ Env, Labels });
  expect(constraints).toEqual([
    ...['node.hostname==east-1', 'engine.labels.storage != ssd', 'node.labels.zone==east'],
    ...['engine.labels.region==north', 'node.role==worker', 'engine.labels.a==b'],
  ]);
  expect(nodes).toEqual([]);
  expect(
    containers.map(({ isBeside, isMeant }) => [isBeside, ['db', 'web-1', 'cache'].map((one) => isMeant(place(one)))]),
  ).toEqual([
    [true, [true, false, false]],
    [false, [false, true, false]],
    [true, [false, false, true]],
  ]);
  expect(wishesOf({ Env: null, Labels: null })).toEqual({ constraints: [], nodes: [], containers: [] });
});

test.each([
  ['node==east-*', 'east-1', true],
  ['node!=east-*', 'east-1', false],
  ['node==/^(?:east|west)-[12]$/', 'WEST-2', true],
  ['node==/^east/', 'northeast', false],
  ['node==~east-1', 'east-1', true],
  ['node!=~east-1', 'east-1', false],
  ['node == ~ east*', 'east-1', true],
  ['storage==~ssd', 'east-1', false],
  ['nonsense.key==a*', 'east-1', false],
])('%s of the node %s: %s', (text, hostname, is) => {
  const { constraints, nodes } = wishesOf({ Env: [`constraint:${text}`] });
  expect(constraints).toEqual([]);
  expect(nodes.map(({ isSoft, isMet }) => [isSoft, isMet(aNode({ id: 'n1', hostname }))])).toEqual([
    [text.includes('~'), is],
  ]);
});

test.each([
  ['container==web*', place('web-1'), true],
  ['container==/^web/', place('a-web'), false],
  ['container==host-n1/web', place('web'), true],
  [`container==${'a'.repeat(12)}`, place('web'), true],
  ['tier==front', place('web', { tier: 'front' }), true],
  ['tier==f*', place('web', { tier: 'back' }), false],
  ['tier==*', place('web'), false],
])('affinity %s', (text, other, is) => {
  const { containers } = wishesOf({ Env: [`affinity:${text}`] });
  expect(containers.map(({ isMeant }) => isMeant(other))).toEqual([is]);
});

test('soft ones can be left out', () => {
  const Env = ['constraint:storage==~ssd', 'constraint:node==a*', 'affinity:container==~db', 'affinity:container!=x'];
  const { nodes, containers } = hardOf(wishesOf({ Env }));
  expect([...nodes, ...containers].map(({ text }) => text)).toEqual(['node==a*', 'container!=x']);
});

test.each([
  [{ Env: ['constraint:zone=east'] }, /^constraints of the container: /],
  [{ Env: ['constraint:node==~'] }, /value '' is invalid/],
  [{ Env: ['constraint:node==/[/'] }, /^constraints of the container: \/\[\/ cannot be compared with: /],
  [{ Env: ['affinity:image==web:1'] }, /'image==web:1' is neither container==NAME nor LABEL==VALUE/],
  [{ Env: ['affinity:container'] }, /'container' is neither/],
  [{ Labels: { 'com.docker.swarm.constraints': 'node==a' } }, /expected a list in JSON such as .*, not 'node==a'/],
  [{ Labels: { 'com.docker.swarm.affinities': '[1]' } }, /label 'com.docker.swarm.affinities': expected a list/],
])('%j is refused', (given, message) => {
  expect(() => wishesOf(given)).toThrow(message);
});
