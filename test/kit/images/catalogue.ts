import type { TarEntry } from './tar.ts';

// What the test images hold, all on top of one layer with a static busybox. A web image answers on $PORT (8080): `/` with its version,
// `/cgi-bin/id` with who answers; it ends at once on SIGTERM.

export interface TestImage {
  readonly name: string;
  readonly cmd: readonly string[];
  readonly env?: readonly string[];
  readonly exposed?: readonly number[];
  readonly files: readonly TarEntry[];
}

const serve = `#!/bin/sh
# As process 1, a signal without a handler would be ignored.
trap 'kill $server 2>/dev/null; exit 0' TERM INT
[ -z "$START_DELAY" ] || { sleep "$START_DELAY" & wait $!; }
echo "version $VERSION serves on \${PORT:-8080}"
httpd -f -p "\${PORT:-8080}" -h /www &
server=$!
wait $server
`;

const id = `#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
echo "version=$VERSION"
echo "hostname=$(hostname)"
echo "task=$TASK_ID"
echo "name=$TASK_NAME"
echo "slot=$TASK_SLOT"
echo "node=$NODE_ID"
`;

function web(name: string, version: string, env: readonly string[] = []): TestImage {
  return {
    name,
    cmd: ['/serve'],
    env: [`VERSION=${version}`, ...env],
    exposed: [8080],
    files: [
      { type: 'file', path: 'serve', mode: 0o755, content: serve },
      { type: 'folder', path: 'www' },
      { type: 'file', path: 'www/index.html', content: `version ${version}\n` },
      { type: 'folder', path: 'www/cgi-bin' },
      { type: 'file', path: 'www/cgi-bin/id', mode: 0o755, content: id },
    ],
  };
}

const script = (name: string, text: string): TestImage => ({ name, cmd: ['/bin/sh', '-c', text], files: [] });

export const catalogue: readonly TestImage[] = [
  /** A shell with everything that busybox has. */
  { name: 'bb:1', cmd: ['/bin/sh'], files: [] },
  web('web:1', '1'),
  web('web:2', '2'),
  web('web:3', '3'),
  /** Listens only after START_DELAY seconds (3). */
  web('slow:1', 'slow', ['START_DELAY=3']),
  /** Ends by itself at once, with code 3. */
  script('crash:1', 'echo crashing >&2; exit 3'),
  /** Does not stop when asked: only SIGKILL ends it. */
  script('stubborn:1', "trap '' TERM INT; echo stubborn; while :; do sleep 1; done"),
];
