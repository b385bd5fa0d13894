import { describe, expect, test } from 'vitest';
import { expandContainerSpec, templateContext } from './templates.ts';
import { completeServiceSpec } from './validate.ts';

const task = {
  ...{ ID: 't1', ServiceID: 's1', NodeID: 'n1', Slot: 2 },
  ServiceAnnotations: { Name: 'web', Labels: { tier: 'front', 'a.b': 'dotted' } },
};
const node = { nodeId: 'n1', hostname: 'höst', architecture: 'x86_64', os: 'linux' };
const context = templateContext(task, node);
const env = (text: string) => expandContainerSpec({ Env: [`A=${text}`] }, context).Env?.[0]?.slice(2);

test.each([
  ['plain {text}', 'plain {text}'],
  ['{{.Service.ID}} {{.Service.Name}}', 's1 web'],
  ['a-{{ .Task.Slot }}-{{.Node.Hostname}}-z', 'a-2-höst-z'],
  ['{{.Task.ID}} {{.Task.Name}}', 't1 web.2.t1'],
  ['{{.Node.ID}} {{.Node.Platform.OS}}/{{.Node.Platform.Architecture}}', 'n1 linux/x86_64'],
  ['{{.Service.Labels.tier}} {{index .Service.Labels "a.b"}}', 'front dotted'],
  ['{{index .Service.Labels "none"}}', ''],
  ['{{.Service.Labels}} {{.Node.Platform}}', 'map[a.b:dotted tier:front] {x86_64 linux}'],
  ['{{join "-" .Service.Name .Task.Slot}}', 'web-2'],
  ['{{if eq .Task.Slot "2"}}first{{else}}other{{end}}', 'first'],
])('%s is %s', (text, wanted) => expect(env(text)).toBe(wanted));

test('of a global service, the slot is the node', () => {
  const { Slot: _, ...global } = task;
  const { Env } = expandContainerSpec({ Env: ['A={{.Task.Slot}} {{.Task.Name}}'] }, templateContext(global, node));
  expect(Env).toEqual(['A=n1 web.n1.t1']);
});

test('stand where Swarm fills them in, and nowhere else', () => {
  const spec = {
    Env: ['{{.Task.Slot}}={{.Task.Slot}}', '{{.Task.Slot}}'],
    Hostname: '{{.Service.Name}}-{{.Task.Slot}}',
    Args: ['{{.Task.Slot}}'],
    Labels: { a: '{{.Task.Slot}}' },
    Mounts: [
      {
        Type: 'volume' as const,
        Source: 'data-{{.Task.Slot}}',
        Target: '/{{.Service.Name}}',
        VolumeOptions: { Labels: { a: '{{.Node.ID}}' }, DriverConfig: { Name: 'x', Options: { o: '{{.Task.ID}}' } } },
      },
    ],
  };
  expect(expandContainerSpec(spec, context)).toEqual({
    ...spec,
    Env: ['{{.Task.Slot}}=2', '{{.Task.Slot}}'],
    Hostname: 'web-2',
    Mounts: [
      {
        Type: 'volume',
        Source: 'data-2',
        Target: '/web',
        VolumeOptions: { Labels: { a: 'n1' }, DriverConfig: { Name: 'x', Options: { o: 't1' } } },
      },
    ],
  });
});

describe('a service is not made', () => {
  const complete = (ContainerSpec: object) =>
    completeServiceSpec({
      Name: 'web',
      Labels: { tier: 'front' },
      TaskTemplate: { ContainerSpec: { Image: 'a', ...ContainerSpec } },
    });
  const struct = 'struct { ID string; Name string; Labels map[string]string }';

  test.each([
    [
      { Env: ['A={{.Service.Nam}}'] },
      `expanding env failed: expanding env "A={{.Service.Nam}}": template: expansion:1:10: executing "expansion" at <.Service.Nam>: can't evaluate field Nam in type ${struct}`,
    ],
    [{ Hostname: '{{.Service.Name' }, 'expanding hostname failed: template: expansion:1: unclosed action'],
    [
      { Mounts: [{ Source: '{{lost}}', Target: '/a' }] },
      'expanding mounts failed: expanding mount source "{{lost}}": template: expansion:1: function "lost" not defined',
    ],
    [
      { Mounts: [{ Target: '/a', VolumeOptions: { Labels: { l: '{{}}' } } }] },
      'expanding mounts failed: expanding volume labels: expanding map entry "l"="{{}}": template: expansion:1: missing value for command',
    ],
    [{ Env: ['A={{.Service.Labels.none}}'] }, 'map has no entry for key "none"'],
    [{ Env: ['A={{secret "x"}}'] }, 'function "secret" not defined'],
  ])('with %j', (container, problem) => {
    expect(() => complete(container)).toThrow('rpc error: code = InvalidArgument desc = expanding');
    expect(() => complete(container)).toThrow(problem);
  });

  test('unless its templates are right', () => {
    const container = { Env: ['A={{.Service.Labels.tier}}{{.Node.Hostname}}'], Hostname: '{{.Task.Slot}}' };
    expect(complete(container).TaskTemplate.ContainerSpec).toMatchObject(container);
  });
});
