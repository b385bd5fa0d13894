import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DaemonConfig, markOf, readConfig } from './config.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'swarmd-config-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function read(argv: string[], env: Record<string, string> = {}, file?: string): Promise<DaemonConfig> {
  const path = join(folder, 'swarmd.yaml');
  if (file !== undefined) writeFileSync(path, file);
  const config = await readConfig({
    argv: [...argv, ...(file === undefined ? [] : ['--config', path])],
    env,
    isRoot: true,
    version: '1.2.3',
  });
  if ('print' in config) throw new Error('help was printed');
  return config;
}

describe('configuration', () => {
  test('has defaults', async () => {
    expect(await read([])).toMatchObject({
      dataDir: '/var/lib/swarmd',
      listenAddr: '0.0.0.0:2377',
      advertiseAddr: undefined,
      runtime: 'docker',
      dockerHost: 'unix:///var/run/docker.sock',
      ingress: 'auto',
      ingressAddr: [],
      ingressProcesses: undefined,
      mesh: 'auto',
      dataPathAddr: undefined,
      meshMark: '0x5377',
      processAllowRoot: false,
      restartGrace: 30_000,
      logLevel: 'info',
    });
  });

  test('flags go over the environment, that over the file', async () => {
    const file =
      'runtime: process\nhostname: from-file\nlog-level: warn\nlabel: {zone: a, disk: ssd}\nreserved-cpus: 0.5\n';
    const env = {
      SWARMD_HOSTNAME: 'from-env',
      SWARMD_LOG_LEVEL: 'debug',
      SWARMD_HOST: 'unix:///x',
      SWARMD_INGRESS: '',
    };
    expect(await read(['--log-level', 'error'], env, file)).toMatchObject({
      runtime: 'process',
      hostname: 'from-env',
      logLevel: 'error',
      label: ['zone=a', 'disk=ssd'],
      reservedCpus: 0.5,
      ingress: 'auto',
    });
  });

  test('lists are repeated flags, commas in the environment', async () => {
    const flags = await read(['--ingress-addr', '127.0.0.1', '--ingress-addr', '::1', '--label', 'a=1,2']);
    expect(flags).toMatchObject({ ingressAddr: ['127.0.0.1', '::1'], label: ['a=1,2'] });
    expect(await read([], { SWARMD_LABEL: 'a=1, b=2' })).toMatchObject({ label: ['a=1', 'b=2'] });
  });

  test.each([
    ['0x5377', 0x5377_0000],
    ['65535', 0xffff_0000],
    ['0x', undefined],
    ['99999', undefined],
  ])('the mark %s', (text, mark) => expect(markOf(text)).toBe(mark));

  test('is frozen', async () => {
    expect(Object.isFrozen(await read([]))).toBe(true);
  });

  test('a folder of the user without root', async () => {
    const input = { argv: [], env: { XDG_DATA_HOME: '/home/me/data' }, isRoot: false, version: '1' };
    expect(await readConfig(input)).toMatchObject({ dataDir: '/home/me/data/swarmd' });
  });

  test.each([
    [['--help'], 'Usage: swarmd [OPTIONS]'],
    [['--version'], 'swarmd 1.2.3'],
  ])('%s prints', async (argv, text) => {
    const printed = await readConfig({ argv, env: {}, isRoot: true, version: '1.2.3' });
    expect(printed).toMatchObject({ print: expect.stringContaining(text) });
  });

  test.each([
    [['--data-dri', 'x'], "unknown flag --data-dri; did you mean '--data-dir'?"],
    [['--frobnicate-everything'], 'unknown flag --frobnicate-everything'],
    [['run'], "unexpected argument 'run'; swarmd takes options alone"],
    [['--runtime', 'podman'], "--runtime: 'podman' is not one of docker, process"],
    [['--runtime', 'docker', '--runtime', 'process'], '--runtime: one value is expected, not 2'],
    [['--listen-addr', 'a:b'], "--listen-addr: 'a:b' is not an address; it should look like 10.0.0.5:2377"],
    [['--listen-addr', '1.2.3.4:70000'], "--listen-addr: '1.2.3.4:70000' is not an address"],
    [['--data-dir'], '--data-dir: a value is missing'],
    [['--ingress-addr', '10.0.0.1:80'], "--ingress-addr: '10.0.0.1:80' is not an address without a port"],
    [['--ingress-processes', '1.5'], "--ingress-processes: '1.5' is not a number of processes from 0 to 999"],
    [['--data-path-addr', 'eth0'], "--data-path-addr: 'eth0' is not an IP address"],
    [['--mesh-mark', '0x10000'], "--mesh-mark: '0x10000' is not a number from 0x1 to 0xffff"],
    [['--mesh-mark', '0'], "--mesh-mark: '0' is not a number"],
    [['--mesh', 'on'], "--mesh: 'on' is not one of auto, off"],
    [['--docker-host', '/var/run/docker.sock'], 'should look like unix:///var/run/docker.sock'],
    [['--label', '=x'], "--label: '=x' is not of the form name=value"],
    [['--hostname', 'a b'], "--hostname: 'a b' is not a host name"],
    [['--reserved-cpus', 'two'], "--reserved-cpus: 'two' is not a number such as 0.5"],
    [['--reserved-memory', '1 ton'], "--reserved-memory: '1 ton' is not a size such as 512m or 1g"],
    [['--restart-grace', '30'], "--restart-grace: '30' is not a duration such as 30s, 1m30s or 500ms"],
    [['--config', '/nowhere.yaml'], 'cannot read the configuration /nowhere.yaml'],
  ])('%j is refused', async (argv, message) => {
    await expect(read(argv)).rejects.toThrow(message);
  });

  test.each([
    ['listn-addr: x', "unknown key 'listn-addr'; did you mean 'listen-addr'?"],
    ['- a', "expected lines of the form 'name: value'"],
    ['a: [', 'is not YAML'],
    ['runtime: [docker, process]', 'one value is expected, not 2'],
    ['runtime: {docker: {a: 1}}', 'expected a plain value'],
    ['process-allow-root: maybe', "'maybe' is neither true nor false"],
  ])('the file %j is refused', async (file, message) => {
    await expect(read([], {}, file)).rejects.toThrow(message);
  });

  test('a mistyped variable is refused, another program’s is not', async () => {
    await expect(read([], { SWARMD_DATADIR: 'x' })).rejects.toThrow(
      "unknown environment variable SWARMD_DATADIR; did you mean 'SWARMD_DATA_DIR'?",
    );
    await expect(read([], { SWARMD_SOMETHING_ELSE_ALTOGETHER: 'x' })).resolves.toBeDefined();
  });
});
