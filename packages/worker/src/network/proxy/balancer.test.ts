import { ManualClock } from '@swarmctl/shared/kit';
import { beforeEach, describe, expect, it } from 'vitest';
import { type Backend, Balancer } from './balancer.ts';

const named = (...names: string[]) => names.map((taskId) => ({ taskId, addr: '10.0.0.1', port: 80 }));

describe('Balancer', () => {
  let clock: ManualClock;
  let balancer: Balancer;
  beforeEach(() => {
    clock = new ManualClock();
    balancer = new Balancer(clock);
    balancer.set(named('a', 'b', 'c'));
  });

  const turns = (count: number) => {
    let text = '';
    for (let i = 0; i < count; i++) {
      const backend = balancer.take('round-robin') as Backend;
      balancer.release(backend);
      text += backend.taskId;
    }
    return text;
  };
  const fail = (taskId: string) => balancer.failed(of(taskId));
  const of = (taskId: string) => balancer.backends.find((backend) => backend.taskId === taskId) as Backend;

  it('gives each its turn', () => expect(turns(7)).toBe('abcabca'));

  it('stays where it is when somebody comes or goes', () => {
    expect(turns(1)).toBe('a');
    balancer.set(named('a', 'a2', 'b', 'c'));
    expect(turns(2)).toBe('bc');
    balancer.set(named('a', 'c'));
    expect(turns(3)).toBe('aca');
    balancer.set(named());
    expect(balancer.take('round-robin')).toBeUndefined();
  });

  it('shares alike among those that are well', () => {
    fail('b');
    expect(turns(4)).toBe('acac');
  });

  it('passes over whoever failed, twice as long each time, and tries by one alone', async () => {
    fail('b');
    let waited = 1_000;
    for (const _ of Array(8)) {
      expect(turns(2)).not.toContain('b');
      await clock.advance(waited - 1);
      expect(turns(3)).not.toContain('b');
      await clock.advance(1);
      expect([...turns(6)].filter((name) => name === 'b')).toEqual(['b']);
      fail('b');
      waited = Math.min(waited * 2, 30_000);
    }
    await clock.advance(30_000);
    expect(turns(3)).toContain('b');
    balancer.succeeded(of('b'));
    expect([...turns(3)].sort().join('')).toBe('abc');
  });

  it('takes the one that waits longest when nobody is well, and none twice', async () => {
    for (const taskId of ['b', 'c', 'a']) {
      fail(taskId);
      await clock.advance(1);
    }
    const tried: Backend[] = [];
    for (let backend = balancer.take('round-robin'); backend; backend = balancer.take('round-robin', tried))
      tried.push(backend);
    expect(tried.map(({ taskId }) => taskId).join('')).toBe('bca');
  });

  it('takes the least busy, in turns where several are', () => {
    const take = () => balancer.take('least-connections') as Backend;
    const taken = Array.from({ length: 6 }, take);
    expect(taken.map(({ taskId }) => taskId).join('')).toBe('abcabc');
    expect([...balancer.counts()]).toEqual([...'abc'].map((taskId) => [taskId, 2]));
    for (const backend of taken.filter(({ taskId }) => taskId === 'b')) balancer.release(backend);
    expect([take(), take(), take()].map(({ taskId }) => taskId).join('')).toBe('bbc');
  });

  it('counts those of tasks that have left, until they end', () => {
    const backend = balancer.take('round-robin') as Backend;
    balancer.set(named('b'));
    expect(backend.isHere).toBe(false);
    expect([...balancer.counts()]).toEqual([['a', 1]]);
    // A task of that name at another place is another backend.
    balancer.set([{ taskId: 'a', addr: '10.0.0.2', port: 80 }]);
    balancer.take('round-robin');
    expect([...balancer.counts()]).toEqual([['a', 2]]);
    balancer.release(backend);
    expect([...balancer.counts()]).toEqual([['a', 1]]);
  });
});
