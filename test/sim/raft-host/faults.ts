import { below } from '@swarmctl/shared/kit';
import { pick } from '../raft/choices.ts';
import { dirOf, type Member, type World } from './world.ts';

// The mishaps of the simulation: what may happen to members, their disks and their network in one step.

export const faultKinds = [
  'kill',
  'power',
  'blackout',
  'partition',
  'asymmetric',
  'bridge',
  'break',
  'delay',
  'slow-disk',
  'pause',
  'skew',
  'disk-error',
  'rot',
] as const;

export type FaultKind = (typeof faultKinds)[number];

const others = (world: World): number[] =>
  [...world.members.values()].filter(({ state }) => alive(state)).map(({ id }) => id);

const alive = (state: Member['state']): boolean => state === 'up' || state === 'down' || state === 'starting';

const cutBetween = (world: World, a: number, b: number): void => {
  world.network.cut.add(`${a}>${b}`);
  world.network.cut.add(`${b}>${a}`);
};

export const faults: Readonly<Record<FaultKind, (world: World) => Promise<void> | void>> = {
  kill: (world) => {
    if (world.up.length > 0) world.kill(pick(world.random, world.up), false);
  },
  power: (world) => {
    if (world.up.length > 0) world.kill(pick(world.random, world.up), true);
  },
  blackout: (world) => {
    for (const member of world.members.values()) if (alive(member.state)) world.kill(member, true);
  },
  partition: (world) => {
    const ids = others(world);
    const side = new Set(ids.filter(() => world.random() < 0.5));
    for (const a of side) for (const b of ids) if (!side.has(b)) cutBetween(world, a, b);
  },
  asymmetric: (world) => {
    const from = pick(world.random, others(world));
    for (const to of others(world)) if (to !== from && world.random() < 0.7) world.network.cut.add(`${from}>${to}`);
  },
  bridge: (world) => {
    const ids = others(world);
    const middle = pick(world.random, ids);
    const side = new Set(ids.filter((id) => id !== middle && world.random() < 0.5));
    for (const a of side) for (const b of ids) if (b !== middle && !side.has(b)) cutBetween(world, a, b);
  },
  break: (world) => world.network.breakSome(world.random()),
  delay: (world) => {
    world.network.maxDelayMs = pick(world.random, [2, 4, 30, world.tickMs * 4]);
  },
  'slow-disk': (world) => {
    world.maxDiskMs = pick(world.random, [2, 3, 30, world.tickMs * 4]);
  },
  pause: (world) => {
    if (world.up.length === 0) return;
    const { life } = pick(world.random, world.up);
    life.paused = true;
    const ms = world.tickMs * (1 + below(world.random, 40));
    world.scheduler.after(ms, undefined, 'resume', () => world.scheduler.resume(life));
  },
  skew: (world) => {
    world.skew = !world.skew;
  },
  'disk-error': (world) => {
    if (world.up.length === 0) return;
    const on = pick(world.random, ['write', 'sync'] as const);
    pick(world.random, world.up).fault = { on, code: pick(world.random, ['EIO', 'ENOSPC']) };
  },
  rot,
};

/** Damage to what was durable, of one member at a time and only while the others are enough without it. */
async function rot(world: World): Promise<void> {
  const leading = world.leader()?.node?.status();
  const voters = leading?.members.filter(({ learner }) => !learner) ?? [];
  // Also no change of the members under way that only some of them know of.
  const whole = voters.every(({ id }) => {
    const member = world.members.get(id);
    return member?.state === 'up' && member.node?.status().applied === leading?.lastIndex;
  });
  if (voters.length < 3 || !whole || [...world.members.values()].some(({ rotten }) => rotten)) return;
  const member = world.members.get(pick(world.random, voters).id)!;
  const segments = member.disk.paths(`${dirOf(member.id)}/wal`).filter((path) => path.endsWith('.wal'));
  // The last one may end in a torn record, which is no damage.
  if (segments.length < 2) return;
  const path = pick(world.random, segments.slice(0, -1));
  const bytes = Buffer.from(member.disk.bytes(path));
  let used = bytes.length;
  while (used > 0 && bytes[used - 1] === 0) used--;
  let at = below(world.random, used);
  // Zeros may be padding, which nobody reads.
  while (bytes[at] === 0) at++;
  world.kill(member, false);
  if (world.random() < 0.3) {
    member.disk.spoil(path, bytes.subarray(0, at));
  } else {
    bytes[at] = bytes[at]! ^ (1 << below(world.random, 8));
    member.disk.spoil(path, bytes);
  }
  member.rotten = true;
  await world.start(member);
}

/** Everything that was done to the world is undone, but what is lost. */
export async function mend(world: World): Promise<void> {
  world.network.heal();
  world.network.maxDelayMs = 4;
  world.maxDiskMs = 3;
  world.skew = false;
  for (const member of world.members.values()) {
    member.fault = undefined;
    if (member.life.paused) world.scheduler.resume(member.life);
    if (member.state === 'down') await world.start(member);
  }
}
