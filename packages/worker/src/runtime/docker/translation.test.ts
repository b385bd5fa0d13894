import { type PortConfig, withTag } from '@swarmctl/shared/model';
import type Docker from 'dockerode';
import { describe, expect, it } from 'vitest';
import { isOnThisMachine, parseDockerHost } from './connect.ts';
import { containerState } from './container-state.ts';
import { describeEngine } from './describe.ts';
import { asRuntimeError, asStartError } from './errors.ts';
import { guestOf } from './guests.ts';
import { mostLineBytes, parseLogs } from './logs.ts';

const node = { nodeId: 'n1', clusterId: 'c1', hostname: 'h', addr: '127.0.0.2' };

describe('the state of a container', () => {
  const ports: PortConfig[] = [
    { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' },
    { Protocol: 'tcp', TargetPort: 80, PublishedPort: 9000, PublishMode: 'host' },
  ];
  const info = (state: object) =>
    ({
      Id: 'id1',
      State: { Status: 'running', Pid: 7, ExitCode: 0, OOMKilled: false, ...state },
      Config: { Labels: { 'com.docker.swarm.task.id': 't1', 'swarmctl.task.ports': JSON.stringify(ports) } },
      NetworkSettings: {
        Networks: { bridge: { IPAddress: '172.17.0.2' } },
        Ports: {
          '80/tcp': [
            { HostIp: '127.0.0.2', HostPort: '9000' },
            { HostIp: '127.0.0.2', HostPort: '32768' },
          ],
        },
      },
    }) as unknown as Docker.ContainerInspectInfo;

  it('running: endpoints and host ports are told apart', () => {
    expect(containerState(info({ Health: { Status: 'starting' } }), { node, reachable: true })).toEqual({
      taskId: 't1',
      containerId: 'id1',
      phase: 'running',
      pid: 7,
      health: 'starting',
      endpoints: [
        {
          protocol: 'tcp',
          targetPort: 80,
          localAddr: '172.17.0.2',
          localPort: 80,
          nodeAddr: '127.0.0.2',
          nodePort: 32768,
        },
      ],
      hostPorts: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 9000, PublishMode: 'host' }],
    });
  });
  it('on another machine: reached at the published port', () => {
    expect(containerState(info({}), { node, reachable: false }).endpoints).toMatchObject([
      { localAddr: '127.0.0.2', localPort: 32768 },
    ]);
  });
  it.each([
    [{ Status: 'created' }, { phase: 'created' }],
    [{ Status: 'paused' }, { phase: 'running' }],
    [
      { Status: 'exited', Pid: 0, ExitCode: 137, OOMKilled: true },
      { phase: 'exited', exitCode: 137, oomKilled: true },
    ],
    [
      { Status: 'dead', ExitCode: 1 },
      { phase: 'exited', exitCode: 1 },
    ],
  ])('%j', (state, wanted) => expect(containerState(info(state), { node, reachable: true })).toMatchObject(wanted));
});

it('an engine’s words are permanent, its silence is not', () => {
  const refusal = Object.assign(new Error('(HTTP code 400) bad parameter - no '), {
    statusCode: 400,
    json: { message: 'invalid mount config' },
  });
  expect(asRuntimeError(refusal, 'unix:///x')).toMatchObject({ message: 'invalid mount config', permanent: true });
  const silence = Object.assign(new Error('connect ENOENT /x'), { code: 'ENOENT' });
  expect(asRuntimeError(silence, 'unix:///x')).toMatchObject({
    message: 'the Docker engine at unix:///x does not answer: connect ENOENT /x',
    permanent: false,
  });
  expect(asStartError(refusal, 'unix:///x').message).toBe('starting container failed: invalid mount config');
  expect(asStartError(silence, 'unix:///x').message).toBe(asRuntimeError(silence, 'unix:///x').message);
});

it.each([
  ['web', 'web:latest'],
  ['web:1', 'web:1'],
  ['host:5000/web', 'host:5000/web:latest'],
  ['host:5000/web:2', 'host:5000/web:2'],
  ['web@sha256:abc', 'web@sha256:abc'],
])('pulls %s as %s', (image, wanted) => expect(withTag(image)).toBe(wanted));

it('docker hosts', () => {
  expect(parseDockerHost('unix:///a/b.sock')).toEqual({ socketPath: '/a/b.sock' });
  expect(parseDockerHost('/a/b.sock')).toEqual({ socketPath: '/a/b.sock' });
  expect(parseDockerHost('tcp://10.1.2.3:2375')).toEqual({ host: '10.1.2.3', port: 2375 });
  expect(isOnThisMachine(parseDockerHost('tcp://10.1.2.3:2375'))).toBe(false);
  expect(isOnThisMachine(parseDockerHost('tcp://127.0.0.1:2375'))).toBe(true);
  for (const bad of ['ssh://x', 'unix://', 'tcp://x', 'nonsense']) {
    expect(() => parseDockerHost(bad)).toThrow(`docker host '${bad}' is not understood`);
  }
});

