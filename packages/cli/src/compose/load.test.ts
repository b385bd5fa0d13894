// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of compose files

import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { printed } from './print.ts';
import { problemsOf, tryCompose } from './test-compose.ts';

// What files come to: merged, filled in, in canonical form.

const read = (...given: Parameters<typeof tryCompose>) => tryCompose(...given).project.file;
const web = (...given: Parameters<typeof tryCompose>) => read(...given).services?.['web'];
const one = (lines: string) => `services:\n  web:\n    image: web:1\n    ${lines.replaceAll('\n', '\n    ')}\n`;
const both = (first: string, second: string) =>
  web({ 'a.yaml': one(first), 'b.yaml': one(second) }, { files: ['a.yaml', 'b.yaml'] });

describe('short forms', () => {
  test.each([
    ['command: run "a b" c', { command: ['run', 'a b', 'c'] }],
    ['entrypoint: [run, "x y"]', { entrypoint: ['run', 'x y'] }],
    ['environment: [A=1, B=, C, "D=a=b"]', { environment: { A: '1', B: '', C: null, D: 'a=b' } }],
    [
      'environment: {A: 1, B: true, C: 1.10, D: null, E: ""}',
      { environment: { A: '1', B: 'true', C: '1.10', D: null, E: '' } },
    ],
    ['ports: ["80"]', { ports: [{ mode: 'ingress', target: '80', protocol: 'tcp' }] }],
    ['ports: [80]', { ports: [{ mode: 'ingress', target: '80', protocol: 'tcp' }] }],
    [
      'ports: ["8000-8001:80-81/UDP"]',
      { ports: [{ mode: 'ingress', target: '80-81', published: '8000-8001', protocol: 'udp' }] },
    ],
    [
      'ports: ["[fd00::5]:8080:80"]',
      { ports: [{ mode: 'ingress', host_ip: 'fd00::5', target: '80', published: '8080', protocol: 'tcp' }] },
    ],
    ['volumes: ["/data"]', { volumes: [{ type: 'volume', target: '/data' }] }],
    [
      'volumes: ["./a:/b:ro,rslave"]',
      {
        volumes: [{ type: 'bind', source: '/app/a', target: '/b', read_only: true, bind: { propagation: 'rslave' } }],
      },
    ],
    ['volumes: ["~/a:/b"]', { volumes: [{ type: 'bind', source: '/home/me/a', target: '/b' }] }],
    ['tmpfs: "/run:size=64m,mode=1777"', { tmpfs: [{ target: '/run', size: '64m', mode: 0o1777 }] }],
    ['healthcheck: {test: "curl x"}', { healthcheck: { test: ['CMD-SHELL', 'curl x'] } }],
    ['networks: [default]', { networks: { default: {} } }],
    ['networks: {default: }', { networks: { default: {} } }],
    [
      'ulimits: {nofile: 5, nproc: {soft: 1, hard: 2}}',
      { ulimits: { nofile: { soft: 5, hard: 5 }, nproc: { soft: 1, hard: 2 } } },
    ],
    [
      'extra_hosts: ["a:10.0.0.1", "b=[fd00::1]", "a:10.0.0.2"]',
      { extra_hosts: { a: ['10.0.0.1', '10.0.0.2'], b: ['[fd00::1]'] } },
    ],
    ['extra_hosts: {a: 10.0.0.1}', { extra_hosts: { a: ['10.0.0.1'] } }],
    ['dns: 10.0.0.1', { dns: ['10.0.0.1'] }],
    ['tty: yes', { tty: true }],
    ['deploy: {replicas: "3"}', { deploy: { replicas: 3 } }],
    ['x-mine: {a: [1]}', { 'x-mine': { a: [1] } }],
  ])('%s', (lines, wanted) => {
    expect(web(one(lines))).toEqual({ image: 'web:1', ...wanted });
  });

  test.each([
    ['0440', 0o440],
    ['"0440"', 0o440],
    ['0o440', 0o440],
    ['288', 0o440],
  ])('mode %s', (mode, wanted) => {
    const text = `${one(`secrets: [{source: a, mode: ${mode}}]`)}secrets: {a: {content: x}}`;
    expect(web(text)?.secrets).toEqual([{ source: 'a', mode: wanted }]);
  });
});

