import { describe, expect, test } from 'vitest';
import { checkReservedLabels, drainTimeoutMsOf, nearest, parseDurationMs, readyCheckOf, runtimeOf } from './labels.ts';

describe('reserved labels', () => {
  test.each<['service' | 'node' | 'cluster', Record<string, string>, string | undefined]>([
    [
      'service',
      { 'swarmctl.drain-timeout': '1m30s', 'swarmctl.runtime': 'process', 'swarm.cronjob.enable': 'true', other: 'x' },
      undefined,
    ],
    ['service', { 'swarmctl.runtme': 'process' }, "did you mean 'swarmctl.runtime'?"],
    ['service', { 'swarmctl.runtime': 'podman' }, "'podman' is not one of docker, process"],
    ['service', { 'swarmctl.drain-timeout': '-1s' }, "'-1s' is not a duration such as 30s or 1m30s"],
    ['node', { 'swarmctl.runtime': 'process' }, 'belongs on a service, not on a node'],
  ])('%s %j', (kind, labels, message) => {
    const check = () => checkReservedLabels(kind, labels);
    if (message) expect(check).toThrow(message);
    else expect(check).not.toThrow();
  });

  test('what absence means', () => {
    expect([drainTimeoutMsOf({}), runtimeOf({}), readyCheckOf({})]).toEqual([10_000, 'docker', 'connect']);
  });
});

test.each([
  ['0', 0],
  ['500ms', 500],
  ['1h1m1s', 3_661_000],
  ['1.5s', 1500],
  ['', undefined],
  ['5', undefined],
  ['1x', undefined],
  ['1s ', undefined],
])('duration %j', (text, ms) => {
  expect(parseDurationMs(text)).toBe(ms);
});

test('the nearest word', () => {
  expect(nearest('replicsa', ['name', 'replicas', 'mode'])).toBe('replicas');
});
