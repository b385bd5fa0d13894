import type { TarEntry } from './tar.ts';

// What the test images hold, all on top of one layer with a static busybox. A web image answers on $PORT (8080): `/` with its version,
// `/cgi-bin/id` with who answers, `/cgi-bin/notes` with what it keeps in /data (`?text` adds to it), `/cgi-bin/ask` with what the service at $UPSTREAM
// answers (its query passed on), `/cgi-bin/host` with the first process of the machine whose /proc is mounted at /host; it ends at once on SIGTERM.

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

const header = `printf 'Content-Type: text/plain\\r\\n\\r\\n'`;

const id = `#!/bin/sh
${header}
echo "version=$VERSION"
echo "hostname=$(hostname)"
echo "task=$TASK_ID"
echo "name=$TASK_NAME"
echo "slot=$TASK_SLOT"
echo "node=$NODE_ID"
`;

const notes = `#!/bin/sh
${header}
mkdir -p /data
[ -z "$QUERY_STRING" ] || echo "$QUERY_STRING" >>/data/notes
cat /data/notes
`;

const ask = `#!/bin/sh
${header}
exec timeout 3 busybox wget -q -O - "$UPSTREAM?$QUERY_STRING" 2>&1
`;

const host = `#!/bin/sh
${header}
tr '\\000' '\\n' </host/proc/1/cmdline
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
      ...Object.entries({ id, notes, ask, host }).map(
        ([path, content]): TarEntry => ({ type: 'file', path: `www/cgi-bin/${path}`, mode: 0o755, content }),
      ),
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
