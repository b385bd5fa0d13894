// `npm test`: set-up, the checks, then every suite, some side by side; closes with `N passed, N failed`.
// `npm test -- unit sim` runs some suites only; `load`, minutes of traffic over a lab of hosts, runs only when it is asked for.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from './setup.mjs';

build();

const root = fileURLToPath(new URL('../', import.meta.url));
/**
 * One after the other; in each, rows of suites that run side by side. Simulations leave a processor to the others (Vitest's default), and these wait
 * most of the time for kernels and engines.
 */
const stages = [[['unit']], [['sim'], ['netns', 'docker']], [['e2e']], [['load']]];
const known = stages.flat(2);
/** Of vitest.config.ts, where they are not named after the suite. */
const projects = { e2e: ['e2e', 'e2e-alone'] };
const asked = process.argv.slice(2);
const wanted = asked.length > 0 ? asked : known.filter((suite) => suite !== 'load');
const unknown = asked.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  console.error(`unknown suite: ${unknown.join(', ')}; there are ${known.join(', ')}`);
  process.exit(125);
}

const totals = { passed: 0, failed: 0, skipped: 0 };
/** What failed, said again at the end: the output between is long. */
const failures = [];
/** What runs is interrupted as well, and tidies up before this process ends. */
let interrupted = false;
process.once('SIGINT', () => {
  interrupted = true;
});
/** `out`: what it said, unless it said that itself. */
async function run(args, say = 'inherit') {
  const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', say, say] });
  let out = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text) => {
      out += text;
    });
  const status = await new Promise((resolve) => child.once('close', (code) => resolve(code ?? 1)));
  return { status, out };
}
const heading = (text) => console.log(`\n== ${text}`);

heading('checks: format, lint, arrows');
const checks = await run([join(root, 'node_modules/@biomejs/biome/bin/biome'), 'check', '.']);
if (checks.status === 0) totals.passed++;
else {
  totals.failed++;
  failures.push('checks: see above');
}

const folder = mkdtempSync(join(tmpdir(), 'swarm-test-'));
for (const stage of stages) {
  const rows = stage.map((row) => row.filter((suite) => wanted.includes(suite))).filter((row) => row.length > 0);
  const isAlone = rows.length === 1;
  await Promise.all(
    rows.map(async (row) => {
      for (const suite of row) if (!interrupted) await runSuite(suite, isAlone);
    }),
  );
  if (interrupted) break;
}
rmSync(folder, { recursive: true, force: true });

if (process.env.CI && totals.skipped > 0) {
  console.log(`\nSkipped tests count as failures here: the machine lacks something that they need (see above).`);
  totals.failed += totals.skipped;
}
if (interrupted) process.exit(130);
for (const failure of failures) console.log(`\nFAILED ${failure}`);
console.log(`\n${totals.passed} passed, ${totals.failed} failed`);
process.exit(totals.failed > 0 ? 1 : 0);

/** What runs beside others says all at its end. */
async function runSuite(suite, isAlone) {
  if (isAlone) heading(`suite ${suite}`);
  const report = join(folder, `${suite}.json`);
  const started = Date.now();
  const { status, out } = await run(
    [
      join(root, 'node_modules/vitest/vitest.mjs'),
      'run',
      ...(projects[suite] ?? [suite]).flatMap((project) => ['--project', project]),
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
    ],
    isAlone ? 'inherit' : 'pipe',
  );
  if (!isAlone) {
    heading(`suite ${suite}`);
    console.log(out);
  }
  const counted = count(report);
  totals.passed += counted.passed;
  totals.failed += counted.failed + (status !== 0 && counted.failed === 0 ? 1 : 0);
  totals.skipped += counted.skipped;
  failures.push(...counted.failures.map((text) => `${suite}: ${text}`));
  if (status !== 0 && counted.failed === 0) failures.push(`${suite}: no test failed, yet it ended with ${status}`);
  console.log(
    `suite ${suite}: ${counted.passed} passed, ${counted.failed} failed, ${counted.skipped} skipped in ${Math.round((Date.now() - started) / 1000)} s (exit ${status})`,
  );
}

function count(report) {
  try {
    const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults } = JSON.parse(
      readFileSync(report, 'utf8'),
    );
    const failures = [];
    let broken = 0;
    for (const file of testResults) {
      const name = relative(root, file.name);
      const failed = file.assertionResults.filter((test) => test.status === 'failed');
      for (const test of failed) failures.push(`${name} > ${test.fullName}\n${brief(test.failureMessages.join('\n'))}`);
      if (file.status !== 'failed' || failed.length > 0) continue;
      broken++;
      failures.push(`${name}\n${brief(file.message)}`);
    }
    return {
      passed: numPassedTests,
      failed: numFailedTests + broken,
      skipped: numPendingTests + numTodoTests,
      failures,
    };
  } catch (error) {
    return { passed: 0, failed: 1, skipped: 0, failures: [`no report: ${error}`] };
  }
}

/** The first lines of a message, indented. */
function brief(message) {
  return message
    .split('\n')
    .slice(0, 30)
    .map((line) => `  ${line}`)
    .join('\n');
}
