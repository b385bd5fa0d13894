import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type FakeDaemon, fakeDaemon } from '../../../../test/kit/swarmctl.ts';

let daemon: FakeDaemon;
let zone: string | undefined;

const lines = [
  '{"status":"start","Type":"container","Action":"start","Actor":{"ID":"c1","Attributes":{"swarmctl.node":"two","image":"bb:1","name":"web"}},"scope":"local","time":1795220608,"timeNano":1795220608785360202}',
  '{"Type":"service","Action":"remove","Actor":{"ID":"s1","Attributes":{}},"scope":"swarm","swarmctl.revision":"7.0","time":1795220609,"timeNano":1795220609000000000}',
];

beforeEach(async () => {
  zone = process.env['TZ'];
  daemon = await fakeDaemon(({ url }, response) => {
    if (url.startsWith('/v1.50/events')) return response.end(`${lines.join('\n')}\n`);
    return response.writeHead(404).end('{"message":"no"}');
  });
});
afterEach(() => {
  if (zone === undefined) delete process.env['TZ'];
  else process.env['TZ'] = zone;
  daemon.close();
});

const asked = () => new URL(daemon.requests.at(-1)?.url ?? '', 'http://x').searchParams;

describe('events', () => {
  test.each([
    ['UTC', '2026-11-21T00:23:28.785360202Z'],
    ['Asia/Kolkata', '2026-11-21T05:53:28.785360202+05:30'],
    ['America/New_York', '2026-11-20T19:23:28.785360202-05:00'],
  ])('as Docker prints them, in %s', async (name, time) => {
    process.env['TZ'] = name;
    const { status, out } = await daemon.swarmctl('events');
    const [first, second] = out.split('\n');
    expect({ status, first }).toEqual({
      status: 0,
      first: `${time} container start c1 (image=bb:1, name=web, swarmctl.node=two)`,
    });
    expect(second).toMatch(/ service remove s1$/);
  });

  test('as JSON, and by a template', async () => {
    expect((await daemon.swarmctl('events', '--format', 'json')).out).toBe(`${lines.join('\n')}\n`);
    const format = '{{.Type}} {{.Action}} {{.TimeNano}} {{index .Actor.Attributes "swarmctl.node"}}';
    expect((await daemon.swarmctl('events', '--format', format)).out.split('\n')[0]).toBe(
      'container start 1795220608785360202 two',
    );
  });

  test('of a time, from behind a revision, and of what matches', async () => {
    await daemon.swarmctl(
      'events',
      '--since',
      '1795220608.5',
      '--until',
      '2026-11-21T00:23:29Z',
      '-f',
      'type=container',
    );
    expect(Object.fromEntries(asked())).toEqual({
      ...{ since: '1795220608.500000000', until: '1795220609.000000000' },
      filters: '{"type":{"container":true}}',
    });
    await daemon.swarmctl('events', '--since', 'revision:7.0');
    expect(asked().get('since')).toBe('revision:7.0');
    const { status, err } = await daemon.swarmctl('events', '--until', 'soon');
    expect({ status, err }).toEqual({ status: 125, err: expect.stringContaining('"soon" for "--until"') });
  });

  test("the daemon's refusal is printed", async () => {
    daemon.close();
    daemon = await fakeDaemon((_, response) => response.writeHead(400).end('{"message":"invalid filter"}'));
    expect((await daemon.swarmctl('events', '-f', 'bogus=x')).err).toContain('invalid filter');
  });
});
