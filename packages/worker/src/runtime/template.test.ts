import { expect, test } from 'vitest';
import { makeTask } from '../../../../test/kit/runtime-contract.ts';
import { expandContainerSpec } from './template.ts';
import { RuntimeError } from './types.ts';

const node = { nodeId: 'n1', clusterId: 'c1', hostname: 'host1', addr: '10.0.0.1' };
const task = makeTask({ node, container: {} }, 'true', { slot: 2 });

test('of tasks are filled in with what they and their node are', () => {
  const { Env } = expandContainerSpec({ Env: ['A={{.Task.Name}} {{.Node.Hostname}} {{.Node.ID}}'] }, task, node);
  expect(Env).toEqual([`A=web.2.${task.ID} host1 n1`]);
});

test('what cannot be filled in will not be another time', () => {
  const wrong = () => expandContainerSpec({ Hostname: '{{.None}}' }, task, node);
  expect(wrong).toThrow(RuntimeError);
  expect(wrong).toThrow(expect.objectContaining({ permanent: true }));
  expect(wrong).toThrow(
    'expanding hostname failed: template: expansion:1:2: executing "expansion" at <.None>: can\'t evaluate field None in type *template.Context',
  );
});
