import { describe, expect, test } from 'vitest';
import { renderConfig } from './config.ts';
import { planHttp } from './plan.ts';
import { parseServers, serverCommands } from './servers.ts';
import { backendOf, entryOf } from './test-http.ts';

const around = { nodeId: 'n1', addresses: [] };
const render = (plan: ReturnType<typeof planHttp>) =>
  renderConfig(plan, {
    mostConnections: 100,
    hasIpv6: true,
    certificate: ([name]) => (name === 'none' ? undefined : name),
  });

describe('planHttp', () => {
  test('reaches tasks here at their own address, others at the port of their node', () => {
    const far = { ...backendOf('t2', 2), nodeId: 'n2', nodeAddr: '10.0.0.2', nodePort: 30_001 };
    const odd = { ...far, taskId: 't3', nodeAddr: 'host' };
    const { backends, problems } = planHttp([entryOf('s', 80, ['*'], [backendOf('t1', 1), far, odd])], around);
    expect(backends.get('s.80')?.servers).toEqual([
      { name: 't1', addr: '127.0.0.1', port: 1 },
      { name: 't2', addr: '10.0.0.2', port: 30_001 },
    ]);
    expect([...problems]).toEqual([['tcp/80#s', 'task t3 is left out: host:30001 is no IP endpoint']]);
  });

  test('listens on the addresses of the node, and on those that entries name among them', () => {
    const bound = { ...entryOf('b', 80, ['b'], []), key: 'tcp/80@10.0.0.2#b', address: '10.0.0.2' };
    const other = { ...entryOf('c', 80, ['c'], []), key: 'tcp/80@10.0.0.9#c', address: '10.0.0.9' };
    const all = [entryOf('a', 80, ['a'], []), bound, other];
    const listening = (addresses: string[]) =>
      planHttp(all, { nodeId: 'n1', addresses }).listeners.map(({ addr, routes }) => [
        addr,
        routes.map(({ backend }) => backend).join(),
      ]);
    expect(listening(['10.0.0.1', '10.0.0.2'])).toEqual([
      ['10.0.0.1', 'a.80'],
      ['10.0.0.2', 'a.80,b.80'],
    ]);
    expect(listening([])).toEqual([
      ['*', 'a.80'],
      ['10.0.0.2', 'a.80,b.80'],
      ['10.0.0.9', 'a.80,c.80'],
    ]);
  });

  test('gives a route that two services have to the same one on every node, and says so', () => {
    const [a, b] = [entryOf('a', 80, ['x/api'], []), entryOf('b', 80, ['x/api', 'y'], [])];
    for (const entries of [
      [a, b],
      [b, a],
    ]) {
      const { listeners, problems } = planHttp(entries, around);
      expect(listeners[0]?.routes.map(({ backend }) => backend)).toEqual(['a.80', 'b.80']);
      expect([...problems]).toEqual([['tcp/80#b', 'requests to x/api go to service a']]);
    }
  });
});

describe('the configuration', () => {
  test('binds both families, with the certificates that there are, one for all first', () => {
    const plan = planHttp(
      [
        entryOf('a', 443, ['a.org', '*.b.org/x'], [], { tls: ['one'] }),
        entryOf('b', 443, ['*'], [], { tls: ['two'] }),
        entryOf('c', 443, ['c.org'], [], { tls: ['none'] }),
      ],
      around,
    );
    const { files } = render(plan);
    expect(files.get('every.443.certs')).toBe('two\none a.org *.b.org\n');
    expect(files.get('every.443.map')).toBe('a.org/ a.443\n*.b.org/x/ a.443\n*/ b.443\nc.org/ c.443\n');
    const binds = files.get('haproxy.cfg')?.match(/^ {2}bind ip.*$/gm);
    expect(binds).toEqual([
      '  bind ipv4@:443 ssl crt-list every.443.certs alpn h2,http/1.1',
      '  bind ipv6@:::443 v6only ssl crt-list every.443.certs alpn h2,http/1.1',
    ]);
  });

  test('has the same shape whichever tasks there are, and another for other options', () => {
    const shape = (...given: Parameters<typeof entryOf>) => render(planHttp([entryOf(...given)], around)).shape;
    const plain = shape('a', 80, ['x'], []);
    expect(shape('a', 80, ['x'], [backendOf('t1', 1)])).toBe(plain);
    const others = [
      shape('a', 80, ['y'], []),
      shape('a', 81, ['x'], []),
      shape('a', 80, ['x'], [], { sticky: true }),
      shape('a', 80, ['x'], [], { allow: ['10.0.0.0/8'] }),
    ];
    expect(new Set([plain, ...others]).size).toBe(5);
  });
});

test('servers become those that are wanted, and those that left go when nothing is in flight', () => {
  const { backends } = planHttp(
    [
      entryOf(
        's',
        80,
        ['*'],
        [1, 2, 3].map((n) => backendOf(`t${n}`, n)),
      ),
    ],
    around,
  );
  const line = (name: string, port: number, admin = 0) =>
    `3 s.80 1 ${name} 127.0.0.1 2 ${admin} 1 1 4 1 0 2 0 0 0 0 - ${port} - 0 0 - - 0`;
  const known = parseServers([
    '1',
    '# be_id …',
    line('t2', 2, 1),
    line('t3', 9),
    line('t4', 4),
    line('t5', 5, 1),
    line('next', 0).replace('s.80', '1.80.next'),
  ]);
  expect(serverCommands(known, backends)).toEqual({
    commands: [
      'add server s.80/t1 ipv4@127.0.0.1:1 pool-purge-delay 2s',
      'enable server s.80/t1',
      'set server s.80/t2 state ready',
      'set server s.80/t3 addr ipv4@127.0.0.1 port 3',
      'set server s.80/t4 state maint',
      'del server s.80/t4',
      'del server s.80/t5',
    ],
    added: 1,
    isLeaving: true,
  });
});
