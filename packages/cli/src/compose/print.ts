import { stringify } from 'yaml';
import type { ComposeFile } from './file-shape.ts';

/** A compose file as text that comes to the same when it is read: a dollar sign is one there. */
export const printed = (file: ComposeFile): string => stringify(escaped(withPortNumbers(file)), { lineWidth: 0 });

/** Ports that are no ranges as numbers, which Docker insists on. */
function withPortNumbers(file: ComposeFile): unknown {
  const number = (text: string | undefined) => (/^\d+$/.test(text ?? '') ? Number(text) : text);
  const services = Object.entries(file.services ?? {}).map(([key, service]) => {
    const ports = service.ports?.map((port) => ({
      ...port,
      ...(port.target !== undefined && { target: number(port.target) }),
      ...(port.published !== undefined && { published: number(port.published) }),
    }));
    return [key, { ...service, ...(ports && { ports }) }];
  });
  return { ...file, ...(file.services && { services: Object.fromEntries(services) }) };
}

function escaped(value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll('$', '$$$$');
  if (Array.isArray(value)) return value.map(escaped);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, escaped(member)]));
}
