// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of compose files
import { describe, expect, test } from 'vitest';
import { problemsOf, tryCompose } from './test-compose.ts';

// What is said of files that are wrong, and where.

const service = (lines: string) => `services:\n  web:\n    image: web:1\n    ${lines.replaceAll('\n', '\n    ')}\n`;

describe('a key of a service', () => {
  test.each([
    ['prots: ["80"]', '4:5: services.web.prots: unknown key; did you mean ports?'],
    ['zzzzzzz: 1', '4:5: services.web.zzzzzzz: unknown key; known: image, '],
    ['deploy: {replicas: 3x}', "4:24: services.web.deploy.replicas: expected a whole number of at least 0, not '3x'"],
    ['deploy: {replicas: -1}', "4:24: services.web.deploy.replicas: expected a whole number of at least 0, not '-1'"],
    [
      'deploy: {mode: globl}',
      "4:20: services.web.deploy.mode: expected one of replicated, global, replicated-job, global-job, not 'globl'",
    ],
    ['deploy: {mode: global, replicas: 2}', '4:38: services.web.deploy.replicas: mode global has a task on each node'],
    [
      'deploy: {restart_policy: {delay: 5}}',
      "4:38: services.web.deploy.restart_policy.delay: expected a duration such as 10s, 1m30s or 500ms, not '5'",
    ],
    [
      'deploy: {resources: {limits: {memory: lots}}}',
      "4:43: services.web.deploy.resources.limits.memory: expected a size such as 512m or 1g, or a number of bytes, not 'lots'",
    ],
    [
      'deploy: {resources: {limits: {memory: 1m}}}',
      '2:3: services.web: invalid memory value 1048576: Must be at least 4MiB',
    ],
    [
      'deploy: {resources: {reservations: {devices: [{capabilities: [tpu]}]}}}',
      '4:52: services.web.deploy.resources.reservations.devices[0].capabilities: expected capabilities: [gpu]',
    ],
    [
      'deploy: {resources: {reservations: {devices: [{count: 1}]}}}',
      '4:51: services.web.deploy.resources.reservations.devices[0]: expected capabilities: [gpu]',
    ],
    [
      'gpus: all\ndeploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}',
      '5:51: services.web.deploy.resources.reservations.devices[0]: a service has one request for GPUs',
    ],
    ['gpus: some', "4:11: services.web.gpus: expected all or a list, not 'some'"],
    ['gpus: [{count: 0}]', "4:20: services.web.gpus[0].count: expected all or a whole number of at least 1, not '0'"],
    ['gpus: [{count: 10000}]', "4:12: services.web.gpus[0]: '10000' cannot be had; expected all, a number, or device="],
    ['gpus: [{driver: amd}]', "4:21: services.web.gpus[0].driver: 'amd' cannot be had: nodes take the driver"],
    ['gpus: [{options: {a: b}}]', '4:13: services.web.gpus[0].options: drivers of GPUs are given no options'],
    ['gpus: [{count: 1, device_ids: ["0"]}]', '4:20: services.web.gpus[0].count: there are device_ids as well'],
    ['gpus: [{device_ids: ["0,1"]}]', "4:13: services.web.gpus[0].device_ids: '0,1' cannot be had"],
    [
      'devices: [/etc/passwd]',
      "4:15: services.web.devices[0]: '/etc/passwd' cannot be had; expected a list of devices",
    ],
    ['devices: ["vendor.com/class=a"]', "4:15: services.web.devices[0]: 'vendor.com/class=a' cannot be had"],
    [
      'devices: ["/dev/a,/dev/b"]',
      "4:15: services.web.devices[0]: '/dev/a,/dev/b' cannot be had; expected one without commas",
    ],
    ['devices: ["/dev/a:/dev/b:rx"]', "4:15: services.web.devices[0]: '/dev/a:/dev/b:rx' cannot be had"],
    [
      'ipc: service:db',
      "4:10: services.web.ipc: 'service:db' cannot be had; expected one of none, private, shareable, host",
    ],
    ['pid: container:x', "4:10: services.web.pid: 'container:x' cannot be had; expected one of host"],
    ['userns_mode: keep-id', "4:18: services.web.userns_mode: 'keep-id' cannot be had; expected one of host"],
    ['cgroup: mine', "4:13: services.web.cgroup: expected one of private, host, not 'mine'"],
    ['runtime: a b', "4:14: services.web.runtime: 'a b' cannot be had; expected the name of a runtime such as runsc"],
    [
      'shm_size: lots',
      "4:15: services.web.shm_size: expected a size such as 512m or 1g, or a number of bytes, not 'lots'",
    ],
    ['shm_size: 0', "4:15: services.web.shm_size: '0' cannot be had; expected a size such as 256m or 1g"],
    ['security_opt: ["systempaths=x"]', "4:20: services.web.security_opt[0]: 'systempaths=x' cannot be had"],
    [
      'pid: host\nipc: none\ndeploy: {labels: {swarmctl.container.ipc: host}}',
      '5:10: services.web.ipc: deploy.labels has swarmctl.container.ipc, which says otherwise',
    ],
    [
      'deploy: {update_config: {max_failure_ratio: 2}}',
      "4:49: services.web.deploy.update_config.max_failure_ratio: expected a number from 0 to 1, not '2'",
    ],
    [
      'deploy: {placement: {constraints: [node.role]}}',
      '4:40: services.web.deploy.placement.constraints[0]: constraint expected one operator from ==, !=',
    ],
    [
      'deploy: {labels: {swarmctl.drain-timout: 5s}}',
      "4:46: services.web.deploy.labels.swarmctl.drain-timout: unknown label 'swarmctl.drain-timout'",
    ],
    ['scale: 2\ndeploy: {replicas: 3}', '4:12: services.web.scale: it is 2, and deploy.replicas is 3'],
    ['image: [a]', '4:5: Map keys must be unique'],
    ['ports: ["80:80:80:80"]', '4:13: services.web.ports[0]: expected a port such as 80'],
    [
      'ports: [99999]',
      "4:13: services.web.ports[0]: expected a port such as 80, 8080:80, 10.0.0.5:8080:80/udp or 8000-8002:80-82, not '99999'",
    ],
    ['ports: ["8000-8002:80-81"]', '4:13: services.web.ports[0]: 3 published ports do not fit 2 target ports'],
    ['ports: [{published: 80}]', '4:13: services.web.ports[0]: the target is missing'],
    [
      'ports: [{target: 80, mode: ingres}]',
      "4:32: services.web.ports[0].mode: expected one of ingress, host, not 'ingres'",
    ],
    [
      'ports: [{target: 80, published: 80, mode: host, host_ip: 10.0.0.1}]',
      '4:13: services.web.ports[0]: host_ip is for mode: ingress',
    ],
    ['ports: ["127.0.0.1::80"]', '4:13: services.web.ports[0]: host_ip needs a published port'],
    ['volumes: ["dat:/x"]', '4:15: services.web.volumes[0]: there is no volume dat under volumes'],
    ['volumes: ["constructor:/x"]', '4:15: services.web.volumes[0]: there is no volume constructor under volumes'],
    [
      'volumes: ["a/b:/x"]',
      '4:15: services.web.volumes[0]: there is no volume a/b under volumes; a folder of the node begins with / or ./',
    ],
    ['volumes: ["/a:/x:rx"]', "4:15: services.web.volumes[0]: 'rx' is no mode of a mount; known: rw, ro"],
    ['volumes: ["/a:/x:z"]', '4:15: services.web.volumes[0]: labels of SELinux are not set by nodes'],
    ['volumes: [{source: a, target: /x}]', '4:15: services.web.volumes[0]: expected a map with a type'],
    [
      'volumes: [{type: bind, source: /a, target: /x, tmpfs: {size: 1m}}]',
      '4:52: services.web.volumes[0].tmpfs: it does not fit a mount of type bind',
    ],
    ['volumes: ["/a:/x", "/b:/x"]', '2:3: services.web: ContainerSpec: duplicate mount point: /x'],
    ['networks: [frnt]', '4:16: services.web.networks.frnt: there is no network frnt under networks'],
    [
      'networks: {default: {ipv4_address: 10.0.0.9}}',
      '4:40: services.web.networks.default.ipv4_address: the cluster gives tasks their addresses',
    ],
    [
      'network_mode: service:db',
      "4:19: services.web.network_mode: 'service:db' cannot be had; expected one of host, none, bridge",
    ],
    ['network_mode: host\nnetworks: [default]', '4:19: services.web.network_mode: there are networks as well'],
    ['secrets: [pass]', "4:15: services.web.secrets[0]: there is no secret 'pass' under secrets"],
    ['secrets: [constructor]', "4:15: services.web.secrets[0]: there is no secret 'constructor' under secrets"],
    ['environment: ["=x"]', "4:19: services.web.environment[0]: expected KEY=value, not '=x'"],
    ['environment: {A: [1]}', '4:22: services.web.environment.A: expected a single value, not a list'],
    ['env_file: nosuch.env', '4:15: services.web.env_file[0]: cannot read nosuch.env: there is no such file'],
    ['command: "a \'b"', '4:14: services.web.command: expected a command line whose quotes are closed'],
    ['entrypoint: []', "4:5: services.web.entrypoint: the image's own cannot be taken away"],
    ['healthcheck: {test: [curl, x]}', '4:26: services.web.healthcheck.test: expected a list that begins with CMD'],
    ['healthcheck: {test: x, disable: true}', '4:37: services.web.healthcheck.disable: there is a test as well'],
    ['depends_on: [db]', '4:18: services.web.depends_on.db: there is no service db'],
    [
      'depends_on: {web: {condition: service_started}}',
      '4:18: services.web.depends_on.web: services depend on each other: web -> web',
    ],
    ['extra_hosts: ["a:b"]', "4:19: services.web.extra_hosts.a: 'b' is not an IP address"],
    ['security_opt: [foo]', "4:20: services.web.security_opt[0]: 'foo' cannot be had"],
    ['platform: linux/arm/v7', "4:15: services.web.platform: nodes do not tell variants of arm apart: leave '/v7' out"],
    ['platform: linux/arm64/v8/x', '4:15: services.web.platform: expected one such as linux/amd64'],
    ['platform: linux', "4:15: services.web.platform: expected one such as linux/amd64, not 'linux'"],
    ['memswap_limit: 1g', '4:20: services.web.memswap_limit: it is of memory and swap together'],
    [
      'mem_limit: 1g\ndeploy: {resources: {limits: {memory: 2g}}}',
      '4:16: services.web.mem_limit: deploy.resources.limits.memory says otherwise',
    ],
    ['container_name: x', '4:21: services.web.container_name: containers have the names of their tasks'],
    ['uts: host', '4:10: services.web.uts: it is not supported yet'],
    ['links: [db]', '4:12: services.web.links: services on a common network find each other by name'],
    ['pull_policy: always', '4:18: services.web.pull_policy: nodes pull an image that they do not have'],
    ['tmpfs: "/x:uid=5"', "4:12: services.web.tmpfs: 'uid=5' cannot be had: a tmpfs has size, mode and ro"],
    ['user: ${U:?who}', '4:11: services.web.user: the variable U must be set: who'],
    ['extends: {service: base}', '4:5: services.web.extends: there is no service base; there are web'],
    ['extends: {service: x, file: b.yaml}', '4:5: services.web.extends: cannot read b.yaml: there is no such file'],
    ['extends: web', '4:5: services.web.extends: web extends this service itself'],
    ['init: maybe', "4:11: services.web.init: expected true or false, not 'maybe'"],
    [
      'ulimits: {nofile: {soft: x}}',
      "4:30: services.web.ulimits.nofile.soft: expected a whole number of at least -1, not 'x'",
    ],
  ])('%s', (lines, message) => {
    expect(problemsOf(service(lines))).toEqual([expect.stringContaining(`c.yaml:${message}`)]);
  });

  test.each([
    'privileged: false',
    'isolation: default',
    'pull_policy: missing',
    'command: null',
    'x-mine: {a: 1}',
    'links:',
  ])('%s asks for nothing', (lines) => {
    expect(problemsOf(service(lines))).toEqual([]);
  });

  test.each([
    ['build: .', '4:12: warning: services.web.build: nothing is built here: the image is used as it is'],
    ['user: $NOBODY', '4:11: warning: services.web.user: the variable NOBODY is not set, and counts as empty'],
    [
      'restart: always\ndeploy: {restart_policy: {condition: none}}',
      '4:14: warning: services.web.restart: deploy.restart_policy counts instead',
    ],
  ])('%s is warned of', (lines, message) => {
    expect(tryCompose(service(lines)).warnings).toEqual([`c.yaml:${message}`]);
  });
});

