import { afterEach, expect, test } from 'vitest';
import { aNode } from '../../../../test/kit/builders.ts';
import { type FakeDaemon, fakeDaemon } from '../../../../test/kit/swarmctl.ts';

let daemon: FakeDaemon | undefined;
afterEach(() => daemon?.close());

test('what a node’s networks do not do as asked is printed with it', async () => {
  const { Description, ...node } = aNode({ id: 'n1' });
  const NetworkProblems = ['network front: 10.0.1.0/29 has no block left for this node'];
  daemon = await fakeDaemon((_, response) =>
    response.end(JSON.stringify({ ...node, Description: { ...Description, NetworkProblems } })),
  );
  const { out } = await daemon.swarmctl('node', 'inspect', '--pretty', 'n1');
  expect(out).toContain('Network problems:\n - network front: 10.0.1.0/29 has no block left for this node\n');
});
