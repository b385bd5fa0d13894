import { readFileSync } from 'node:fs';
import { ClusterError, ManualClock, silentLogger } from '@swarmctl/shared/kit';
import { describe, expect, it } from 'vitest';
import type { RunCommand } from './command.ts';
import { PathMtus } from './path-mtu.ts';

// What the kernel says and what is tried, put together; time by hand, the way a function of the packet's size.

const [local, near, far] = ['10.0.0.1', '10.0.0.2', '10.9.0.3'];

function setUp() {
  const clock = new ManualClock(0);
  const kernel = { device: 1_500, routes: new Map<string, number>(), isMissing: false, calls: 0 };
  const run: RunCommand = async (program, args) => {
    if (kernel.isMissing) throw new ClusterError('unavailable', `${program} is not installed`);
    kernel.calls++;
    const file = args[args.indexOf('-batch') + 1];
    const lines = args.includes('-batch') ? readFileSync(String(file), 'utf8').trim().split('\n') : [];
    const answers = lines.map((line) => {
      const dst = line.replace('route get ', '');
      const mtu = kernel.routes.get(dst);
      return JSON.stringify([{ dst, dev: 'eth0', metrics: mtu === undefined ? [] : [{ mtu }] }]);
    });
    const devices = [{ ifname: 'eth0', mtu: kernel.device, addr_info: [{ local, prefixlen: 24, scope: 'global' }] }];
    return { code: 0, stdout: lines.length > 0 ? answers.join('\n') : JSON.stringify(devices), stderr: '' };
  };
  const paths = new PathMtus(local, { log: silentLogger, clock, run });
  const told: number[] = [];
  paths.onChange(() => told.push(clock.now()));
  /** Ways by what they let through. */
  const follow = (ways: Record<string, (size: number) => boolean>) =>
    paths.follow(Object.keys(ways), (addr, { token, size }) => {
      if (ways[addr]?.(size)) clock.after(5, () => paths.answered(addr, token));
    });
  /** What `ip` is asked goes by files, which take real time: what comes of it is waited for. */
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= 250) {
      await clock.advance(Math.min(left, 250));
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { clock, kernel, paths, told, follow, pass };
}

describe('the MTU of ways', () => {
  it('is that of the first link and the narrowest route, and asked for once a moment', async () => {
    const { paths, kernel, clock } = setUp();
    expect(await paths.least([])).toBe(1_500);
    kernel.routes.set(far, 1_400);
    expect(await paths.least([near])).toBe(1_500);
    expect(await paths.least([near, far])).toBe(1_400);
    const { calls } = kernel;
    await paths.least([near, far]);
    expect(kernel.calls).toBe(calls);
    await clock.advance(1_000);
    kernel.device = 1_300;
    expect(await paths.least([near])).toBe(1_300);
    kernel.isMissing = true;
    await clock.advance(1_000);
    await expect(paths.least([near])).rejects.toThrow('ip is not installed');
  });

  it('is what is found by trying, where that is less', async () => {
    const { paths, told, follow, pass } = setUp();
    await paths.least([near, far]);
    follow({ [near]: () => true, [far]: (size) => size <= 1_400 });
    expect(paths.isProven([near])).toBe(false);
    await pass(30_000);
    await expect.poll(() => paths.isProven([near, far])).toBe(true);
    expect([await paths.least([near]), await paths.least([near, far])]).toEqual([1_500, 1_400]);
    // Once for each way.
    expect(told).toHaveLength(2);
    // Of one that is away it holds until it is back, and then until it was tried.
    follow({ [near]: () => true });
    await pass(60_000);
    follow({ [near]: () => true, [far]: () => true });
    expect([paths.isProven([far]), await paths.least([far])]).toEqual([true, 1_400]);
    await pass(10_000);
    await expect.poll(() => paths.least([far])).toBe(1_500);
    expect(told).toHaveLength(3);
    paths.close();
  });

  it('is what a router tells the kernel, although what is longer gets through from then on, cut', async () => {
    const { paths, kernel, follow, pass } = setUp();
    await paths.least([far]);
    let heard = false;
    follow({
      [far]: (size) => {
        if (size <= 1_400 || heard) return true;
        heard = true;
        kernel.routes.set(far, 1_400);
        return false;
      },
    });
    await pass(30_000);
    await expect.poll(() => paths.isProven([far])).toBe(true);
    expect(await paths.least([far])).toBe(1_400);
    // It forgets, and is told again.
    kernel.routes.delete(far);
    heard = false;
    await paths.least([far]);
    await pass(700_000);
    await expect.poll(() => paths.least([far])).toBe(1_400);
    paths.close();
  });

  it('is not less for a node that says nothing', async () => {
    const { paths, told, follow, pass } = setUp();
    await paths.least([far]);
    follow({ [far]: () => false });
    await pass(120_000);
    expect([await paths.least([far]), paths.isProven([far]), told]).toEqual([1_500, false, []]);
    paths.close();
  });
});
