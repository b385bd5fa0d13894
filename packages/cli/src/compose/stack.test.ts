// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of compose files
import type { ContainerSpec, ServiceSpec } from '@swarmctl/shared/model';
import { describe, expect, test } from 'vitest';
import { tryCompose } from './test-compose.ts';

// What the API is asked for: Docker's names and labels, and each key's place in the spec.

const ns = { 'com.docker.stack.namespace': 's' };
const tables =
  'networks: {front: , out: {external: true, name: shared}, old: {external: {name: older}}}\nvolumes: {data: , named: {name: v1, driver: d, driver_opts: {o: 1}, labels: [a=b]}, ext: {external: true}}\nsecrets: {pass: {content: x}, theirs: {external: true, name: big-secret}}\nconfigs: {conf: {content: y, template_driver: golang}}\n';
const stackOf = (lines: string, given: Parameters<typeof tryCompose>[1] = {}) =>
  tryCompose(
    {
      'c.yaml': `services:\n  web:\n    image: web:1\n    ${lines.replaceAll('\n', '\n    ')}\n${tables}`,
      'e.env': 'A=file\nE=${X:-e}',
      'raw.env': 'R="$A"',
      'l.labels': 'from=file\nboth=file',
      'sec.json': '{}',
    },
    given,
  ).stack;
const specOf = (lines: string): ServiceSpec => stackOf(lines).services[0]?.spec ?? {};
const containerOf = (lines: string): ContainerSpec => specOf(lines).TaskTemplate?.ContainerSpec ?? {};

test('the least that there is, as docker stack deploy asks for it', () => {
  const stack = stackOf('');
  expect(stack.services).toMatchObject([
    {
      key: 'web',
      name: 's_web',
      spec: {
        Name: 's_web',
        Labels: { ...ns, 'com.docker.stack.image': 'web:1' },
        TaskTemplate: {
          ContainerSpec: { Image: 'web:1', Labels: ns },
          Networks: [{ Target: 's_default', Aliases: ['web'] }],
        },
        Mode: { Replicated: {} },
        EndpointSpec: {},
      },
    },
  ]);
  expect(stack.networks.map(({ request }) => request)).toEqual([
    { Name: 's_default', Driver: 'overlay', Scope: 'swarm', Labels: ns },
  ]);
  const file = (text: string) => Buffer.from(text).toString('base64');
  expect(stack.payloads.map(({ name, spec }) => [name, spec])).toEqual([
    ['s_pass', { Name: 's_pass', Labels: ns, Data: file('x') }],
    ['big-secret', undefined],
    ['s_conf', { Name: 's_conf', Labels: ns, Data: file('y'), Templating: { Name: 'golang' } }],
  ]);
});

