import { expect, test } from 'vitest';
import { wishesOf } from './wishes.ts';

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
  expect(wishesOf({ Env, Labels })).toEqual({
    constraints: [
      ...['node.hostname==east-1', 'engine.labels.storage != ssd', 'node.labels.zone==east'],
      ...['engine.labels.region==north', 'node.role==worker', 'engine.labels.a==b'],
    ],
    beside: ['db', 'cache'],
    apart: ['web-1'],
  });
  expect(wishesOf({ Env: null, Labels: null })).toEqual({ constraints: [], beside: [], apart: [] });
});

test.each([
  [{ Env: ['constraint:zone=east'] }, /^constraints of the container: /],
  [{ Env: ['constraint:node==~east'] }, /value '~east' is invalid/],
  [{ Env: ['affinity:image==web:1'] }, /'image==web:1' is neither container==NAME nor container!=NAME/],
  [{ Env: ['affinity:container==db*'] }, /'container==db\*' is neither/],
  [{ Labels: { 'com.docker.swarm.constraints': 'node==a' } }, /expected a list in JSON such as .*, not 'node==a'/],
  [{ Labels: { 'com.docker.swarm.affinities': '[1]' } }, /label 'com.docker.swarm.affinities': expected a list/],
])('%j is refused', (given, message) => {
  expect(() => wishesOf(given)).toThrow(message);
});
