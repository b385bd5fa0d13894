import { describe, expect, test } from 'vitest';
import { isAllowed } from './allowed.ts';

const id = 'a'.repeat(64);

describe('what a manager may ask of an engine', () => {
  test.each([
    ['GET', '/containers/json'],
    ['POST', `/containers/${id}/attach`],
    ['GET', `/containers/${id}/attach/ws`],
    ['PUT', `/containers/${id}/archive`],
    ['DELETE', `/containers/${id}`],
    ['POST', `/exec/${id}/start`],
    ['GET', '/images/registry.example:5000/a/b:1/json'],
    ['POST', '/images/load'],
    ['POST', '/build'],
    ['POST', '/session'],
    ['POST', '/grpc'],
    ['POST', '/build/cancel'],
    ['POST', '/commit'],
    ['DELETE', '/containers/web/db'],
    ['DELETE', '/volumes/data'],
    ['GET', '/events'],
    ['GET', '/networks/back'],
    ['POST', '/networks/back/connect'],
    ['POST', '/networks/back/disconnect'],
  ])('%s %s', (method, path) => expect(isAllowed(method, path)).toBe(true));

  test.each([
    ['a name, which others may take', 'GET', '/containers/web/json'],
    ['networks', 'DELETE', '/networks/bridge'],
    ['the swarm mode of the engine', 'POST', '/swarm/init'],
    ['plugins', 'POST', '/plugins/pull'],
    ['another method', 'DELETE', '/images/'],
    ['a path that leads elsewhere', 'GET', '/images/../swarm/json'],
    ['the same in disguise', 'GET', '/images/%2e%2e/swarm/json'],
    ['an empty part', 'GET', '/images//json'],
    ['another path behind it', 'GET', `/containers/${id}/json/x`],
  ])('not %s', (_, method, path) => expect(isAllowed(method, path)).toBe(false));
});
