import { below } from '@swarmctl/shared/kit';
import { expect, it } from 'vitest';
import { type SimNode, World } from './world.ts';

// Roles are changed to and fro in any order, while daemons die and leaders change. In the end every node is what its role says. A failing seed replays with:
//   SEED=<seed> npx vitest run --project sim test/sim/roles/random.test.ts

/** Two members are let go at the same moment. */
const corpus = [369];
const seeds = process.env['SEED']
  ? [Number(process.env['SEED'])]
  : [...Array.from({ length: Number(process.env['SEEDS'] ?? 60) }, (_, i) => i + 1), ...corpus];

function somethingHappens(world: World): void {
  const node = world.nodes[below(world.random, world.nodes.length)] as SimNode;
  const lot = world.random();
  if (lot < 0.8) void world.setRole(node.id, world.node(node.id).Spec.Role === 'manager' ? 'worker' : 'manager');
  else if (lot < 0.9) {
    node.kill();
    node.start();
  } else if (lot < 0.95) node.cutSession();
  else world.elect();
}

/** Whether node, state and group agree. */
function standing(world: World, node: SimNode) {
  const { Spec, ManagerStatus } = world.node(node.id);
  const members = [...world.group.members.values()].filter(({ address }) => address === node.id);
  return {
    role: Spec.Role,
    isKnown: ManagerStatus !== undefined,
    certified: node.disk.certified,
    runs: node.manager?.raftId,
    members: members.map(({ id, learner }) => [id, learner]),
  };
}

it.each(seeds)('every node becomes what its role says (seed %i)', async (seed) => {
  const world = new World(seed);
  world.elect();
  for (const node of world.nodes) node.start();
  for (let changes = 10 + below(world.random, 20); changes > 0; changes--) {
    await world.clock.advance(world.random() < 0.5 ? world.random() * 50 : world.random() * 4_000);
    somethingHappens(world);
  }
  await world.clock.advance(60_000);
  expect(world.errors).toEqual([]);
  for (const node of world.nodes) {
    const { Spec, ManagerStatus } = world.node(node.id);
    const [role, raftId] = [Spec.Role, ManagerStatus?.RaftID];
    expect(standing(world, node)).toEqual(
      role === 'manager'
        ? { role, isKnown: true, certified: role, runs: raftId, members: [[raftId, false]] }
        : { role, isKnown: false, certified: role, runs: undefined, members: [] },
    );
  }
  world.stop();
});
