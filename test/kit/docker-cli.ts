import { spawnSync } from 'node:child_process';

// Docker's command lines on this machine. A distribution's often speaks an older API than one that was installed beside it, and sends other things.

export interface DockerCli {
  readonly path: string;
  readonly version: string;
}

/** One of each version on the PATH, the oldest first; none: there is none. */
export function dockerClis(): readonly DockerCli[] {
  const { stdout } = spawnSync('which', ['-a', 'docker'], { encoding: 'utf8' });
  const found = (stdout ?? '').split('\n').flatMap((path) => {
    const said = path === '' ? '' : spawnSync(path, ['--version'], { encoding: 'utf8' }).stdout;
    const version = /version (\d+\.\d+\.\d+)/.exec(said ?? '')?.[1];
    return version === undefined ? [] : [{ path, version }];
  });
  const byVersion = new Map(found.map((one) => [one.version, one]));
  return [...byVersion.values()].sort((a, b) => a.version.localeCompare(b.version, 'en', { numeric: true }));
}
