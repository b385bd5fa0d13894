import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { eventually } from '../kit/eventually.ts';
import { Lab, noLab } from './lab.ts';
import { isAlive, processes, processesIn } from './processes.ts';
import { run } from './run.ts';
import { bridgeNamespace, findState, namespaceOf, nodeName } from './state.ts';
import { containerProcesses, noTraces, tracesOf } from './traces.ts';

// Whatever has crashed, `down` finds what there is.

const missing = noLab();
const name = `c${process.pid}`;
const main = fileURLToPath(new URL('main.ts', import.meta.url));

describe.skipIf(missing)(`a lab that did not come up${missing ? ` (skipped: ${missing} is missing)` : ''}`, () => {
  afterEach(async () => {
    await Lab.remove(name);
  }, 60_000);

  const up = (...flags: string[]) =>
    spawn(
      process.execPath,
      ['--conditions=source', '--import', 'tsx', main, 'up', '--no-build', '--name', name, '--nodes', '3', ...flags],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
  const end = async (child: ChildProcess, signal?: NodeJS.Signals) => {
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
    if (signal) child.kill(signal);
    return ended;
  };
  const runs = (program: string) =>
    processesIn([1, 2, 3].map((n) => namespaceOf(name, nodeName(n)))).some(({ args }) => args[0] === program);

  const moments: Record<string, () => boolean> = {
    'its state is written': () => findState(name) !== undefined,
    'the bridge is there': () => tracesOf(name).namespaces.includes(bridgeNamespace(name)),
    'an engine starts': () => runs('dockerd'),
    'a swarmd starts': () => runs('swarmd'),
  };
  test.each(Object.entries(moments))('kill -9 when %s', async (what, reached) => {
    const before = tracesOf(name);
    expect(before).toMatchObject(noTraces);
    const child = up();
    await eventually(what, reached);
    await end(child, 'SIGKILL');
    expect(() => Lab.open(name)).toThrow('did not come up');
    expect(await Lab.remove(name)).toBe(true);
    expect(tracesOf(name)).toEqual(before);
  });

  test('down ends an up that is still at work', async () => {
    const child = up();
    await eventually('an engine starts', () => runs('dockerd'));
    expect(() => Lab.open(name)).toThrow(`is still coming up (pid ${child.pid})`);
    const ended = end(child);
    expect(await Lab.remove(name)).toBe(true);
    await ended;
    expect(child.signalCode).toBe('SIGKILL');
    expect(tracesOf(name)).toMatchObject(noTraces);
  });

  test('Ctrl-C removes what there is', async () => {
    const child = up();
    await eventually('an engine starts', () => runs('dockerd'));
    await end(child, 'SIGINT');
    await eventually('all is gone', () => processes().every(({ args }) => !args.includes(name)));
    expect(tracesOf(name)).toMatchObject(noTraces);
  });

  test('an up that fails says why and leaves nothing', async () => {
    const child = up('--', '--ingress', 'nonsense');
    let err = '';
    child.stderr?.on('data', (chunk) => {
      err += chunk;
    });
    expect(await end(child)).toBe(1);
    expect(err).toMatch(/swarmd of node\d ended:[\s\S]*nonsense/);
    expect(tracesOf(name)).toMatchObject(noTraces);
  });

  test('down removes a lab whose parts have crashed, also when it is cut short itself', async () => {
    const before = tracesOf(name);
    const lab = await Lab.up({ name, nodes: 3, managers: 1 });
    await lab
      .host(1)
      .ctl('service', 'create', '--name', 'web', '--replicas', '3', '--update-monitor', '300ms', 'web:1');
    const containers = lab.hosts.flatMap((host) => containerProcesses(name, host.name));
    expect(containers.length).toBeGreaterThan(0);
    for (const pid of [lab.client.first?.pid, lab.host(1).first?.pid, lab.host(2).engine.pid, lab.host(3).daemon.pid])
      process.kill(pid ?? 0, 'SIGKILL');
    await run('ip', ['netns', 'del', bridgeNamespace(name)]);
    const down = spawn(process.execPath, ['--conditions=source', '--import', 'tsx', main, 'down', '--name', name]);
    await eventually('a namespace goes', () => !tracesOf(name).namespaces.includes(namespaceOf(name, 'client')));
    await end(down, 'SIGKILL');
    expect(await Lab.remove(name)).toBe(true);
    expect(tracesOf(name)).toEqual(before);
    expect(containers.filter(isAlive)).toEqual([]);
  });
});
