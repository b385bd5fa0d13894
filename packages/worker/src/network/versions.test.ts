import { expect, test } from 'vitest';
import { ingressClosed } from './problems.ts';
import { Versions } from './versions.ts';

/** What has become of each wish, by number. */
function recorded(versions: Versions, wishes: number): Map<number, string> {
  const outcomes = new Map<number, string>();
  for (let i = 0; i < wishes; i++) {
    const done = versions.next();
    const version = versions.latest;
    done.then(
      () => outcomes.set(version, 'in force'),
      (error: Error) => outcomes.set(version, error.message),
    );
  }
  return outcomes;
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('a version in force is what all before it waited for', async () => {
  const versions = new Versions();
  expect(versions.latest).toBe(0);
  const outcomes = recorded(versions, 3);
  expect(versions.latest).toBe(3);
  versions.settle(2);
  await turn();
  expect([...outcomes]).toEqual([
    [1, 'in force'],
    [2, 'in force'],
  ]);
});

test('a failure is told to those up to it, the others wait on', async () => {
  const versions = new Versions();
  const outcomes = recorded(versions, 3);
  versions.settle(1, new Error('no table'));
  await turn();
  expect([...outcomes]).toEqual([[1, 'no table']]);
  versions.settle(3);
  await turn();
  expect(outcomes.get(2)).toBe('in force');
  expect(outcomes.get(3)).toBe('in force');
});

test('at the end nobody is left waiting', async () => {
  const versions = new Versions();
  const outcomes = recorded(versions, 2);
  versions.rejectAll(ingressClosed());
  await turn();
  expect([...outcomes.values()]).toEqual(['the ingress is closed', 'the ingress is closed']);
});
