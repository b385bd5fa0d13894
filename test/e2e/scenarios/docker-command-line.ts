import type { Task } from '@swarmctl/shared/model';
import { expect, test } from 'vitest';
import { runProgram } from '../../kit/cluster.ts';
import type { Scene } from './scene.ts';

// What users of Docker type, by its own command line.

export function dockerCommandLine(scene: Scene): void {
  const { manager, nameOf, idOf } = scene;

  const docker = async (...args: string[]) => {
    const [program, words] = ['/usr/bin/docker', ['-H', `unix://${(await manager()).socket}`, ...args]] as const;
    const { code, out, err } = await runProgram(program, words);
    if (code !== 0) throw new Error(`docker ${args.join(' ')}: exit ${code}: ${err}${out}`);
    return out;
  };

  test('lists the nodes', async () => {
    const out = await docker('node', 'ls', '--format', '{{.Hostname}} {{.Status}} {{.ManagerStatus}}');
    expect(
      out
        .trim()
        .split('\n')
        .sort()
        .map((line) => line.replace(/Leader|Reachable/, 'M').trim()),
    ).toEqual(['m1 Ready M', 'm2 Ready M', 'm3 Ready M', 'w1 Ready', 'w2 Ready']);
  });

  test('creates, lists, scales, inspects and removes a service', async () => {
    // Not detached: Docker's progress loop must see the service converge.
    await docker(
      'service',
      'create',
      '--quiet',
      '--name',
      'dock',
      '--replicas',
      '2',
      '-p',
      '8085:8080',
      '--update-monitor',
      '500ms',
      'web:1',
    );
    await idOf('dock');
    expect(
      await docker(
        'service',
        'ls',
        '--filter',
        'name=dock',
        '--format',
        '{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}} {{.Ports}}',
      ),
    ).toBe('dock replicated 2/2 web:1 *:8085->8080/tcp\n');
    const ps = await docker('service', 'ps', 'dock', '--format', '{{.Name}} {{.DesiredState}} {{.CurrentState}}');
    expect(ps.trim().split('\n').sort()).toEqual([
      expect.stringMatching(/^dock\.1 Running Running/),
      expect.stringMatching(/^dock\.2 Running Running/),
    ]);
    await docker('service', 'scale', '--detach', 'dock=3');
    await scene.cluster.eventually('three run', async () => (await scene.cluster.running('dock')).length === 3);
    expect(JSON.parse(await docker('service', 'inspect', 'dock'))[0].Spec.Mode).toEqual({
      Replicated: { Replicas: 3 },
    });
    expect(await docker('service', 'inspect', '--pretty', 'dock')).toMatch(/Replicas:\s+3/);
    await docker(
      'service',
      'update',
      '--quiet',
      '--image',
      'web:2',
      '--update-parallelism',
      '0',
      '--update-monitor',
      '500ms',
      'dock',
    );
    await scene.cluster.eventually(
      'the new version answers',
      async () => (await scene.world.get(scene.cluster.nodes[0]?.addr ?? '', 8085)) === 'version 2\n',
    );
    await docker('service', 'rm', 'dock');
    await scene.cluster.eventually('its tasks are gone', async () =>
      (await (await manager()).api.get<Task[]>('/tasks')).every((task) => nameOf(task) !== 'dock'),
    );
  }, 60_000);

  test('says what is not there yet', async () => {
    await expect(docker('plugin', 'disable', 'x')).rejects.toThrow(/plugins are not supported yet/);
  });

  test('makes, shows and removes a network', async () => {
    const id = (await docker('network', 'create', '-d', 'overlay', '--attachable', 'dock')).trim();
    expect(await docker('network', 'ls', '--format', '{{.Name}} {{.Driver}} {{.Scope}}')).toMatch(
      /^dock overlay swarm$/m,
    );
    expect(await docker('network', 'inspect', '-f', '{{.Id}} {{.Attachable}}', 'dock')).toBe(`${id} true\n`);
    expect(await docker('network', 'rm', 'dock')).toBe('dock\n');
    await expect(docker('network', 'inspect', 'dock')).rejects.toThrow(
      // The client says it in its own words where it also looks for other kinds.
      /network dock not found|no such network: dock/i,
    );
  });
}
