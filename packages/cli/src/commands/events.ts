import { ClusterError, linesOf } from '@swarmctl/shared/kit';
import { parseMoment, toUnixTime } from '@swarmctl/shared/model';
import { apiFilters, type Shell } from '../runtime.ts';
import { compile } from '../template.ts';
import type { Args, Command } from './types.ts';

// swarmctl events: what happens in the cluster and on its nodes, a line an event, as `docker events` prints it.

interface Event {
  readonly Type: string;
  readonly Action: string;
  readonly Actor: { readonly ID: string; readonly Attributes?: Readonly<Record<string, string>> | null };
}

async function events(args: Args, shell: Shell): Promise<void> {
  const format = args.text('format');
  const print = format === undefined || format === '' ? pretty : format === 'json' ? asIs : templated(format);
  const query = {
    since: moment('since', args.text('since'), shell),
    until: moment('until', args.text('until'), shell),
    filters: apiFilters(args.list('filter')),
  };
  const stream = await shell.client().stream('/events', query, shell.signal);
  for await (const line of linesOf(stream)) shell.out(`${print(line)}\n`);
}

/** As the API takes it; a revision goes as it is. */
function moment(flag: 'since' | 'until', text: string | undefined, shell: Shell): string | undefined {
  if (text === undefined || text === '') return undefined;
  if (flag === 'since' && /^revision:\d+\.\d+$/.test(text)) return text;
  const at = parseMoment(text, shell.clock.now(), 'local');
  if (at !== undefined) return toUnixTime(at);
  const more = flag === 'since' ? ', or revision:INDEX.NUMBER of an event' : '';
  throw new ClusterError(
    'invalid-argument',
    `invalid value ${JSON.stringify(text)} for "--${flag}": expected RFC 3339, a Unix time or a duration such as 10m${more}`,
  );
}

const asIs = (line: string): string => line;

function templated(format: string): (line: string) => string {
  const render = compile(format);
  return (line) => {
    const event = JSON.parse(line);
    // Of fields in Go's spelling as well; nanoseconds as digits, since no number holds them.
    return render({ ...event, Scope: event.scope, Time: event.time, TimeNano: nanoIn(line), timeNano: nanoIn(line) });
  };
}

function pretty(line: string): string {
  const { Type, Action, Actor } = JSON.parse(line) as Event;
  const attributes = Object.entries(Actor.Attributes ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const shown = attributes.map(([name, value]) => `${name}=${value}`).join(', ');
  return `${localTime(BigInt(nanoIn(line)))} ${Type} ${Action} ${Actor.ID}${shown && ` (${shown})`}`;
}

const nanoIn = (line: string): string => /"timeNano":(\d+)\}\s*$/.exec(line)?.[1] ?? '0';

/** RFC 3339 in the zone of this machine, with nine decimals. */
function localTime(nano: bigint): string {
  const at = new Date(Number(nano / 1_000_000n));
  const minutes = -at.getTimezoneOffset();
  const local = new Date(at.getTime() + minutes * 60_000).toISOString().slice(0, 'YYYY-MM-DDTHH:MM:SS'.length);
  const two = (value: number) => String(Math.trunc(value)).padStart(2, '0');
  const size = Math.abs(minutes);
  const zone = minutes === 0 ? 'Z' : `${minutes < 0 ? '-' : '+'}${two(size / 60)}:${two(size % 60)}`;
  return `${local}.${String(nano % 1_000_000_000n).padStart(9, '0')}${zone}`;
}

export const eventCommands: readonly Command[] = [
  {
    usage: 'events',
    describe: 'Show what happens in the cluster and on its nodes',
    options: (yargs) =>
      yargs
        .option('since', {
          type: 'string',
          describe: 'From this time on, or from behind an event: revision:INDEX.NUMBER',
        })
        .option('until', { type: 'string', describe: 'To this time' })
        .option('filter', {
          ...{ alias: 'f', type: 'string', array: true, nargs: 1 },
          describe: 'Only what matches KEY=VALUE: type, event, container, image, node, service, label …',
        })
        .option('format', { type: 'string', describe: "'json' or a Go template" }),
    run: events,
  },
];
