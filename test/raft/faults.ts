import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '@swarmctl/shared/kit';
import type { Netns } from '../kit/netns.ts';
import type { KvCluster, KvMember } from './kv-cluster.ts';

// What befalls a cluster of real processes, each in a network namespace of its own: kill -9, pauses and cuts, each undone after a while.

interface Fault {
  readonly name: string;
  /** Does it; resolves to what undoes it. */
  begin(cluster: KvCluster, spaces: readonly Netns[], random: Random): Promise<() => Promise<void>>;
}

export function shuffled<T>(items: readonly T[], random: Random): T[] {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [result[i], result[j]] = [result[j] as T, result[i] as T];
  }
  return result;
}

const some = (members: readonly KvMember[], random: Random, count: number) => shuffled(members, random).slice(0, count);
const minority = (cluster: KvCluster) => (cluster.members.length - 1) >> 1;

/** The leader and others of the smaller side. */
async function leaderAnd(cluster: KvCluster, random: Random): Promise<KvMember[]> {
  const leader = await cluster.leader();
  const others = cluster.members.filter((one) => one !== leader);
  return [leader, ...some(others, random, minority(cluster) - 1)];
}

async function kill(cluster: KvCluster, members: readonly KvMember[]) {
  await Promise.all(members.map((member) => cluster.kill(member)));
  return async () => void (await Promise.all(members.map((member) => cluster.start(member))));
}

async function pause(members: readonly KvMember[]) {
  for (const member of members) member.process?.kill('SIGSTOP');
  return async () => {
    for (const member of members) member.process?.kill('SIGCONT');
  };
}

/** Has a member hear nothing from the others any more. */
function deafen(space: Netns, to: readonly Netns[]): void {
  const from = to.map(({ addr }) => addr).join(', ');
  space.run(
    'nft',
    `add table inet cut; add chain inet cut in { type filter hook input priority 0; }; add rule inet cut in ip saddr { ${from} } drop`,
  );
}

const unblock = (spaces: readonly Netns[]) => async () => {
  for (const space of spaces) space.run('nft', 'delete table inet cut');
};

async function split(cluster: KvCluster, spaces: readonly Netns[], side: readonly KvMember[]) {
  const inside = spaces.filter((_, i) => side.includes(cluster.members[i] as KvMember));
  const outside = spaces.filter((space) => !inside.includes(space));
  for (const space of inside) deafen(space, outside);
  for (const space of outside) deafen(space, inside);
  return unblock(spaces);
}

const spaceOf = (cluster: KvCluster, spaces: readonly Netns[], member: KvMember) =>
  spaces[cluster.members.indexOf(member)] as Netns;

export const faults: readonly Fault[] = [
  { name: 'kill the leader', begin: async (cluster) => kill(cluster, [await cluster.leader()]) },
  {
    name: 'kill a minority',
    begin: (cluster, _, random) => kill(cluster, some(cluster.members, random, minority(cluster))),
  },
  { name: 'kill all', begin: (cluster) => kill(cluster, cluster.members) },
  { name: 'pause the leader', begin: async (cluster) => pause([await cluster.leader()]) },
  {
    name: 'pause a minority',
    begin: (cluster, _, random) => pause(some(cluster.members, random, minority(cluster))),
  },
  {
    name: 'part the leader and a minority from the others',
    begin: async (cluster, spaces, random) => split(cluster, spaces, await leaderAnd(cluster, random)),
  },
  {
    name: 'part one from the others, who are not to hear it',
    begin: async (cluster, spaces, random) => {
      const one = spaceOf(cluster, spaces, some(cluster.members, random, 1)[0] as KvMember);
      const others = spaces.filter((space) => space !== one);
      for (const space of others) deafen(space, [one]);
      return unblock(others);
    },
  },
  {
    name: 'deafen the leader',
    begin: async (cluster, spaces) => {
      const one = spaceOf(cluster, spaces, await cluster.leader());
      deafen(
        one,
        spaces.filter((space) => space !== one),
      );
      return unblock([one]);
    },
  },
  {
    name: 'pull the cable of the leader',
    begin: async (cluster, spaces) => {
      const one = spaceOf(cluster, spaces, await cluster.leader());
      one.run('ip', 'link', 'set', 'eth0', 'down');
      return async () => void one.run('ip', 'link', 'set', 'eth0', 'up');
    },
  },
];

/** Each fault once, in an order of the seed. */
export async function schedule(cluster: KvCluster, spaces: readonly Netns[], random: Random): Promise<string[]> {
  const names: string[] = [];
  for (const fault of shuffled(faults, random)) {
    names.push(`${Math.round(performance.now())} ${fault.name}`);
    const undo = await fault.begin(cluster, spaces, random);
    await sleep(400 + random() * 900);
    await undo();
    await sleep(200 + random() * 500);
  }
  return names;
}
