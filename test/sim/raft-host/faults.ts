import { below } from '@swarmctl/shared/kit';
import { extentPath, readExtent } from '../../../packages/raft-ts/src/wal/extent.ts';
import { PeerLogs } from '../../../packages/raft-ts/src/wal/peer-logs.ts';
import { openWith, readLog } from '../../../packages/raft-ts/src/wal/segments.ts';
import { walDir } from '../../../packages/raft-ts/src/wal/wal.ts';
import { pick } from '../raft/choices.ts';
import { instantly } from './disk.ts';
import { plainSealer } from './sealer.ts';
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
  'wipe',
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
  wipe,
};

/** A voter that the others are enough without, and that no change of the members, which only some know of, is about; undefined: none can be spared now. */
function spare(world: World): Member | undefined {
  const leading = world.leader()?.node?.status();
  const voters = leading?.members.filter(({ learner }) => !learner) ?? [];
  const whole = voters.every(({ id }) => {
    const member = world.members.get(id);
    return member?.state === 'up' && member.node?.status().applied === leading?.lastIndex;
  });
  if (voters.length < 3 || !whole || [...world.members.values()].some(({ rotten }) => rotten !== 'no'))
    return undefined;
  return world.members.get(pick(world.random, voters).id);
}

/** Damage to what was durable. */
async function rot(world: World): Promise<void> {
  const member = spare(world);
  if (member === undefined) return;
  const { disk } = member;
  const dir = walDir(dirOf(member.id));
  const fileSystem = disk.currentCopy().mount(instantly);
  const extent = await readExtent(fileSystem, extentPath(dir));
  const { segments, unsettled } = await readLog(fileSystem, dir, extent, openWith(plainSealer));
  const snapshots = disk.paths(`${dirOf(member.id)}/snap`).filter((path) => path.endsWith('.snap'));
  const others = [
    extentPath(dir),
    ...disk.paths(dirOf(member.id)).filter((path) => path.endsWith('/peers')),
    ...snapshots,
  ];
  const path = pick(world.random, [...segments, ...segments, ...others.map((other) => ({ path: other }))]).path;
  const bytes = Buffer.from(disk.bytes(path));
  let used = bytes.length;
  while (used > 0 && bytes[used - 1] === 0) used--;
  // What is not known yet to be synced may be a torn write, which is no damage.
  if (path === segments.at(-1)!.path) used = unsettled.offset;
  const at = below(world.random, used);
  const dice = world.random();
  world.kill(member, false);
  // One of its two sectors would do.
  if (dice < 0.2 || path === extentPath(dir)) disk.remove(path);
  else if (dice < 0.4) disk.spoil(path, bytes.subarray(0, at));
  else if (dice < 0.6) disk.spoil(path, bytes.fill(0, at));
  else disk.spoil(path, flipped(bytes, at));
  // An older snapshot may do.
  member.rotten = snapshots.includes(path) ? 'may-start' : 'must-refuse';
  await world.start(member);
}

function flipped(bytes: Buffer, at: number): Buffer {
  bytes[at]! ^= 1 << (at % 8);
  return bytes;
}

/** A member comes back with an empty disk under its old id, when all know by which log they know each other. */
async function wipe(world: World): Promise<void> {
  const member = spare(world);
  if (member === undefined) return;
  const voters = world.up;
  for (const one of voters) {
    const fileSystem = one.disk.durableCopy().mount(instantly);
    const extent = await readExtent(fileSystem, extentPath(walDir(dirOf(one.id))));
    const known = extent && (await PeerLogs.load(fileSystem, dirOf(one.id), { extent, notePeers: async () => {} }));
    if (voters.some(({ id }) => id !== one.id && !known?.knows(id))) return;
  }
  world.kill(member, true);
  member.disk.wipe();
  member.rotten = 'wiped';
  member.image = undefined;
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
