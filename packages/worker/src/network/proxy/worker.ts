import process from 'node:process';
import { realClock, silentLogger } from '@swarmctl/shared/kit';
import { ProxyIngress } from './ingress.ts';
import type { ProxyPortOptions } from './options.ts';
import type { FromWorker, ToWorker, WorkerReport } from './pool.ts';
import { handleStreams } from './streams/handles.ts';
import { makeSocketStreams } from './streams/sockets.ts';

// A process of the proxy's pool: does what it is told, says how it fares, and ends with the one that started it.

const reportMs = 100;

let ingress: ProxyIngress | undefined;
let portOptions: ReadonlyMap<string, Partial<ProxyPortOptions>> = new Map();
let told = '';

const send = (message: FromWorker): void => void process.send?.(message, undefined, undefined, () => {});

process.on('message', (message: ToWorker) => {
  if (message.type === 'options') {
    ingress = new ProxyIngress(
      { ...message.options, portOptions: ({ key }) => portOptions.get(key) ?? {} },
      { log: silentLogger, clock: realClock, streams: handleStreams(false) ?? makeSocketStreams(false) },
    );
  } else if (message.type === 'apply') {
    const { version, entries } = message;
    portOptions = new Map(entries.map(([{ key }, options]) => [key, options]));
    ingress
      ?.apply(new Map(entries.map(([entry]) => [entry.key, entry])))
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
    connections: [...ingress.connections()],
    counters: [...ingress.counters()],
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
