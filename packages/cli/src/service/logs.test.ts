import { afterEach, describe, expect, test } from 'vitest';
import { type FakeDaemon, fakeDaemon } from '../../../../test/kit/swarmctl.ts';
import { plain } from './logs.ts';

let daemon: FakeDaemon | undefined;
afterEach(() => daemon?.close());

const line = (task: string, node: string, text: string, more = ''): Buffer => {
  const ids = `com.docker.swarm.node.id=${node},com.docker.swarm.service.id=s1,com.docker.swarm.task.id=${task}`;
  const payload = Buffer.from(`${ids}${more} ${text}\n`);
  const head = Buffer.alloc(8);
  head.writeUInt8(1, 0);
  head.writeUInt32BE(payload.length, 4);
  return Buffer.concat([head, payload]);
};
const node = (id: string) => ({ ID: id, Description: { Hostname: `host-of-${id}` } });
const web = { ID: 's1', Spec: { Name: 'web', TaskTemplate: {} } };

describe('service logs', () => {
  test('names the task and the host of each line, also of those that come later', async () => {
    const later = { t2: { ID: 't2', Slot: 2, NodeID: 'n2' } };
    daemon = await fakeDaemon(({ url }, response) => {
      const path = url.replace(/^\/v[\d.]+/, '').replace(/\?.*/, '');
      const answers: Record<string, unknown> = {
        '/services/web': web,
        '/services': [web],
        '/tasks': [{ ID: 't1', Slot: 1, NodeID: 'n1' }],
        '/nodes': [node('n1')],
        '/tasks/t2': later.t2,
        '/nodes/n2': node('n2'),
      };
      if (path === '/services/s1/logs') {
        const lines = [
          line('t1', 'n1', 'one'),
          line('t2', 'n2', 'two'),
          line('t2', 'n2', 'more'),
          line('gone', 'n1', 'x'),
        ];
        return response.end(Buffer.concat(lines));
      }
      response.statusCode = path in answers ? 200 : 404;
      return response.end(JSON.stringify(answers[path] ?? { message: `task ${path} not found` }));
    });
    const { out, err, status } = await daemon.swarmctl('service', 'logs', 'web');
    expect({ err, status }).toEqual({ err: '', status: 0 });
    expect(out.split('\n')).toEqual([
      'web.1.t1@host-of-n1    | one',
      'web.2.t2@host-of-n2    | two',
      'web.2.t2@host-of-n2    | more',
      'web.n1.gone@host-of-n1    | x',
      '',
    ]);
    expect(daemon.requests.filter(({ url }) => url.includes('/tasks/t2'))).toHaveLength(1);
  });

  test('shows what the log driver notes when asked to, and sends bounds in Unix time', async () => {
    const answers: Record<string, unknown> = {
      '/services/web': web,
      '/services': [web],
      '/tasks': [{ ID: 't1', Slot: 1, NodeID: 'n1' }],
      '/nodes': [node('n1')],
    };
    daemon = await fakeDaemon(({ url }, response) => {
      const path = url.replace(/^\/v[\d.]+/, '').replace(/\?.*/, '');
      if (path === '/services/s1/logs') return response.end(line('t1', 'n1', 'one  two', ',env=a%20b%2Cc,tag=x'));
      return response.end(JSON.stringify(answers[path]));
    });
    const bounds = ['--since', '2026-01-01T00:00:00.5Z', '--until', '1800000000.000000001'];
    expect(await daemon.swarmctl('service', 'logs', ...bounds, '--details', 'web')).toEqual({
      out: 'web.1.t1@host-of-n1    | env=a b,c,tag=x one  two\n',
      err: '',
      status: 0,
    });
    const asked = daemon.requests.find(({ url }) => url.includes('/logs'))?.url ?? '';
    const query = new URL(asked, 'http://daemon').searchParams;
    expect([query.get('since'), query.get('until')]).toEqual(['1767225600.500000000', '1800000000.000000001']);
    expect((await daemon.swarmctl('service', 'logs', 'web')).out).toBe('web.1.t1@host-of-n1    | one  two\n');
    const { err } = await daemon.swarmctl('service', 'logs', '--since', 'yesterday', 'web');
    expect(err).toContain(
      'invalid value "yesterday" for "--since": expected a Unix time, RFC 3339 or a duration before now such as 10m',
    );
  });
});

test('what a terminal shows comes in whole characters, whatever pieces it is sent in', async () => {
  const bytes = Buffer.from('größe\r\n');
  async function* pieces() {
    yield* [bytes.subarray(0, 3), bytes.subarray(3)];
  }
  let text = '';
  for await (const piece of plain(pieces())) text += piece;
  expect(text).toBe('größe\r\n');
});
