import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { delay, realClock, silentLogger } from '@swarmctl/shared/kit';
import type { IngressEntry } from '@swarmctl/shared/wire';
import type { NftIngress } from '../../packages/worker/src/network/nft/ingress.ts';
import { type Netns, openNetnsLab } from '../kit/netns.ts';
import { atMost, type Outcome } from './ingress-limits.ts';
import { print, quantile, timed } from './stats.ts';

// 1 000 ports with 10 backends each: how long until one changed endpoint is in force, and until all of it is. The ingress runs as built, in a
// process and a network namespace of its own, and is told as the agent tells it: a whole table in which what did not change is the same object.

const [portCount, backendCount] = [1_000, 10];
const changeCount = 60;
/** Apart, so that each is a transaction of its own. */
const apartMs = 60;
const fullCount = 7;

interface Times {
  readonly changes: number[];
  readonly turnovers: number[];
  readonly repairs: number[];
  readonly looks: number[];
}

export async function scale(): Promise<Outcome[]> {
  const lab = openNetnsLab(1);
  try {
    const times = await measureIn(lab.spaces[0] as Netns);
    const show = (name: string, ms: readonly number[]) =>
      print(
        `${name.padEnd(44)} ${[0, 0.5, 0.99].map((q) => quantile(ms, q).toFixed(1)).join(' / ')} ms (n=${ms.length})`,
      );
    print(`${portCount} ports x ${backendCount} backends: least / median / p99`);
    show('  one endpoint changed, until in force', times.changes);
    show('  all ports changed at once', times.turnovers);
    show('  compared, all right', times.looks);
    show('  changed by others: found, all written anew', times.repairs);
    const median = (ms: readonly number[]) => quantile(ms, 0.5);
    return [
      atMost('one endpoint of 1000 x 10 changed, ms', median(times.changes), 35),
      atMost('all of 1000 x 10 changed at once, ms', median(times.turnovers), 1_000),
      atMost('1000 x 10 compared with what it should be and written anew, ms', median(times.repairs), 1_000),
    ];
  } finally {
    await lab.close();
  }
}

async function measureIn(space: Netns): Promise<Times> {
  const program = [process.execPath, '--no-warnings', '--import', 'tsx', fileURLToPath(import.meta.url), '--inside'];
  const child = space.spawn('env', program, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`the measurement ended with ${code}`)));
  const [times] = await Promise.race([once(child, 'message'), ended]);
  ended.catch(() => {});
  return times as Times;
}

/** Of three kinds, so that from one to the next an endpoint is replaced, goes, or comes. */
function entryOf(number: number, version: number): [string, IngressEntry] {
  const publishedPort = 10_000 + number;
  const key = `tcp/${publishedPort}`;
  const kind = (number + version) % 3;
  const backends = Array.from({ length: backendCount }, (_, i) => {
    const port = 20_000 + number + (i === 0 && kind === 1 ? portCount : 0);
    const at = { localAddr: '172.17.0.2', localPort: port, nodeAddr: `10.88.0.${i + 1}`, nodePort: port };
    return { taskId: `t${number}-${i}`, nodeId: `n${i + 1}`, protocol: 'tcp' as const, targetPort: 80, ...at };
  }).slice(kind === 2 ? 1 : 0);
  const service = { serviceId: `s${number}`, serviceName: `s${number}`, targetPort: 80 };
  return [key, { ...service, key, protocol: 'tcp', publishedPort, backends }];
}

async function inside(): Promise<Times> {
  const built = new URL('../../packages/worker/dist/network/nft/ingress.js', import.meta.url).href;
  const { NftIngress: Ingress } = (await import(built)) as { NftIngress: typeof NftIngress };
  const options = { nodeId: 'n0', ingressAddrs: [], advertiseAddr: '10.77.0.1' };
  const ingress = await Ingress.open(options, { log: silentLogger, clock: realClock });
  const times: Times = { changes: [], turnovers: [], repairs: [], looks: [] };
  let entries = new Map<string, IngressEntry>();
  const take = async (list: number[], action: () => Promise<unknown>) => {
    list.push(await timed(action));
    await delay(realClock, apartMs);
  };
  try {
    for (let i = 0; i <= fullCount; i++) {
      entries = new Map(Array.from({ length: portCount }, (_, number) => entryOf(number, i)));
      await take(i === 0 ? [] : times.turnovers, () => ingress.apply(entries));
      await take(i === 0 ? [] : times.looks, () => ingress.sweep());
      await promisify(execFile)('nft', ['flush', 'chain', 'inet', 'swarmd_n0', `s_tcp_${10_000 + i}`]);
      await take(i === 0 ? [] : times.repairs, async () => {
        await ingress.sweep();
        await ingress.apply(entries);
      });
      await ingress.sweep();
    }
    for (let i = 0; i < changeCount; i++) {
      entries = new Map([...entries, entryOf((i * 37) % portCount, fullCount + 1)]);
      await take(times.changes, () => ingress.apply(entries));
    }
    return times;
  } finally {
    await ingress.close();
  }
}

if (process.argv[2] === '--inside') process.send?.(await inside(), () => process.disconnect());