describe('the container', () => {
  test.each<[string, ContainerSpec]>([
    ['entrypoint: run\ncommand: [a, b]', { Command: ['run'], Args: ['a', 'b'] }],
    [
      'environment: [B=2, A=1]\nenv_file: [e.env, {path: no.env, required: false}, {path: raw.env, format: raw}]',
      { Env: ['A=1', 'B=2', 'E=e', 'R="$A"'] },
    ],
    ['labels: {both: here}\nlabel_file: l.labels', { Labels: { ...ns, from: 'file', both: 'here' } }],
    [
      'hostname: h\nuser: u\nworking_dir: /w\ngroup_add: [1, g]',
      { Hostname: 'h', User: 'u', Dir: '/w', Groups: ['1', 'g'] },
    ],
    [
      'init: false\ntty: true\nstdin_open: true\nread_only: true',
      { Init: false, TTY: true, OpenStdin: true, ReadOnly: true },
    ],
    ['stop_signal: SIGINT\nstop_grace_period: 1m30s', { StopSignal: 'SIGINT', StopGracePeriod: 90e9 }],
    [
      'healthcheck: {test: x, interval: 1s, timeout: 2s, start_period: 3s, start_interval: 4s, retries: 5}',
      {
        Healthcheck: {
          Test: ['CMD-SHELL', 'x'],
          Interval: 1e9,
          Timeout: 2e9,
          StartPeriod: 3e9,
          StartInterval: 4e9,
          Retries: 5,
        },
      },
    ],
    ['healthcheck: {disable: true}', { Healthcheck: { Test: ['NONE'] } }],
    ['extra_hosts: ["a=[::1]", "b:10.0.0.1"]', { Hosts: ['::1 a', '10.0.0.1 b'] }],
    [
      'dns: 9.9.9.9\ndns_search: x.example\ndns_opt: [ndots:2]',
      { DNSConfig: { Nameservers: ['9.9.9.9'], Search: ['x.example'], Options: ['ndots:2'] } },
    ],
    [
      'cap_add: [NET_ADMIN]\ncap_drop: [ALL]\nsysctls: [net.core.somaxconn=9]\noom_score_adj: -5',
      {
        CapabilityAdd: ['CAP_NET_ADMIN'],
        CapabilityDrop: ['ALL'],
        Sysctls: { 'net.core.somaxconn': '9' },
        OomScoreAdj: -5,
      },
    ],
    [
      'cap_add: [sys_time, CAP_NET_RAW, net_raw]\ncap_drop: [NET_RAW, chown]',
      { CapabilityAdd: ['CAP_NET_RAW', 'CAP_SYS_TIME'], CapabilityDrop: ['CAP_CHOWN'] },
    ],
    [
      'ulimits: {nproc: 5, nofile: {soft: 1, hard: 2}}',
      {
        Ulimits: [
          { Name: 'nofile', Soft: 1, Hard: 2 },
          { Name: 'nproc', Soft: 5, Hard: 5 },
        ],
      },
    ],
    [
      'security_opt: ["no-new-privileges:true", "seccomp:./sec.json", "label:user:u", "label=level:s0"]',
      {
        Privileges: {
          NoNewPrivileges: true,
          Seccomp: { Mode: 'custom', Profile: 'e30=' },
          SELinuxContext: { User: 'u', Level: 's0' },
        },
      },
    ],
    [
      'security_opt: ["seccomp=unconfined", "apparmor:unconfined"]',
      { Privileges: { Seccomp: { Mode: 'unconfined' }, AppArmor: { Mode: 'disabled' } } },
    ],
    [
      'volumes: ["data:/d:ro,nocopy", "named:/n", "ext:/e", /anon]',
      {
        Mounts: [
          {
            Type: 'volume',
            Source: 's_data',
            Target: '/d',
            ReadOnly: true,
            VolumeOptions: { NoCopy: true, Labels: ns },
          },
          {
            Type: 'volume',
            Source: 'v1',
            Target: '/n',
            VolumeOptions: { Labels: { ...ns, a: 'b' }, DriverConfig: { Name: 'd', Options: { o: '1' } } },
          },
          { Type: 'volume', Source: 'ext', Target: '/e' },
          { Type: 'volume', Target: '/anon' },
        ],
      },
    ],
    [
      'volumes: [{type: bind, source: ./x, target: /b, bind: {propagation: rslave, create_host_path: true, recursive: disabled}}, {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0700}}]\ntmpfs: /u',
      {
        Mounts: [
          {
            Type: 'bind',
            Source: '/app/x',
            Target: '/b',
            BindOptions: { Propagation: 'rslave', CreateMountpoint: true, NonRecursive: true },
          },
          { Type: 'tmpfs', Target: '/t', TmpfsOptions: { SizeBytes: 1048576, Mode: 0o700 } },
          { Type: 'tmpfs', Target: '/u' },
        ],
      },
    ],
    [
      'tmpfs: ["/a:rw,noexec,nosuid,nodev,size=64k", "/b:ro"]',
      {
        Mounts: [
          { Type: 'tmpfs', Target: '/a', TmpfsOptions: { SizeBytes: 65536 } },
          { Type: 'tmpfs', Target: '/b', ReadOnly: true },
        ],
      },
    ],
    [
      'secrets: [theirs, {source: pass, target: /p, uid: 5, gid: "6", mode: 0400}]',
      {
        Secrets: [
          {
            File: { Name: 'theirs', UID: '0', GID: '0', Mode: 0o444 },
            SecretID: 'big-secret',
            SecretName: 'big-secret',
          },
          { File: { Name: '/p', UID: '5', GID: '6', Mode: 0o400 }, SecretID: 's_pass', SecretName: 's_pass' },
        ],
      },
    ],
    [
      'configs: [conf]',
      {
        Configs: [
          { File: { Name: 'conf', UID: '0', GID: '0', Mode: 0o444 }, ConfigID: 's_conf', ConfigName: 's_conf' },
        ],
      },
    ],
  ])('%s', (lines, wanted) => expect(containerOf(lines)).toMatchObject(wanted));

  test('a variable without a value comes from the environment of whoever deploys, or is left out', () => {
    const env = { HOME: '/h' };
    const spec = stackOf('environment: [HOME, NOWHERE]\nenv_file: []', { env }).services[0]?.spec;
    expect(spec?.TaskTemplate?.ContainerSpec?.Env).toEqual(['HOME=/h']);
  });
});

