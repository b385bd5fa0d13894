import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { helloScript, imageLabel } from './layout.ts';
import { run } from './sh.ts';

// Docker where an engine answers and an image can be had, else plain processes; and why.

export interface Choice {
  readonly runtime: 'docker' | 'process';
  readonly why: string;
  /** Arguments of `swarmctl service create` that make the web service. */
  readonly service: (port: number) => readonly string[];
  readonly dockerHost?: string;
}

const image = 'swarmctl/hello:1';
const busyboxes = ['/bin/busybox', '/usr/bin/busybox'];

export async function chooseRuntime(env: NodeJS.ProcessEnv): Promise<Choice> {
  const wanted = env['SWARMCTL_LOCAL_RUNTIME'] ?? '';
  if (!['', 'docker', 'process'].includes(wanted))
    throw new Error(`SWARMCTL_LOCAL_RUNTIME is '${wanted}': it can be docker or process`);
  if (wanted === 'process') return processes('SWARMCTL_LOCAL_RUNTIME asks for it');
  const choice = await dockerOr(env['DOCKER_HOST'] ?? 'unix:///var/run/docker.sock');
  if (wanted === 'docker' && choice.runtime !== 'docker')
    throw new Error(`SWARMCTL_LOCAL_RUNTIME asks for docker, but ${choice.why}`);
  return choice;
}

async function dockerOr(dockerHost: string): Promise<Choice> {
  const format = '{{.Server.Version}} {{.Server.Platform.Name}}';
  const engine = await run('docker', ['-H', dockerHost, 'version', '--format', format], { timeoutMs: 5_000 });
  if (engine.code !== 0)
    return processes(
      engine.code === 127 ? 'there is no docker command here' : `no Docker engine answers at ${dockerHost}`,
    );
  const [version = '', platform] = engine.stdout.trim().split(' ');
  if (platform === 'swarmd')
    throw new Error(`DOCKER_HOST=${dockerHost} is a manager of a cluster like this one, not a Docker engine: unset it`);
  const has = await run('docker', ['-H', dockerHost, 'image', 'inspect', image]);
  if (has.code === 0)
    return containers(`Docker ${version} answers at ${dockerHost} and has the image ${image}`, dockerHost, image);
  const built = await buildImage(dockerHost);
  if (built === undefined)
    return containers(
      `Docker ${version} answers at ${dockerHost}; the image ${image} was made from this machine's busybox`,
      dockerHost,
      image,
    );
  const pulled = await run('docker', ['-H', dockerHost, 'pull', '-q', 'traefik/whoami'], { timeoutMs: 60_000 });
  if (pulled.code === 0)
    return containers(
      `Docker ${version} answers at ${dockerHost}; the image traefik/whoami was pulled`,
      dockerHost,
      'traefik/whoami',
    );
  return processes(
    `Docker ${version} answers at ${dockerHost}, but no image can be had: ${built}, and traefik/whoami cannot be pulled`,
  );
}

const containers = (why: string, dockerHost: string, name: string): Choice => ({
  runtime: 'docker',
  why,
  dockerHost,
  // As the first process of its container the server would not hear SIGTERM.
  service: (port) => [
    ...['--publish', `${port}:${name === image ? 8080 : 80}`, '--env', 'TASK_NAME={{.Task.Name}}'],
    ...['--stop-signal', 'SIGKILL', name],
  ],
});

const processes = (why: string): Choice => ({
  runtime: 'process',
  why,
  service: (port) => [
    '--runtime',
    'process',
    '--publish',
    `${port}:8080`,
    '--env',
    'TASK_NAME={{.Task.Name}}',
    'process',
    process.execPath,
    helloScript,
  ],
});

/** A tiny web server image out of a static busybox. Resolves with undefined, or with what stood in the way. */
async function buildImage(dockerHost: string): Promise<string | undefined> {
  const busybox = busyboxes.find((path) => existsSync(path));
  if (!busybox) return 'there is no busybox on this machine to make one from';
  const loader = await run('ldd', [busybox]);
  if (loader.code === 0 && /=>/.test(loader.stdout)) return 'the busybox on this machine is not static';
  const folder = mkdtempSync(join(tmpdir(), 'swarmctl-image-'));
  try {
    mkdirSync(join(folder, 'bin'));
    mkdirSync(join(folder, 'www/cgi-bin'), { recursive: true });
    await copyFile(busybox, join(folder, 'bin/busybox'));
    for (const applet of ['sh', 'httpd', 'hostname']) await run('ln', ['-s', 'busybox', join(folder, 'bin', applet)]);
    const script = '#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\nHello from %s\\n" "$TASK_NAME"\n';
    writeFileSync(join(folder, 'www/cgi-bin/hello'), script, { mode: 0o755 });
    writeFileSync(join(folder, 'www/index.html'), 'see /cgi-bin/hello\n');
    const tar = await run('sh', [
      '-c',
      'tar -C "$1" -c . | docker -H "$2" import -c "LABEL $4=" -c \'CMD ["httpd","-f","-v","-p","8080","-h","/www"]\' - "$3"',
      'sh',
      folder,
      dockerHost,
      image,
      imageLabel,
    ]);
    return tar.code === 0 ? undefined : `docker import failed: ${tar.stderr.trim()}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
