import { anyText, fieldsOf, listOf, type Of, type Shape, shortened, single, text } from './shape.ts';
import { fieldsAt, list } from './tree.ts';
import { pairs } from './values.ts';

// Devices of a node: `devices` of a service, and the two ways in which one asks for GPUs.

/** `HOST[:CONTAINER][:rwm]`, or its parts. */
export const device = shortened(fieldsOf({ source: text, target: text, permissions: text }), (tree, spot) => {
  const read = text.read(tree, spot);
  if (read?.kind !== 'leaf') return undefined;
  const [, source = '', target, permissions] = /^([^:]*)(?::(?![rwm]+$)([^:]*))?(?::(.*))?$/.exec(read.text) ?? [];
  return fieldsAt(tree.at, { source, target, permissions }, tree.tag);
});
export type Device = Of<typeof device>;

/** By where the containers find it. */
export const deviceKey = ({ source, target }: Device): string => target ?? source ?? '';

const count = single<number | 'all'>('all or a whole number of at least 1', ({ text: value }) => {
  if (value === 'all' || value === '-1') return 'all';
  return /^[1-9]\d*$/.test(value) ? Number(value) : undefined;
});

const request = fieldsOf({
  capabilities: listOf(text),
  count,
  device_ids: listOf(anyText),
  driver: text,
  options: pairs,
});
export type DeviceRequest = Of<typeof request>;

export const requests: Shape<readonly DeviceRequest[]> = listOf(request);

/** `all`, or a list of requests. */
export const gpus: Shape<readonly DeviceRequest[]> = {
  ...requests,
  read: (tree, spot) => {
    if (tree.kind !== 'leaf') return requests.read(tree, spot);
    const all = single('all or a list', (one) => (one.text === 'all' ? 'all' : undefined)).read(tree, spot);
    return all && list(tree.at, [fieldsAt(tree.at, { count: all })], tree.tag);
  },
};
