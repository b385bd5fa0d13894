import { requests } from './devices-shape.ts';
import { fieldsOf, listOf, type Of, type Shape, text, whole, word } from './shape.ts';
import { cpus, duration, pairs, ratio, size } from './values.ts';

// What stands under `deploy`.

const rolling = {
  parallelism: whole(),
  delay: duration,
  monitor: duration,
  max_failure_ratio: ratio,
  order: word('stop-first', 'start-first'),
};

const pids: Shape<number> = whole(-1);

export const deploy = fieldsOf({
  mode: word('replicated', 'global', 'replicated-job', 'global-job'),
  replicas: whole(),
  endpoint_mode: word('vip', 'dnsrr'),
  labels: pairs,
  update_config: fieldsOf({ ...rolling, failure_action: word('pause', 'continue', 'rollback') }),
  rollback_config: fieldsOf({ ...rolling, failure_action: word('pause', 'continue') }),
  restart_policy: fieldsOf({
    condition: word('none', 'on-failure', 'any'),
    delay: duration,
    max_attempts: whole(),
    window: duration,
  }),
  placement: fieldsOf({
    constraints: listOf(text),
    preferences: listOf(fieldsOf({ spread: text })),
    max_replicas_per_node: whole(),
  }),
  resources: fieldsOf({
    limits: fieldsOf({ cpus, memory: size, pids }),
    reservations: fieldsOf({
      cpus,
      memory: size,
      generic_resources: listOf(fieldsOf({ discrete_resource_spec: fieldsOf({ kind: text, value: whole() }) })),
      devices: requests,
    }),
  }),
});
export type Deploy = Of<typeof deploy>;
export type Rolling = NonNullable<Deploy['update_config'] | Deploy['rollback_config']>;
