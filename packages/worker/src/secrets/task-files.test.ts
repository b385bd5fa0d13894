import { randomBytes } from 'node:crypto';
import type { ContainerSpec } from '@swarmctl/shared/model';
import type { NodePayload } from '@swarmctl/shared/wire';
import { describe, expect, test } from 'vitest';
import { aService, aTask } from '../../../../test/kit/index.ts';
import { taskFiles } from './task-files.ts';

const node = { nodeId: 'n1', clusterId: 'c1', hostname: 'host1', addr: '10.0.0.1' };

const payload = (kind: 'secret' | 'config', id: string, data: string | Buffer, templated = false): NodePayload => ({
  kind,
  id,
  name: id,
  version: { base: id, number: 1 },
  data: Buffer.from(data as string),
  templated,
});

const taskOf = (container: ContainerSpec) =>
  aTask({ id: 't1', service: aService({ name: 'web', labels: { tier: 'frönt' }, container }), node: 'n1', slot: 2 });

const secret = (id: string, Name = id) => ({ SecretID: id, SecretName: id, File: { Name } });
const config = (id: string, Name = id) => ({ ConfigID: id, ConfigName: id, File: { Name } });

/** One config of this content in a task with two secrets and an environment. */
function filled(content: string | Buffer, kind: 'secret' | 'config' = 'config'): Buffer {
  const payloads = new Map(
    [
      payload('secret', 'pass', '{{.not.expanded}}'),
      payload('secret', 'bytes', Buffer.from([0xff, 0, 0xa0])),
      payload('config', 'other', 'o'),
      payload(kind, 'it', content, true),
    ].map((one) => [one.id, one]),
  );
  const own = kind === 'config' ? { Configs: [config('it')] } : { Secrets: [secret('it')] };
  const task = taskOf({
    Env: ['A=x=y', 'B={{.Task.Slot}}', 'C'],
    Secrets: [secret('pass', '/etc/pass'), secret('bytes'), ...(own.Secrets ?? [])],
    Configs: [config('other', 'öther'), ...(own.Configs ?? [])],
  });
  const files = taskFiles(task, node, (id) => payloads.get(id));
  return Buffer.from(files.find((file) => file.name === 'it')?.data ?? []);
}

test('are where the spec says, for whom it says', () => {
  const task = taskOf({
    Secrets: [
      { SecretID: 's1', SecretName: 'pass', File: { Name: 'p', UID: '1000', GID: '50', Mode: 0o400 } },
      { SecretID: 's1', SecretName: 'pass', File: { Name: '/etc/p', Mode: 0 } },
    ],
    Configs: [{ ConfigID: 'c1', ConfigName: 'conf', File: { Name: 'a/b' } }],
  });
  const bytes = randomBytes(100);
  const known = new Map([
    ['s1', payload('secret', 's1', bytes)],
    ['c1', payload('config', 'c1', '{{.no.template}}')],
  ]);
  expect(taskFiles(task, node, (id) => known.get(id))).toMatchObject([
    { path: '/run/secrets/p', uid: 1000, gid: 50, mode: 0o400, data: bytes },
    { path: '/etc/p', uid: 0, gid: 0, mode: 0, data: bytes },
    { path: '/a/b', uid: 0, gid: 0, mode: 0o444, data: Buffer.from('{{.no.template}}') },
  ]);
  known.delete('s1');
  expect(() => taskFiles(task, node, (id) => known.get(id))).toThrow(
    "the secret 'pass' is not in the cluster any more",
  );
  expect(taskFiles(taskOf({}), node, () => undefined)).toEqual([]);
});

describe('templates', () => {
  test.each([
    ['{{.Service.Name}} {{.Node.Hostname}} {{.Task.Slot}} {{.Task.ID}}', 'web host1 2 t1'],
    ['{{env "A"}}|{{env `B`}}|{{env "C"}}|{{env "none"}}', 'x=y|2||'],
    ['{{ secret "/etc/pass" }} {{ config "öther" }}', '{{.not.expanded}} o'],
    ['ä {{.Service.Labels.tier}}', 'ä frönt'],
    ['{{range $key, $value := .Service.Labels}}{{$key}}={{$value | printf "%q"}};{{end}}', 'tier="frönt";'],
    ['{{if eq (env "A") "x=y"}}{{secret "/etc/pass" | len}}{{end}}', '17'],
    ['à {{- /* nothing */ -}} ß', 'àß'],
  ])('%s is %s', (content, wanted) => {
    expect(filled(content).toString()).toBe(wanted);
    expect(filled(content, 'secret').toString()).toBe(wanted);
  });

  test('leave bytes that are no text as they are', () => {
    const odd = Buffer.from([0xe0, 0xa0, 0x0a, 0xff, 0xfe]);
    const content = Buffer.concat([odd, Buffer.from(' {{- secret "bytes" -}} '), odd]);
    expect(filled(content)).toEqual(Buffer.concat([odd, Buffer.from([0xff, 0, 0xa0]), odd]));
  });

  test.each([
    [
      'a={{secret "unknowntarget"}}',
      'failed to expand templated config it: template: expansion:1:4: executing "expansion" at <secret "unknowntarget">: error calling secret: secret target unknowntarget not found',
    ],
    ['{{config "none"}}', 'error calling config: config target none not found'],
    ['{{secret}}', 'at <secret>: wrong number of args for secret: want 1 got 0'],
    ['{{.Task.Nam}}', "can't evaluate field Nam in type struct { ID string; Name string; Slot string }"],
    ['{{.None}}', "can't evaluate field None in type *template.PayloadContext"],
    ['\n{{.Service', 'failed to expand templated config it: template: expansion:2: unclosed action'],
  ])('%s is refused', (content, problem) => expect(() => filled(content)).toThrow(problem));

  test('a refused secret shows nothing of it', () => {
    for (const [content, place] of [
      ['hush {{"hidden" | quote}}', '1'],
      ['hush {{secret "hidden"}}', '1:7'],
    ] as const) {
      const message = `failed to expand templated secret it: template: expansion:${place}: this action cannot be evaluated`;
      expect(() => filled(content, 'secret')).toThrow(expect.objectContaining({ message }));
    }
  });
});
