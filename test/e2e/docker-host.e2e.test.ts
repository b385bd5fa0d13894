import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dockerClis } from '../kit/docker-cli.ts';
import { Lab, noLab } from '../lab/lab.ts';

// Docker's own command line on a cluster of two hosts, as if it were one: by the manager that leads and by the one that follows, on containers that
// are here and there. The tests share one lab and run in order. By the first host go the commands of the oldest command line that there is, by the second
// those of the newest.

const missing = noLab('docker', 'script');
const name = `dh${process.pid}`;

describe.skipIf(missing)(`the cluster as one Docker host${missing ? ` (skipped: ${missing} is missing)` : ''}`, () => {
  let lab: Lab;
  let folder: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'swarm-dh-'));
    lab = await Lab.up({ name, nodes: 2, managers: 2 });
    for (const [container, host] of [
      ['here', 'node1'],
      ['there', 'node2'],
    ] as const) {
      const at = ['-e', `constraint:node.hostname==${host}`];
      await docker(1, ['run', '-d', '--name', container, ...at, 'bb:1', 'sh', '-c', 'echo begun; sleep 1000']);
    }
  }, 180_000);
  afterAll(async () => {
    await Lab.remove(name);
    rmSync(folder, { recursive: true, force: true });
  }, 60_000);

  // The newest have a builder that is a plugin; what the engines themselves have will do.
  const hostOf = (number: number) => ({
    ...{ ...process.env, DOCKER_HOST: lab.host(number).daemon.swarmdHost, DOCKER_BUILDKIT: '0' },
  });
  const clis = dockerClis();
  const cliOf = (number: number) => clis.at(number === 1 ? 0 : -1)?.path ?? 'docker';

  function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv, input = '') {
    const child = spawn(program, args, { env, stdio: 'pipe' });
    const said = { out: '', err: '' };
    child.stdout.on('data', (chunk) => {
      said.out += chunk;
    });
    child.stderr.on('data', (chunk) => {
      said.err += chunk;
    });
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    const ended = new Promise<{ code: number; out: string; err: string }>((resolve) =>
      child.once('close', (code) => resolve({ code: code ?? 1, ...said })),
    );
    return { child, said, ended };
  }

  /** Its output, by the API of host `number`; rejects when it fails. */
  async function docker(number: number, args: readonly string[], input = ''): Promise<string> {
    const { code, out, err } = await run(cliOf(number), args, hostOf(number), input).ended;
    if (code !== 0) throw new Error(`docker ${args.join(' ')}: exit ${code}: ${err}${out}`);
    return out.trim();
  }

  const failing = (number: number, args: readonly string[]) => run(cliOf(number), args, hostOf(number)).ended;

  /** On a terminal, which sends the line ends as `\r\n`. */
  const onTerminal = (number: number, command: string, input: string) =>
    run('script', ['-qec', `${cliOf(number)} ${command}`, '/dev/null'], hostOf(number), input).ended;

  /** The leader and another node; the follower, the leader and its own node. */
  const each = [
    { host: 1, container: 'there' },
    { host: 2, container: 'here' },
  ];

  test('all containers are listed, with their nodes', async () => {
    const format = ['--format', '{{.Names}} {{.Label "swarmctl.node"}}'];
    for (const host of [1, 2]) {
      expect((await docker(host, ['ps', ...format])).split('\n').sort()).toEqual(['here node1', 'there node2']);
      expect(await docker(host, ['ps', ...format, '--filter', 'node=node2'])).toBe('there node2');
    }
    const id = await docker(2, ['inspect', '-f', '{{.Id}}', 'there']);
    expect(await docker(1, ['inspect', '-f', '{{.Name}}', id.slice(0, 8)])).toBe('/there');
    // The CLI decodes into types of its own: what it does not know shows in the raw answer alone.
    expect(await lab.host(1).api.get(`/containers/${id}/json`)).toMatchObject({ Node: { Name: 'node2' } });
  });

  test.each(each)(
    'exec in $container by host $host: with input, its end, a terminal and an exit status',
    async ({ host, container }) => {
      expect(await docker(host, ['exec', container, 'hostname'])).toBe(
        (await docker(host, ['inspect', '-f', '{{.Id}}', container])).slice(0, 12),
      );
      const much = randomBytes(300_000).toString('hex');
      expect(await docker(host, ['exec', '-i', container, 'cat'], much)).toBe(much);
      const shell = await onTerminal(host, `exec -it ${container} sh`, 'tty\nexit 7\n');
      expect(shell.out).toContain('/dev/pts/');
      expect(shell.code).toBe(7);
      expect(await failing(host, ['exec', container, 'sh', '-c', 'exit 9'])).toMatchObject({ code: 9 });
    },
  );

  test.each(each)(
    'exec in $container by host $host as older clients ask: no Upgrade, raw input behind the body',
    async ({ host, container }) => {
      const how = { AttachStdin: true, AttachStdout: true, Cmd: ['sh', '-c', 'cat; echo said'] };
      const { Id } = await lab.host(host).api.post<{ Id: string }>(`/containers/${container}/exec`, how);
      const client = connect({ path: lab.host(host).daemon.swarmdHost.replace('unix://', ''), allowHalfOpen: true });
      const started = '{"Tty":false}';
      const framing = `Content-Type: application/json\r\nContent-Length: ${started.length}`;
      client.end(`POST /v1.24/exec/${Id}/start HTTP/1.1\r\nHost: x\r\n${framing}\r\n\r\n${started}GET / HTTP/1.1\n`);
      const [head = '', frames = ''] = (await text(client)).split('\r\n\r\n');
      expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\n.*application\/vnd\.docker\.raw-stream/s);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: the heads of frames
      expect(frames.replace(/[\0\x01].{7}/gs, '')).toBe('GET / HTTP/1.1\nsaid\n');
    },
  );

  test.each(each)('cp to $container by host $host and back', async ({ host, container }) => {
    const [file, back] = [join(folder, 'file'), join(folder, 'back')];
    writeFileSync(file, randomBytes(5_000_000));
    await docker(host, ['cp', file, `${container}:/file`]);
    await docker(host, ['cp', `${container}:/file`, back]);
    const digest = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
    expect(digest(back)).toBe(digest(file));
    expect(await failing(host, ['cp', `${container}:/nosuch`, back])).toMatchObject({ code: 1 });
  });

  test.each(each)(
    'logs, top, stats, port, diff, pause and update of $container by host $host',
    async ({ host, container }) => {
      expect(await docker(host, ['logs', container])).toBe('begun');
      expect(await docker(host, ['top', container])).toContain('sleep 1000');
      expect(await docker(host, ['stats', '--no-stream', '--format', '{{.Name}}', container])).toBe(container);
      expect(await docker(host, ['port', container])).toBe('');
      await docker(host, ['exec', container, 'touch', '/new']);
      expect(await docker(host, ['diff', container])).toContain('A /new');
      await docker(host, ['pause', container]);
      expect(await docker(host, ['inspect', '-f', '{{.State.Status}}', container])).toBe('paused');
      await docker(host, ['unpause', container]);
      await docker(host, ['update', '--restart', 'no', container]);
    },
  );

  test('logs are followed until the reader goes', async () => {
    const pipe = 'rm -f /tmp/pipe; mkfifo /tmp/pipe';
    await docker(2, ['run', '-d', '--name', 'talker', 'bb:1', 'sh', '-c', `${pipe}; while :; do cat /tmp/pipe; done`]);
    const { child, said, ended } = run(cliOf(2), ['logs', '-f', 'talker'], hostOf(2));
    for (const word of ['one', 'two']) {
      await docker(1, ['exec', 'talker', 'sh', '-c', `until [ -p /tmp/pipe ]; do :; done; echo ${word} >/tmp/pipe`]);
      await expect.poll(() => said.out, { timeout: 5_000 }).toContain(word);
    }
    child.kill('SIGINT');
    await ended;
    await docker(1, ['rm', '-f', 'talker']);
  });

  test('run: output, input, status, removal; attach', async () => {
    for (const host of [1, 2]) {
      expect(await docker(host, ['run', '--rm', 'bb:1', 'echo', 'out'])).toBe('out');
      expect(await docker(host, ['run', '--rm', '-i', 'bb:1', 'cat'], 'in')).toBe('in');
      expect(await failing(host, ['run', '--rm', 'bb:1', 'sh', '-c', 'exit 3'])).toMatchObject({ code: 3 });
      const id = await docker(host, ['run', '-dit', 'bb:1', 'sh']);
      const shell = await onTerminal(host, `attach ${id}`, 'echo at$((1+1))ached\nexit 4\n');
      expect(shell.out).toContain('at2ached');
      expect(shell.code).toBe(4);
      expect(await docker(host, ['wait', id])).toBe('4');
      await docker(host, ['rm', id]);
    }
  });

  test('containers go where there are fewer, and beside those that they refer to', async () => {
    const nodeOf = (container: string) =>
      docker(1, ['ps', '--filter', `name=${container}`, '--format', '{{.Label "swarmctl.node"}}']);
    for (const one of ['first', 'second']) await docker(1, ['run', '-d', '--name', one, 'bb:1', 'sleep', '1000']);
    expect([await nodeOf('first'), await nodeOf('second')].sort()).toEqual(['node1', 'node2']);
    await docker(1, ['run', '-d', '--name', 'third', '--network', 'container:there', 'bb:1', 'sleep', '1000']);
    expect(await nodeOf('third')).toBe('node2');
    expect(await failing(1, ['run', '-e', 'constraint:node.hostname==nosuch', 'bb:1'])).toMatchObject({
      code: 125,
      err: expect.stringContaining('node.hostname==nosuch on 2 nodes'),
    });
    expect((await failing(2, ['run', '--name', 'first', 'bb:1'])).err).toContain('name "/first" is already in use');
    await docker(2, ['rename', 'first', 'other']);
    await docker(2, ['stop', '-t', '0', 'other']);
    await docker(1, ['start', 'other']);
    await docker(1, ['rm', '-f', 'other', 'second', 'third']);
  });

  test('images and volumes of all nodes', async () => {
    await docker(2, ['tag', 'bb:1', 'mine:1']);
    for (const { engine } of lab.hosts) await engine.docker.getImage('mine:1').inspect();
    expect(await docker(1, ['images', '-q', 'mine'])).toHaveLength(12);
    await docker(1, ['rmi', 'mine:1']);
    expect((await failing(2, ['image', 'inspect', 'mine:1'])).err).toContain('No such image: mine:1');
    const pulled = await failing(2, ['pull', 'registry.invalid/nosuch:1']);
    expect(pulled.code).toBe(1);
    expect(pulled.err).toMatch(/node1: .*node2: |node2: .*node1: /s);

    await docker(2, ['volume', 'create', 'data']);
    for (const { engine } of lab.hosts) await engine.docker.getVolume('data').inspect();
    expect(await docker(1, ['volume', 'ls', '-q'])).toBe('data');
    expect(await docker(2, ['volume', 'inspect', '-f', '{{.Status.Nodes}}', 'data'])).toBe('[node1 node2]');
    await docker(1, ['volume', 'rm', 'data']);
    expect((await failing(1, ['volume', 'inspect', 'data'])).err).toMatch(/no such volume/i);
  });

  /** The ids of an image on the hosts. */
  const ids = async (image: string) =>
    new Set(await Promise.all(lab.hosts.map(async ({ engine }) => (await engine.docker.getImage(image).inspect()).Id)));

  test('images are saved, loaded and built', async () => {
    const archive = join(folder, 'images.tar');
    await docker(2, ['save', '-o', archive, 'bb:1']);
    await docker(1, ['tag', 'bb:1', 'kept:1']);
    await docker(1, ['rmi', 'bb:1']);
    expect(await docker(1, ['load', '-q', '-i', archive])).toBe('Loaded image: bb:1');
    expect(await ids('bb:1')).toEqual(await ids('kept:1'));

    writeFileSync(join(folder, 'Dockerfile'), 'FROM bb:1\nCOPY words /words\nCMD tail -n 1 /words\n');
    writeFileSync(join(folder, 'words'), `${randomBytes(1_000_000).toString('hex')}\nbuilt`);
    const where = ['--label', 'swarmctl.constraints=node.hostname==node2'];
    const build = ['build', '--force-rm', ...where, '-t', 'built:1', '-f', join(folder, 'Dockerfile'), folder];
    expect(await docker(1, build)).toMatch(/Successfully tagged built:1/);
    expect((await ids('built:1')).size).toBe(1);
    const onFirst = ['-e', 'constraint:node.hostname==node1'];
    expect(await docker(1, ['run', '--rm', ...onFirst, 'built:1'])).toBe('built');
    writeFileSync(join(folder, 'Dockerfile'), 'FROM bb:1\nRUN exit 3\n');
    expect(await failing(2, build)).toMatchObject({ code: 3, err: expect.stringContaining('non-zero') });
    await docker(1, ['rmi', 'kept:1', 'built:1']);
  });

  test('BuildKit builds by the host that follows, and the host that lost the image gets it for its task', async () => {
    writeFileSync(join(folder, 'Dockerfile'), 'FROM bb:1\nCOPY words /words\nCMD cat /words\n');
    writeFileSync(join(folder, 'words'), 'by kit');
    const env = { ...hostOf(2), DOCKER_BUILDKIT: '1' };
    // The newest need a plugin for it.
    const built = await run(cliOf(1), ['build', '-q', '-t', 'kit:1', folder], env).ended;
    expect([built.code, await ids('kit:1')]).toEqual([0, new Set([built.out.trim()])]);
    await lab.host(2).engine.docker.getImage('kit:1').remove();
    const once = ['--mode', 'replicated-job', '--restart-condition', 'none', '--constraint', 'node.hostname==node2'];
    await docker(2, ['service', 'create', '-q', '--name', 'given', ...once, 'kit:1']);
    expect(await docker(1, ['service', 'logs', '--raw', 'given'])).toBe('by kit');
    await docker(1, ['service', 'rm', 'given']);
    await docker(1, ['rmi', '-f', 'kit:1']);
  });

  test('images are committed and imported', async () => {
    const committed = await docker(2, ['commit', '-c', 'CMD hostname', 'there', 'committed:1']);
    expect(await ids('committed:1')).toEqual(new Set([committed]));
    const archive = join(folder, 'container.tar');
    await docker(1, ['export', '-o', archive, 'there']);
    const imported = await docker(2, ['import', archive, 'imported:1']);
    expect([...(await ids('imported:1'))]).toEqual([imported.split('\n')[0]]);
    await docker(2, ['rmi', 'committed:1', 'imported:1']);
  });

  test('df and prune', async () => {
    expect(await docker(1, ['system', 'df', '--format', '{{.Type}} {{.TotalCount}}'])).toContain('Containers 2');
    for (const host of ['node1', 'node2']) {
      await docker(1, ['run', '-e', `constraint:node.hostname==${host}`, 'bb:1', 'touch', '/x']);
    }
    expect(await docker(2, ['ps', '-aq', '--filter', 'status=exited'])).toHaveLength(2 * 12 + 1);
    expect(await docker(2, ['system', 'prune', '-f', '--volumes'])).toContain('Deleted Containers');
    expect(await docker(2, ['ps', '-aq', '--filter', 'status=exited'])).toBe('');
  });

  test('events of both hosts, by either of them, as they come and afterwards', async () => {
    const since = ['--since', String(Date.now() / 1000)];
    const shown = '{{.Action}} {{.Actor.Attributes.name}} {{index .Actor.Attributes "swarmctl.node"}}';
    const asked = [...since, '--filter', 'type=container', '--filter', 'event=start', '--format', shown];
    const followers = [1, 2].map((host) => run(cliOf(host), ['events', ...asked], hostOf(host)));
    const expected = ['start early node1', 'start late node2'];
    for (const line of expected) {
      const [, container = '', host = ''] = line.split(' ');
      const at = ['-e', `constraint:node.hostname==${host}`];
      await docker(1, ['run', '-d', '--name', container, ...at, 'bb:1', 'sleep', '1000']);
      for (const { said } of followers) await expect.poll(() => said.out, { timeout: 10_000 }).toContain(line);
    }
    for (const { child } of followers) child.kill('SIGINT');
    for (const { ended } of followers) expect((await ended).out.trim().split('\n')).toEqual(expected);
    const until = ['--until', String(Date.now() / 1000)];
    for (const host of [1, 2]) {
      expect((await docker(host, ['events', ...asked, ...until])).split('\n')).toEqual(expected);
      const narrow = ['--filter', 'node=node2', '--filter', 'event=start'];
      expect(await lab.host(host).ctl('events', ...since, ...until, ...narrow)).toMatch(
        /^\S+ container start [0-9a-f]{64} \(.*name=late, .*swarmctl\.node=node2, .*\)\n$/,
      );
    }
    await docker(2, ['rm', '-f', 'early', 'late']);
  });

  test('info counts all; a container joins a network where it is', async () => {
    for (const host of [1, 2]) {
      const running = async () => `${(await docker(host, ['ps', '-q'])).split('\n').length}`;
      const counted = () => docker(host, ['info', '--format', '{{.ContainersRunning}}']);
      await expect.poll(counted, { timeout: 15_000 }).toBe(await running());
    }
    await docker(1, ['network', 'create', 'back']);
    const shown = '{{.Driver}} {{.Scope}} {{range .Containers}}{{.Name}}{{end}}';
    const inspected = () => docker(2, ['network', 'inspect', '-f', shown, 'back']);
    const networks = () =>
      docker(1, ['inspect', '-f', '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}', 'there']);
    const connected = () => run(cliOf(2), ['network', 'connect', '--alias', 'palm', 'back', 'there'], hostOf(2)).ended;
    await expect.poll(async () => (await connected()).err, { timeout: 15_000 }).toBe('');
    expect(await networks()).toBe('back bridge');
    // At once.
    expect(await inspected()).toBe('bridge swarm there');
    expect((await failing(1, ['network', 'rm', 'back'])).err).toContain('is in use by container there on node node2');
    await docker(1, ['network', 'disconnect', 'back', 'there']);
    expect(await inspected()).toBe('bridge swarm');
    expect(await networks()).toBe('bridge');
    await docker(1, ['network', 'rm', 'back']);
  });

  test('what there is not is said as Docker says it', async () => {
    expect((await failing(1, ['logs', 'nosuch'])).err).toContain('No such container: nosuch');
    expect((await failing(2, ['inspect', 'nosuch'])).err).toContain('No such object: nosuch');
  });

  test('a container of a task is one of them, and another comes for it', async () => {
    await lab.host(1).ctl('service', 'create', '--detach', '--name', 'web', '--restart-delay', '0s', 'web:1');
    const ids = async () => await docker(2, ['ps', '-q', '--no-trunc', '--filter', 'name=web.1.']);
    await expect.poll(ids, { timeout: 10_000 }).not.toBe('');
    const first = await ids();
    const exec = (host: number, ...args: string[]) => lab.host(host).exec('swarmctl', 'exec', ...args);
    for (const reference of ['web', 'web.1']) {
      expect(await exec(2, '-e', 'A=b', reference, 'sh', '-c', 'echo $A')).toMatchObject({ code: 0, out: 'b\n' });
    }
    expect(await exec(1, 'web', 'sh', '-c', 'exit 6')).toMatchObject({ code: 6 });
    await docker(2, ['rm', '-f', first]);
    await expect.poll(ids, { timeout: 10_000 }).not.toMatch(new RegExp(`^(?:${first})?$`));
  });
});