it('a node is described less what is reserved', () => {
  const info = {
    NCPU: 4,
    MemTotal: 8e9,
    Architecture: 'x86_64',
    OSType: 'linux',
    ServerVersion: '20.10.24',
    Labels: ['zone=a=b', 'bare'],
    Plugins: { Volume: ['local'], Log: ['json-file'], Authorization: null },
    GenericResources: [{ NamedResourceSpec: { Kind: 'GPU', Value: 'a' } }],
  };
  expect(describeEngine(info, { reservedNanoCpus: 1e9, reservedMemoryBytes: 3e9 })).toEqual({
    Platform: { Architecture: 'x86_64', OS: 'linux' },
    Resources: {
      NanoCPUs: 3e9,
      MemoryBytes: 5e9,
      GenericResources: [{ NamedResourceSpec: { Kind: 'GPU', Value: 'a' } }],
    },
    Engine: {
      EngineVersion: '20.10.24',
      Labels: { zone: 'a=b', bare: '' },
      Plugins: [
        { Type: 'Log', Name: 'json-file' },
        { Type: 'Volume', Name: 'local' },
      ],
    },
  });
});

describe('log streams', () => {
  const frame = (stream: number, text: string) => {
    const head = Buffer.alloc(8);
    head[0] = stream;
    head.writeUInt32BE(Buffer.byteLength(text), 4);
    return Buffer.concat([head, Buffer.from(text)]);
  };
  async function parse(bytes: Buffer, tty: boolean, size: number, details = false) {
    async function* chunks() {
      for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size);
    }
    const lines: string[] = [];
    for await (const line of parseLogs(chunks(), tty, 't', details)) {
      lines.push(`${line.stream} ${line.time} ${line.attrs ? `[${line.attrs}] ` : ''}${Buffer.from(line.line)}`);
    }
    return lines;
  }
  it.each([1, 7, 1000])('in chunks of %i bytes', async (size) => {
    const bytes = Buffer.concat([
      frame(1, 'T1 one\n'),
      frame(2, 'T2 two words\n'),
      frame(1, 'T3 par'),
      frame(1, 'T4 ts\n'),
    ]);
    expect(await parse(bytes, false, size)).toEqual(['stdout T1 one', 'stderr T2 two words', 'stdout T3 parts']);
    // A terminal's line ends with `\r\n`, of which only the newline ends it: readers see it as it was written.
    const ofTerminal = Buffer.from('T1 one\r\nT2 two\r\nT3 \r\nT4 a\rb\n');
    const written = ['stdout T1 one\r', 'stdout T2 two\r', 'stdout T3 \r', 'stdout T4 a\rb'];
    expect(await parse(ofTerminal, true, size)).toEqual(written);
    const noted = Buffer.concat([frame(1, 'T1 a=b,c=d%20e one two\n'), frame(1, 'T2  = three\n'), frame(2, 'T3  \n')]);
    expect(await parse(noted, false, size, true)).toEqual([
      'stdout T1 [a=b,c=d%20e] one two',
      'stdout T2 = three',
      'stderr T3 ',
    ]);
  });

  it.each([false, true])('what has no newline comes in pieces of a bounded length (terminal: %s)', async (tty) => {
    const part = 'x'.repeat(16 * 1024);
    const bytes = tty
      ? Buffer.from(`T1 ${part.repeat(64)}`)
      : Buffer.concat([...Array.from({ length: 64 }, (_, i) => frame(1, `T${i} ${part}`)), frame(1, 'T64 end\n')]);
    const pieces = await parse(bytes, tty, 64 * 1024);
    expect(pieces.length).toBeGreaterThanOrEqual(4);
    expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThan(mostLineBytes + 2 * 64 * 1024);
    expect(pieces.every((piece) => /^stdout T\d+ \S+$/.test(piece))).toBe(true);
    expect(pieces.map((piece) => piece.split(' ')[2]).join('')).toBe(part.repeat(64) + (tty ? '' : 'end'));
  });
});

describe('a container made by hand', () => {
  const endpoint = (NetworkID: string, IPAddress: string, more: object = {}) => ({
    ...{ NetworkID, IPAddress, GlobalIPv6Address: '', MacAddress: '02:42:0A:00:01:81', Aliases: null },
    ...more,
  });
  const inspected = (Networks: object) =>
    ({
      ...{ Id: 'id1', Name: '/palm', State: { Pid: 7 }, HostConfig: { Dns: ['192.0.2.53'] } },
      NetworkSettings: { Networks },
    }) as unknown as Docker.ContainerInspectInfo;
  const own = new Map([['n1', 'swbnet']]);

  it('is where it is on networks of the node', () => {
    const Links = ['main-db:DB', 'cache'];
    const more = { GlobalIPv6Address: 'fd00::8000:1', Aliases: ['tree', 'id1'], DNSNames: ['palm', 'tree'], Links };
    const info = inspected({ back: endpoint('n1', '10.0.1.129', more), bridge: endpoint('n0', '172.17.0.2') });
    expect(guestOf(info, own)).toEqual({
      ...{ containerId: 'id1', name: 'palm', pid: 7, nameservers: ['192.0.2.53'], isElsewhere: false },
      networks: [
        {
          ...{ bridge: 'swbnet', addresses: ['10.0.1.129', 'fd00::8000:1'], mac: '02:42:0a:00:01:81' },
          names: ['palm', 'tree', 'id1'],
          links: [
            ['db', 'main-db'],
            ['cache', 'cache'],
          ],
        },
      ],
    });
  });

  it('is elsewhere when other networks have names of their own', () => {
    const info = inspected({ back: endpoint('n1', '10.0.1.129'), mine: endpoint('n2', '172.18.0.2') });
    expect(guestOf(info, own).isElsewhere).toBe(true);
  });

  it('has no place on a network that it is only joining', () => {
    expect(guestOf(inspected({ back: endpoint('n1', '') }), own).networks).toEqual([]);
  });
});
