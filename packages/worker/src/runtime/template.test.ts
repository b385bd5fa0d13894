import { describe, expect, it } from 'vitest';
import { makeTask } from '../../../../test/kit/runtime-contract.ts';
import { expand, expandContainerSpec, templateContext } from './template.ts';

const node = { nodeId: 'n1', clusterId: 'c1', hostname: 'host1', addr: '10.0.0.1' };
const task = makeTask({ node, container: {} }, 'true', { slot: 2 });
const context = templateContext(task, node);

describe('templates', () => {
  it.each([
    ['plain {text}', 'plain {text}'],
    ['{{.Service.Name}}', 'web'],
    ['a-{{ .Task.Slot }}-{{.Node.Hostname}}-z', 'a-2-host1-z'],
    ['{{.Task.Name}}', `web.2.${task.ID}`],
    ['{{.Service.Labels.tier}}', 'front'],
    ['{{.Service.Labels.none}}', '<no value>'],
    ['{{index .Service.Labels "a.b"}}', 'dotted'],
    ['{{index .Service.Labels "none"}}', ''],
    ['{{"literal"}} {{`raw`}}', 'literal raw'],
    ['a {{- .Service.Name -}} b', 'awebb'],
    ['{{.Node.Platform.OS}}', 'linux'],
    ['{{.Service.Labels}}', 'map[a.b:dotted tier:front]'],
    ['a{{/* a comment */}}b', 'ab'],
  ])('%s is %s', (text, wanted) => expect(expand(text, { context })).toBe(wanted));

  it.each([
    ['{{.Service.Name', 'unclosed action'],
    ['{{.Service.Nam}}', "can't evaluate field Nam of .Service.Nam"],
    ['{{.Service.Name.x}}', "can't evaluate field x"],
    ['{{range .Service.Labels}}', 'is not supported'],
    ['{{__proto__}}', 'is not supported'],
    ['{{.__proto__}}', "can't evaluate field __proto__"],
    ['{{}}', 'is not supported'],
  ])('%s is refused', (text, problem) => expect(() => expand(text, { context })).toThrow(problem));

  it('call the functions that there are', () => {
    const functions = {
      env: (name: string) => `<${name}>`,
      fail: () => {
        throw new Error('there is none');
      },
    };
    const fill = (text: string) => expand(text, { context, functions, called: "config 'a'" });
    expect(fill('{{env "A"}} {{ env `B"` }}')).toBe('<A> <B">');
    expect(() => fill('{{fail "A"}}')).toThrow("template: config 'a': there is none");
    expect(() => fill('{{lost "A"}}')).toThrow(`write a field such as .Service.Name, env "NAME", fail "NAME"`);
    expect(() => fill('{{toString "A"}}')).toThrow('is not supported');
  });

  it('are filled in where Swarm fills them', () => {
    const spec = expandContainerSpec(
      {
        Env: ['A={{.Task.Slot}}'],
        Hostname: '{{.Service.Name}}-{{.Task.Slot}}',
        Args: ['{{.Task.Slot}}'],
        Mounts: [
          {
            Type: 'volume',
            Source: 'data-{{.Task.Slot}}',
            Target: '/{{.Service.Name}}',
            VolumeOptions: {
              Labels: { a: '{{.Node.ID}}' },
              DriverConfig: { Name: 'x', Options: { o: '{{.Task.ID}}' } },
            },
          },
        ],
      },
      task,
      node,
    );
    expect(spec).toEqual({
      Env: ['A=2'],
      Hostname: 'web-2',
      Args: ['{{.Task.Slot}}'],
      Mounts: [
        {
          Type: 'volume',
          Source: 'data-2',
          Target: '/web',
          VolumeOptions: { Labels: { a: 'n1' }, DriverConfig: { Name: 'x', Options: { o: task.ID } } },
        },
      ],
    });
  });
});