test.each([
  ['a: b\n  c', '1:1: '],
  ['services: {web: {image: "a}', '1:'],
  ['services: {}', '1:1: there are no services'],
  ['services: {web: {build: .}}', '1:12: services.web: the image is missing'],
  ['services: {web: }', '1:17: services.web: expected a map, not nothing'],
  ['services: {"a b": {image: x}}', '1:12: services.a b: a name has letters'],
  ['service: {web: {image: x}}', '1:1: service: unknown key; did you mean services?'],
  ['- a', '1:1: expected a map, not a list'],
  [
    'services: {web: {image: x, secrets: !include [a]}}',
    '1:46: services.web.secrets: unknown tag !include; known: !reset, !override',
  ],
  ['services: &a {web: *a}', '1:14: services.web: the aliases of this file name too much, or each other'],
  ['x-a: &a [*a]\nservices: {web: {image: x}}', '1:9: x-a[0]: the aliases'],
  [`${service('secrets: [p]')}secrets: {p: {file: a, content: b}}`, '5:33: secrets.p.content: there is file as well'],
  [
    `${service('secrets: [p]')}secrets: {p: {}}`,
    '5:11: secrets.p: expected one of file, environment, content, or external: true',
  ],
  [`${service('secrets: [p]')}secrets: {p: {file: ./a}}`, '5:21: secrets.p.file: cannot read a: there is no such file'],
  [
    `${service('secrets: [p]')}secrets: {p: {environment: P}}`,
    '5:28: secrets.p.environment: the variable P is not set',
  ],
  [
    `${service('secrets: [p]')}secrets: {p: {content: ""}}`,
    '5:24: secrets.p.content: secret data must be larger than 0',
  ],
  [
    `${service('networks: [n]')}networks: {n: {external: true, driver: overlay}}`,
    '5:40: networks.n.driver: the network is external',
  ],
  [
    `${service('volumes: ["v:/v"]')}volumes: {v: {external: true, name: x, driver: d}}`,
    '5:48: volumes.v.driver: the volume is external: its settings are made where it is made',
  ],
  [
    `${service('secrets: [p]')}secrets: {p: {external: true, template_driver: golang}}`,
    '5:48: secrets.p.template_driver: the secret is external',
  ],
  [
    `${service('configs: [p]')}configs: {p: {external: true, x-note: n, labels: {a: b}}}`,
    '5:42: configs.p.labels: the config is external',
  ],
  [
    service('environment: {A: "{{.Service.Nam}}"}'),
    '2:3: services.web: expanding env failed: expanding env "A={{.Service.Nam}}": template: expansion:1:10: ',
  ],
  [
    `${service('networks: [n]')}networks: {n: {driver_opts: {x: y}}}`,
    "5:12: networks.n: unknown option 'x' of the driver overlay",
  ],
  [
    `${service('networks: [n]')}networks: {n: {ipam: {config: [{subnet: 10.1.0.5/16}]}}}`,
    '5:12: networks.n: invalid subnet 10.1.0.5/16: it should be 10.1.0.0/16',
  ],
])('%j', (text, message) => {
  expect(problemsOf(text)[0]).toContain(`c.yaml:${message}`);
});

