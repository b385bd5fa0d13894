import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type NodeHandle, runProgram } from '../../kit/cluster.ts';
import { type Scene, swarmctlBin } from './scene.ts';

// The API of managers to clients elsewhere, by certificates.

export function clientsOverTls(scene: Scene): void {
  const over = async (program: string, args: readonly string[], env: Record<string, string> = {}) => {
    const words = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    return runProgram(...scene.cluster.command('env', [...words, program, ...args]));
  };

  test('a folder that a manager certified opens every manager to docker and swarmctl, and nothing else does', async () => {
    const [first, second] = scene.cluster.managers as [NodeHandle, NodeHandle];
    const folder = join(scene.cluster.folder, 'ada');
    const exported = (...args: string[]) =>
      over(process.execPath, [swarmctlBin, 'context', 'export', ...args], { DOCKER_HOST: `unix://${first.socket}` });
    const made = await exported('ada', folder);
    expect(made).toMatchObject({ code: 0, out: expect.stringContaining(`host=tcp://${first.addr}:2376`), err: '' });
    const sourced = await over('sh', ['-c', `. ${folder}/env.sh && docker node ls --format '{{.Hostname}}'`]);
    expect(sourced.out.trim().split('\n').sort()).toEqual(['m1', 'm2', 'm3', 'w1', 'w2']);
    const tls = { DOCKER_HOST: `tcp://${second.addr}:2376`, DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: folder };
    const swarmctl = [swarmctlBin, 'node', 'ls', '--format', '{{.Hostname}}'];
    expect((await over(process.execPath, swarmctl, tls)).out.trim().split('\n')).toHaveLength(5);
    // The node's own certificate, and none.
    const node = { ...tls, DOCKER_CERT_PATH: join(first.folder, 'identity') };
    for (const env of [{ DOCKER_HOST: tls.DOCKER_HOST }, node]) {
      const { code } = await over('docker', ['node', 'ls'], env);
      expect(code).not.toBe(0);
    }
    expect(await scene.cluster.ctl(first, 'context', 'clients', '--format', '{{.Name}} {{.State}}')).toBe(
      'ada valid\n',
    );
    await scene.cluster.ctl(first, 'context', 'revoke', 'ada');
    await scene.cluster.eventually(
      'every manager knows it',
      async () => (await over('docker', ['node', 'ls'], tls)).code !== 0,
    );
    const nowhere = ['--endpoint', `${first.addr}:1`];
    const early = await exported('bo', join(scene.cluster.folder, 'bo'), ...nowhere);
    expect(early).toMatchObject({ code: 0, err: expect.stringContaining(`nothing listens at tcp://${first.addr}:1`) });
  });
}