describe('files over each other', () => {
  test.each([
    ['tty: true\nuser: a', 'user: b', { tty: true, user: 'b' }],
    ['command: [a, b]', 'command: c', { command: ['c'] }],
    [
      'healthcheck: {test: a, retries: 2}',
      'healthcheck: {test: [CMD, b]}',
      { healthcheck: { test: ['CMD', 'b'], retries: 2 } },
    ],
    ['environment: [A=1, B=2]', 'environment: {B: 3, C: 4}', { environment: { A: '1', B: '3', C: '4' } }],
    ['dns: 10.0.0.1', 'dns: [10.0.0.2, 10.0.0.1]', { dns: ['10.0.0.1', '10.0.0.2'] }],
    ['cap_add: [A]', 'cap_add: [B]', { cap_add: ['A', 'B'] }],
    [
      'volumes: ["/a:/x", "/b:/y"]',
      'volumes: [{type: bind, source: /c, target: /x/}]',
      {
        volumes: [
          { type: 'bind', source: '/c', target: '/x/' },
          { type: 'bind', source: '/b', target: '/y' },
        ],
      },
    ],
    ['networks: [a]', 'networks: {a: {aliases: [x]}, b: }', { networks: { a: { aliases: ['x'] }, b: {} } }],
    [
      'logging: {driver: a, options: {x: 1}}',
      'logging: {options: {y: 2}}',
      { logging: { driver: 'a', options: { x: '1', y: '2' } } },
    ],
    ['logging: {driver: a, options: {x: 1}}', 'logging: {driver: b}', { logging: { driver: 'b' } }],
    [
      'deploy: {replicas: 2, labels: {a: 1}}',
      'deploy: {labels: [b=2]}',
      { deploy: { replicas: 2, labels: { a: '1', b: '2' } } },
    ],
    ['user: a\ntty: true', 'user: !reset null', { tty: true }],
    ['dns: [10.0.0.1]', 'dns: !override [10.0.0.2]', { dns: ['10.0.0.2'] }],
    ['environment: {A: 1, B: 2}', 'environment: {A: !reset null}', { environment: { B: '2' } }],
    ['environment: {A: 1}', 'environment: !override {B: 2}', { environment: { B: '2' } }],
    ['user: a', 'user:', { user: 'a' }],
    ['tmpfs: /a', 'tmpfs: ["/a:size=1m", /b]', { tmpfs: [{ target: '/a', size: '1m' }, { target: '/b' }] }],
  ])('%s | %s', (first, second, wanted) => {
    const nets = { 'a.yaml': `${one(first)}networks: {a: , b: }`, 'b.yaml': one(second) };
    expect(web(nets, { files: ['a.yaml', 'b.yaml'] })).toEqual({ image: 'web:1', ...wanted });
  });

  test('ports are told apart by all that they are', () => {
    const ports = both(
      'ports: ["80:80", "81:81"]',
      'ports: ["80:80", "80:80/udp", {target: 81, published: 81, mode: host}]',
    )?.ports;
    expect(ports?.map((port) => `${port.published}:${port.target}/${port.protocol ?? ''} ${port.mode}`)).toEqual([
      '80:80/tcp ingress',
      '81:81/ host',
      '80:80/udp ingress',
    ]);
  });

  test('a document more is a file more; what it resets is gone', () => {
    const text = `${one('tty: true')}  db: {image: db:1}\n---\nservices:\n  db: !reset\n  web: {user: a}\n`;
    expect(read(text).services).toEqual({ web: { image: 'web:1', tty: true, user: 'a' } });
  });
});

describe('anchors', () => {
  test('and merge keys: what stands there itself counts, then the first of several', () => {
    const text = `x-a: &a {A: 1, B: 1}\nx-b: &b {B: 2, C: 2}\n${one('environment:\n  <<: [*a, *b]\n  A: 0')}`;
    expect(web(text)?.environment).toEqual({ A: '0', B: '1', C: '2' });
  });
});

describe('variables', () => {
  const text = one('user: ${U:-none}\ndeploy: {replicas: $N}');
  test('come from the environment before .env', () => {
    const files = { 'c.yaml': text, '.env': 'U=file\nN=2' };
    expect(web(files)).toMatchObject({ user: 'file', deploy: { replicas: 2 } });
    expect(web(files, { env: { U: 'env' } })).toMatchObject({ user: 'env' });
  });
  test('or from files that are named, which then must be there', () => {
    const files = { 'c.yaml': text, '.env': 'U=no', 'a.env': 'U=a\nN=1', 'b.env': 'N=3' };
    expect(web(files, { envFiles: ['a.env', 'b.env'] })).toMatchObject({ user: 'a', deploy: { replicas: 3 } });
    expect(problemsOf(files, { envFiles: ['x.env'] })).toEqual(['cannot read x.env: there is no such file']);
  });
  test('the stack is one', () => {
    expect(web(one('hostname: $COMPOSE_PROJECT_NAME'), { name: 'shop' })?.hostname).toBe('shop');
  });
});