test('all that is wrong is said at once, in the order of the file', () => {
  expect(problemsOf(service('tty: x\nprots: []\ndns: {}')).map((line) => line.split(': ')[0])).toEqual([
    'c.yaml:4:10',
    'c.yaml:5:5',
    'c.yaml:6:10',
  ]);
});

test('places are those of the file that says it, through merges, anchors and includes', () => {
  const files = {
    'c.yaml': 'include: [sub/i.yaml]\nservices:\n  web: {image: "web:1"}\n',
    'o.yaml': 'x-a: &a\n  tty: maybe\nservices:\n  web:\n    <<: *a\n    init: no-idea\n',
    'sub/i.yaml': 'services:\n  db:\n    image: db:1\n    user: {}\n',
  };
  expect(problemsOf(files, { files: ['c.yaml', 'o.yaml'] })).toEqual([
    expect.stringMatching(/^sub\/i\.yaml:4:11: services\.db\.user: expected a string/),
    expect.stringMatching(/^o\.yaml:2:8: services\.web\.tty: expected true or false/),
    expect.stringMatching(/^o\.yaml:6:11: services\.web\.init: expected true or false/),
  ]);
});

test('services that depend on each other', () => {
  const text =
    'services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [c]}\n  c: {image: x, depends_on: [b]}\n';
  expect(problemsOf(text)).toEqual([
    'c.yaml:4:30: services.c.depends_on.b: services depend on each other: b -> c -> b',
  ]);
});

test('a service that never completes cannot be waited for', () => {
  const text = (mode: string) =>
    `services:\n  a: {image: x, depends_on: {b: {condition: service_completed_successfully}}}\n  b: {image: x, deploy: {mode: ${mode}}}\n`;
  expect(problemsOf(text('global'))).toEqual([
    expect.stringContaining('c.yaml:2:30: services.a.depends_on.b: b never completes'),
  ]);
  expect(problemsOf(text('replicated-job'))).toEqual([]);
});
