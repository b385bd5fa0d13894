import { converge } from './ingress-converge.ts';
import { isMet, type Outcome, printOutcomes } from './ingress-limits.ts';
import { overlay } from './ingress-overlay.ts';
import { path } from './ingress-path.ts';
import { scale } from './ingress-scale.ts';
import { print } from './stats.ts';

// `npm run bench:ingress [-- ingress|scale|overlay|converge ...]`: the kernel's ingress and the overlay networks, each against something measured by
// turns with it, or a limit. Ends with 1 when a limit is missed. Needs root, dockerd, nft, haproxy, wrk, iperf3 and conntrack.

const parts: Readonly<Record<string, () => Promise<Outcome[]>>> = { ingress: path, scale, overlay, converge };
const asked = process.argv.slice(2);
const unknown = asked.find((name) => !(name in parts));
if (unknown !== undefined) {
  print(`there is no part '${unknown}': ${Object.keys(parts).join(', ')}`);
  process.exit(2);
}
const outcomes: Outcome[] = [];
for (const [name, part] of Object.entries(parts)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  outcomes.push(...(await part()));
  print('');
}
printOutcomes(outcomes);
process.exit(outcomes.every(isMet) ? 0 : 1);