describe('the service', () => {
  test.each<[string, ServiceSpec]>([
    [
      'deploy: {mode: global, endpoint_mode: dnsrr, labels: [a=b]}',
      { Mode: { Global: {} }, EndpointSpec: { Mode: 'dnsrr' }, Labels: { ...ns, a: 'b' } },
    ],
    [
      'deploy: {mode: replicated-job, replicas: 3}',
      { Mode: { ReplicatedJob: { MaxConcurrent: 3, TotalCompletions: 3 } } },
    ],
    ['deploy: {mode: global-job}', { Mode: { GlobalJob: {} } }],
    ['scale: 4', { Mode: { Replicated: { Replicas: 4 } } }],
    [
      'deploy: {update_config: {delay: 2s, order: start-first, failure_action: rollback, monitor: 1s, max_failure_ratio: 0.5}, rollback_config: {parallelism: 0}}',
      {
        UpdateConfig: {
          Parallelism: 1,
          Delay: 2e9,
          Order: 'start-first',
          FailureAction: 'rollback',
          Monitor: 1e9,
          MaxFailureRatio: 0.5,
        },
        RollbackConfig: { Parallelism: 0 },
      },
    ],
    [
      'deploy: {restart_policy: {condition: on-failure, delay: 1s, max_attempts: 2, window: 3s}}',
      { TaskTemplate: { RestartPolicy: { Condition: 'on-failure', Delay: 1e9, MaxAttempts: 2, Window: 3e9 } } },
    ],
    ['restart: on-failure:3', { TaskTemplate: { RestartPolicy: { Condition: 'on-failure', MaxAttempts: 3 } } }],
    ['networks: []', { TaskTemplate: { Networks: [{ Target: 's_default', Aliases: ['web'] }] } }],
    ['networks: {}\nnetwork_mode: ""', { TaskTemplate: { Networks: [{ Target: 's_default', Aliases: ['web'] }] } }],
    ['network_mode: host\nnetworks: []', { TaskTemplate: { Networks: [{ Target: 'host' }] } }],
    ['logging: {options: {a: , b: 1}}', { TaskTemplate: { LogDriver: { Options: { a: '', b: '1' } } } }],
    [
      'platform: linux/arm64/v8',
      { TaskTemplate: { Placement: { Platforms: [{ OS: 'linux', Architecture: 'arm64' }] } } },
    ],
    [
      'ports: ["0:80", {target: 81, published: "", host_ip: ""}, {target: 82, published: 0}]',
      {
        EndpointSpec: {
          Ports: [80, 81, 82].map((TargetPort) => ({ Protocol: 'tcp', TargetPort, PublishMode: 'ingress' })),
        },
      },
    ],
    [
      'ports: ["8000-8001:80"]',
      {
        EndpointSpec: {
          Ports: [8000, 8001].map((PublishedPort) => ({
            ...{ Protocol: 'tcp', TargetPort: 80, PublishedPort, PublishMode: 'ingress' },
          })),
        },
      },
    ],
    ['restart: no', { TaskTemplate: { RestartPolicy: { Condition: 'none' } } }],
    ['restart: unless-stopped', { TaskTemplate: { RestartPolicy: { Condition: 'any' } } }],
    [
      'platform: linux/arm64\ndeploy: {placement: {constraints: [node.role==worker], preferences: [{spread: node.labels.z}], max_replicas_per_node: 2}}',
      {
        TaskTemplate: {
          Placement: {
            Constraints: ['node.role==worker'],
            Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.z' } }],
            MaxReplicas: 2,
            Platforms: [{ OS: 'linux', Architecture: 'arm64' }],
          },
        },
      },
    ],
    [
      'deploy: {resources: {limits: {cpus: "0.5", memory: 64m, pids: 9}, reservations: {cpus: 0.25, memory: 32m, generic_resources: [{discrete_resource_spec: {kind: gpu, value: 2}}]}}}',
      {
        TaskTemplate: {
          Resources: {
            Limits: { NanoCPUs: 5e8, MemoryBytes: 67108864, Pids: 9 },
            Reservations: {
              NanoCPUs: 25e7,
              MemoryBytes: 33554432,
              GenericResources: [{ DiscreteResourceSpec: { Kind: 'gpu', Value: 2 } }],
            },
          },
        },
      },
    ],
    [
      'cpus: 2\nmem_limit: 64m\nmem_reservation: 32m\npids_limit: 5\nmemswap_limit: 96m\nmem_swappiness: 7',
      {
        TaskTemplate: {
          Resources: {
            Limits: { NanoCPUs: 2e9, MemoryBytes: 67108864, Pids: 5 },
            Reservations: { MemoryBytes: 33554432 },
            SwapBytes: 33554432,
            MemorySwappiness: 7,
          },
        },
      },
    ],
    [
      'logging: {driver: local, options: {max-size: 1m}}',
      { TaskTemplate: { LogDriver: { Name: 'local', Options: { 'max-size': '1m' } } } },
    ],
    [
      'networks: {out: , old: , front: {aliases: [x]}}',
      {
        TaskTemplate: {
          Networks: [
            { Target: 'older', Aliases: ['web'] },
            { Target: 's_front', Aliases: ['x', 'web'] },
            { Target: 'shared', Aliases: ['web'] },
          ],
        },
      },
    ],
    ['network_mode: host', { TaskTemplate: { Networks: [{ Target: 'host' }] } }],
    [
      'ports: ["8001-8002:81-82/udp", "80:80", {target: 5, mode: host, published: 5, name: five}, 9]',
      {
        EndpointSpec: {
          Ports: [
            { Protocol: 'tcp', TargetPort: 9, PublishMode: 'ingress' },
            { Name: 'five', Protocol: 'tcp', TargetPort: 5, PublishedPort: 5, PublishMode: 'host' },
            { Protocol: 'tcp', TargetPort: 80, PublishedPort: 80, PublishMode: 'ingress' },
            { Protocol: 'udp', TargetPort: 81, PublishedPort: 8001, PublishMode: 'ingress' },
            { Protocol: 'udp', TargetPort: 82, PublishedPort: 8002, PublishMode: 'ingress' },
          ],
        },
      },
    ],
    [
      'ports: ["10.0.0.5:80:80", "[fd00::5]:80:80", "0.0.0.0:81:81"]',
      {
        Labels: { 'swarmctl.ingress.address.80/tcp': '10.0.0.5,fd00::5' },
        EndpointSpec: { Ports: [{ PublishedPort: 80 }, { PublishedPort: 81 }] } as never,
      },
    ],
  ])('%s', (lines, wanted) => expect(specOf(lines)).toMatchObject(wanted));

  test('a default network that the file has settings for', () => {
    const text =
      'services: {web: {image: x}}\nnetworks: {default: {driver_opts: {encrypted: ""}, attachable: true, internal: true, enable_ipv6: true, labels: {a: b}, ipam: {config: [{subnet: 10.9.0.0/16, gateway: 10.9.0.1, ip_range: 10.9.1.0/24}]}}, idle: }';
    expect(tryCompose(text).stack.networks.map(({ request }) => request)).toEqual([
      {
        ...{ Name: 's_default', Driver: 'overlay', Scope: 'swarm', Internal: true, Attachable: true, EnableIPv6: true },
        Options: { encrypted: '' },
        Labels: { ...ns, a: 'b' },
        IPAM: { Driver: 'default', Config: [{ Subnet: '10.9.0.0/16', Gateway: '10.9.0.1', IPRange: '10.9.1.0/24' }] },
      },
    ]);
  });

  test('services come behind those that they depend on, else as they stand', () => {
    const text =
      'services: {a: {image: x, depends_on: [c]}, b: {image: x}, c: {image: x, depends_on: {d: {condition: service_healthy}}}, d: {image: x}}';
    const { services } = tryCompose(text).stack;
    expect(services.map(({ key }) => key)).toEqual(['d', 'c', 'a', 'b']);
    expect(services[1]?.dependencies).toMatchObject([{ on: 'd', condition: 'service_healthy' }]);
  });
});
