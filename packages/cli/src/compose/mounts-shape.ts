import { posix } from 'node:path';
import {
  expected,
  fieldsOf,
  type Of,
  refused,
  type Shape,
  type Spot,
  shortened,
  text,
  word,
  yesOrNo,
} from './shape.ts';
import { type Fields, fields, fieldsAt, leaf, type Tree } from './tree.ts';
import { absolute, fileMode, isPath, pairs, size } from './values.ts';

// Mounts of services, short and long: `data:/var/lib/data:ro`, `./site:/www`, or a map; and what `tmpfs` has.

const propagations = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'] as const;
const relabelling = 'labels of SELinux are not set by nodes; set them on the hosts';

const longMount = fieldsOf({
  type: word('bind', 'volume', 'tmpfs', 'image', 'cluster', 'npipe'),
  source: text,
  target: text,
  read_only: yesOrNo,
  consistency: text,
  bind: fieldsOf({
    propagation: word(...propagations),
    create_host_path: yesOrNo,
    recursive: word('enabled', 'disabled', 'writable', 'readonly'),
    selinux: refused(relabelling),
  }),
  volume: fieldsOf({ nocopy: yesOrNo, subpath: text, labels: pairs }),
  tmpfs: fieldsOf({ size, mode: fileMode }),
  image: fieldsOf({ subpath: text }),
});
export type Mount = Of<typeof longMount>;

const withPath: Shape<Mount> = {
  ...longMount,
  read: (tree, spot) => {
    const read = longMount.read(tree, spot);
    if (read?.kind !== 'map') return read;
    if (!read.entries.has('type')) return expected(tree, spot, 'a map with a type: bind, volume or tmpfs');
    return typeOf(read) === 'bind' ? withAbsoluteSource(read, spot) : read;
  },
};

const typeOf = (mount: Fields): unknown => leafValue(mount, 'type');

function leafValue(mount: Fields, key: string): unknown {
  const value = mount.entries.get(key)?.value;
  return value?.kind === 'leaf' ? value.value : undefined;
}

function withAbsoluteSource(mount: Fields, spot: Spot): Fields {
  const source = mount.entries.get('source');
  if (source?.value.kind !== 'leaf') return mount;
  const value = leaf(source.value.at, absolute(source.value.text, spot));
  return fields(mount.at, new Map([...mount.entries, ['source', { ...source, value }]]), mount.tag);
}

export const mount: Shape<Mount> = shortened(withPath, shortMount);

export const mountKey = ({ target = '' }: Mount): string => posix.resolve('/', target);

const modes = ['rw', 'ro', 'nocopy', 'z', 'Z', 'cached', 'delegated', 'consistent', ...propagations] as const;

function shortMount(tree: Tree, spot: Spot): Tree | undefined {
  const right = 'a mount such as data:/var/lib/data, ./site:/www:ro or /tmp';
  const parts = tree.kind === 'leaf' ? tree.text.split(':') : [];
  const [source, target, ...more] = parts.length === 1 ? [undefined, parts[0]] : parts;
  if (more.length > 1 || !target?.startsWith('/') || source === '') return expected(tree, spot, right);
  const asked = (more[0] ?? '').split(',').filter((mode) => mode !== '');
  const unknown = asked.find((mode) => !modes.some((one) => one === mode));
  if (unknown !== undefined) {
    spot.problems.error(tree.at, spot.path, `'${unknown}' is no mode of a mount; known: ${modes.join(', ')}`);
    return undefined;
  }
  if (asked.some((mode) => mode === 'z' || mode === 'Z')) {
    spot.problems.error(tree.at, spot.path, relabelling);
    return undefined;
  }
  const { at } = tree;
  const propagation = propagations.find((one) => asked.includes(one));
  const consistency = ['cached', 'delegated', 'consistent'].find((one) => asked.includes(one));
  const isBind = source !== undefined && isPath(source);
  return fieldsAt(
    at,
    {
      type: isBind ? 'bind' : 'volume',
      source,
      target,
      read_only: asked.includes('ro') || undefined,
      consistency,
      bind: propagation && fieldsAt(at, { propagation }),
      volume: asked.includes('nocopy') ? fieldsAt(at, { nocopy: true }) : undefined,
    },
    tree.tag,
  );
}

/** What every tmpfs of a task has anyway. */
const usualOptions = ['rw', 'noexec', 'nosuid', 'nodev'];

/** `/run`, `/run:size=64m,mode=1777`. */
export const tmpfs = shortened(fieldsOf({ target: text, size, mode: fileMode, read_only: yesOrNo }), (tree, spot) => {
  const right = 'a folder such as /run or /run:size=64m,mode=1777';
  if (tree.kind !== 'leaf' || !tree.text.startsWith('/')) return expected(tree, spot, right);
  const [target = '', options = ''] = tree.text.split(/:(.*)/s, 2);
  const given = new Map(
    options
      .split(',')
      .filter((one) => one !== '' && !usualOptions.includes(one))
      .map((one) => one.split(/=(.*)/s, 2) as [string, string | undefined]),
  );
  const wrong = [...given].find(([key, value]) =>
    key === 'ro' ? value !== undefined : !['size', 'mode'].includes(key) || !value,
  );
  if (wrong) {
    spot.problems.error(
      tree.at,
      spot.path,
      `'${wrong.filter(Boolean).join('=')}' cannot be had: a tmpfs has size, mode and ro, and always ${usualOptions.slice(1).join(', ')}`,
    );
    return undefined;
  }
  const isReadOnly = given.has('ro') || undefined;
  return fieldsAt(tree.at, { target, size: given.get('size'), mode: given.get('mode'), read_only: isReadOnly });
});