describe('profiles', () => {
  const text = `${one('depends_on: {debug: {condition: service_started, required: false}}')}  debug: {image: d, profiles: [debug]}\n`;
  test('leave services out unless they are wanted', () => {
    expect(Object.keys(read(text).services ?? {})).toEqual(['web']);
    for (const profiles of [['debug'], ['*']]) {
      expect(Object.keys(read(text, { profiles }).services ?? {})).toEqual(['web', 'debug']);
    }
  });
  test('what is required of such a service is missed', () => {
    expect(problemsOf(text.replace(', required: false', ''))).toEqual([
      'c.yaml:4:18: services.web.depends_on.debug: there is no service debug, or its profile is not wanted',
    ]);
  });
});

describe('extends', () => {
  test('a service of the same file, and so on', () => {
    const text =
      'services:\n  a: {image: x, command: a, environment: {A: 1}}\n  b: {extends: a, environment: {B: 2}}\n  web: {extends: {service: b}, command: c}\n';
    expect(web(text)).toEqual({ image: 'x', command: ['c'], environment: { A: '1', B: '2' } });
  });
  test('one of another file, whose paths start there', () => {
    const files = {
      'c.yaml': 'services: {web: {extends: {file: sub/b.yaml, service: base}, user: me}}',
      'sub/b.yaml': 'services: {other: {image: {}}, base: {extends: more, volumes: ["./d:/d"]}, more: {image: "${I}"}}',
    };
    expect(problemsOf(files)).toEqual([expect.stringContaining('sub/b.yaml:1:27: services.other.image')]);
    const right = { ...files, 'sub/b.yaml': files['sub/b.yaml'].replace('image: {}', 'image: o') };
    expect(web(right, { env: { I: 'base:1' } })).toEqual({
      ...{ image: 'base:1', user: 'me' },
      volumes: [{ type: 'bind', source: '/app/sub/d', target: '/d' }],
    });
  });
  test('not in a circle of files', () => {
    const files = {
      'a.yaml': 'services: {web: {extends: {file: b.yaml, service: web}}}',
      'b.yaml': 'services: {web: {extends: {file: a.yaml, service: web}}}',
    };
    expect(problemsOf(files)).toEqual([
      expect.stringContaining('b.yaml:1:18: services.web.extends: web extends this service itself'),
    ]);
  });
});

describe('include', () => {
  const files = {
    'c.yaml': `include: [sub/db.yaml, {path: [sub/more.yaml, over.yaml], env_file: sub/my.env}]\n${one('user: "${U:-none}"')}`,
    'sub/db.yaml': 'services: {db: {image: "db:${V}", volumes: ["./d:/d"], networks: [back]}}\nnetworks: {back: }',
    'sub/.env': 'V=9',
    'sub/more.yaml': 'services: {more: {image: "more:${W}"}}',
    'over.yaml': 'services: {more: {user: over}}',
    'sub/my.env': 'W=7',
  };
  test('brings services and what they need, with variables and paths of their own', () => {
    expect(read(files)).toEqual({
      services: {
        db: { image: 'db:9', volumes: [{ type: 'bind', source: '/app/sub/d', target: '/d' }], networks: { back: {} } },
        more: { image: 'more:7', user: 'over' },
        web: { image: 'web:1', user: 'none' },
      },
      networks: { back: {} },
    });
    expect(read(files, { env: { V: '1' } }).services?.['db']?.image).toBe('db:1');
  });
  test('what both have must be the same', () => {
    const twice = { ...files, 'c.yaml': 'include: [sub/db.yaml]\nservices: {db: {image: other}}' };
    expect(problemsOf(twice)).toEqual([
      'c.yaml:2:12: services.db: it is another one in sub/db.yaml:1, which is included',
    ]);
  });
  test('not in a circle, and not what is not there', () => {
    expect(problemsOf({ 'c.yaml': 'include: [d.yaml]', 'd.yaml': 'include: [c.yaml]' })).toEqual([
      expect.stringContaining('d.yaml:1:11: include[0]: c.yaml includes this file itself'),
    ]);
    expect(problemsOf('include: [d.yaml]')).toEqual([
      'c.yaml:1:11: include[0]: cannot read d.yaml: there is no such file',
    ]);
  });
});

test('what is printed reads as the same again', () => {
  const text = `${one('command: ["echo", "$$HOME"]\nports: ["80:80"]\nvolumes: ["./x:/y:ro"]\nenvironment: [A, B=1]\nextra_hosts: ["a:::1"]\nsecrets: [{source: p, mode: 0400}]\ntmpfs: /t\nenv_file: [{path: e.env, required: false}]\ndepends_on: [db]')}  db: {image: db}\nsecrets: {p: {content: a$$b}}\n`;
  const first = read(text);
  expect(printed(first)).toContain('$$HOME');
  expect(read(printed(first))).toEqual(first);
  expect(parse(printed(first)).services.web).toMatchObject({
    command: ['echo', '$$HOME'],
    ports: [{ target: 80, published: 80 }],
  });
});
