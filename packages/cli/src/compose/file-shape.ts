import { absentKeys } from './refused-keys.ts';
import { service } from './service-shape.ts';
import {
  anyText,
  expected,
  fieldsOf,
  listOf,
  mapOf,
  type Of,
  refused,
  type Shape,
  shortened,
  text,
  yesOrNo,
} from './shape.ts';
import { fields, fieldsAt, isNull } from './tree.ts';
import { localPath, pairs } from './values.ts';

// What a compose file has at its top, and what stands under networks, volumes, secrets and configs.

/** True, or in old files a map with the name. */
const external: Shape<boolean | { readonly name?: string }> = {
  read: (tree, spot) => (tree.kind === 'map' ? fieldsOf({ name: text }) : yesOrNo).read(tree, spot),
  merge: (_base, over) => over,
};

const options = mapOf(anyText);

const ipamConfig = fieldsOf({ subnet: text, ip_range: text, gateway: text, aux_addresses: mapOf(text) });

const network = fieldsOf({
  name: text,
  driver: text,
  driver_opts: options,
  external,
  internal: yesOrNo,
  attachable: yesOrNo,
  enable_ipv4: yesOrNo,
  enable_ipv6: yesOrNo,
  labels: pairs,
  ipam: fieldsOf({
    driver: text,
    config: listOf(ipamConfig, { keyOf: ({ subnet }: Of<typeof ipamConfig>) => subnet ?? '' }),
    options,
  }),
});
export type ComposeNetwork = Of<typeof network>;

const volume = fieldsOf({ name: text, driver: text, driver_opts: options, external, labels: pairs });
export type ComposeVolume = Of<typeof volume>;

const payload = fieldsOf({
  name: text,
  file: localPath,
  environment: text,
  content: anyText,
  external,
  labels: pairs,
  template_driver: text,
  ...absentKeys.payload,
});
export type ComposePayload = Of<typeof payload>;

const paths = listOf(localPath, { orSingle: true });

export const include = listOf(
  shortened(fieldsOf({ path: paths, project_directory: localPath, env_file: paths }), (tree, spot) =>
    tree.kind === 'leaf' && !isNull(tree)
      ? fieldsAt(tree.at, { path: tree })
      : expected(tree, spot, 'the path of a compose file, or a map'),
  ),
);
export type Include = Of<typeof include>[number];

const checkKey = (key: string) =>
  /^[a-zA-Z0-9._-]+$/.test(key) ? undefined : 'a name has letters, digits, dots, dashes and underscores only';

const tableOf = <T>(member: Shape<T>) => mapOf(member, { checkKey, empty: (tree) => fields(tree.at, new Map()) });

export const composeFile = fieldsOf({
  version: anyText,
  name: text,
  include,
  services: mapOf(service, { checkKey }),
  networks: tableOf(network),
  volumes: tableOf(volume),
  secrets: mapOf(payload, { checkKey }),
  configs: mapOf(payload, { checkKey }),
  models: refused('models are not run here'),
});
export type ComposeFile = Of<typeof composeFile>;

/** Tables whose members an included file brings along. */
export const tables = ['services', 'networks', 'volumes', 'secrets', 'configs'] as const;
