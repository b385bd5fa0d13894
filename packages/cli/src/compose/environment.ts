import type { BuildContext } from './container-spec.ts';
import { parseDotenv } from './dotenv.ts';
import { isAbsent, whyUnread } from './read-error.ts';
import type { ComposeService } from './service-shape.ts';
import type { Path } from './tree.ts';

// Variables and labels of containers that stand in files of their own.

/** `NAME=value`, by name; what stands under `environment` counts before what files say. */
export function environmentOf(service: ComposeService, path: Path, context: BuildContext): string[] {
  const { lookup } = context.project;
  const found = new Map<string, string>();
  for (const [i, { path: file = '', required = true, format }] of (service.env_file ?? []).entries()) {
    const place = [...path, 'env_file', i];
    for (const [name, value] of variablesIn(file, place, context, { raw: format === 'raw', required })) {
      found.set(name, value);
    }
  }
  for (const [name, given] of Object.entries(service.environment ?? {})) {
    const value = given ?? lookup(name);
    if (value !== undefined) found.set(name, value);
    // One without a value anywhere is not there.
    else found.delete(name);
  }
  return [...found].map(([name, value]) => `${name}=${value}`).sort((a, b) => (a < b ? -1 : 1));
}

export function labelsOfFiles(service: ComposeService, path: Path, context: BuildContext): Record<string, string> {
  const all = (service.label_file ?? []).flatMap((file, i) => [
    ...variablesIn(file, [...path, 'label_file', i], context, { raw: false, required: true }),
  ]);
  return Object.fromEntries(all);
}

function variablesIn(
  file: string,
  path: Path,
  { project, report, read, show }: BuildContext,
  { raw, required }: { readonly raw: boolean; readonly required: boolean },
): Map<string, string> {
  let content: string;
  try {
    content = read(file).toString('utf8');
  } catch (error) {
    if (required || !isAbsent(error)) report.error(path, `cannot read ${show(file)}: ${whyUnread(error)}`);
    return new Map();
  }
  return parseDotenv(content, { file: show(file), lookup: project.lookup, raw }, project.problems);
}
