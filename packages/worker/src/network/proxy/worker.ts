import process from 'node:process';
import { realClock, silentLogger } from '@swarmctl/shared/kit';
import type { IngressEntry } from '@swarmctl/shared/wire';
import { ProxyIngress } from './ingress.ts';
import type { FromWorker, ToWorker, WorkerReport } from './pool.ts';
import { handleStreams } from './streams/handles.ts';
import { makeSocketStreams } from './streams/sockets.ts';

// A process of the proxy's pool: does what it is told, says how it fares, and ends with the one that started it.

const reportMs = 250;

let ingress: ProxyIngress | undefined;
const wanted = new Map<string, IngressEntry>();
let told = '';

const send = (message: FromWorker): void => void process.send?.(message, undefined, undefined, () => {});

process.on('message', (message: ToWorker) => {
  if (message.type === 'options') {
    const streams = handleStreams(false) ?? makeSocketStreams(false);
    ingress = new ProxyIngress(message.options, { log: silentLogger, clock: realClock, streams });
  } else if (message.type === 'apply') {
    const { version, entries, removed } = message;
    for (const key of removed) wanted.delete(key);
    for (const entry of entries) wanted.set(entry.key, entry);
    ingress
      ?.apply(new Map(wanted))
      .then(() => {
        report();
        send({ type: 'applied', version });
      })
      .catch(() => process.exit(1));
  }
});
process.on('disconnect', () => process.exit(0));
// These are for the daemon, which says when it is over.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});

function report(): void {
  if (!ingress) return;
  const now: WorkerReport = {
    problems: [...ingress.problems()],
    failed: ingress.failed,
    connections: [...ingress.connections()],
    counters: [...ingress.counters()].filter(([, { connections, refused }]) => connections + refused > 0),
  };
  const text = JSON.stringify(now);
  if (text !== told) send({ type: 'report', ...now });
  told = text;
}

(function next(): void {
  report();
  realClock.after(reportMs, next, { unref: true });
})();
send({ type: 'ready' });
