import type { ComposeFile } from './file-shape.ts';
import { help } from './load.ts';
import { declaredAs } from './names.ts';
import type { Report } from './report.ts';
import type { ComposeService, Condition } from './service-shape.ts';
import type { Path } from './tree.ts';

// `depends_on`: services are made behind those that they depend on. To wait for more than that, the deployment itself must wait (--wait).

export interface Dependency {
  /** The other service's key. */
  readonly on: string;
  readonly condition: Condition;
  readonly path: Path;
}

export function dependenciesOf(key: string, service: ComposeService, file: ComposeFile, report: Report): Dependency[] {
  return Object.entries(service.depends_on ?? {}).flatMap(
    ([on, { condition = 'service_started', required = true }]) => {
      const path: Path = ['services', key, 'depends_on', on];
      const other = declaredAs(file.services, on);
      if (!other) {
        const known = Object.keys(file.services ?? {}).filter((one) => one !== key);
        if (required) report.error(path, `there is no service ${on}, or its profile is not wanted${help(on, known)}`);
        return [];
      }
      const isJob = other.deploy?.mode?.endsWith('-job') ?? false;
      if (condition === 'service_completed_successfully' && !isJob) {
        report.error(
          path,
          `${on} never completes: its deploy.mode is ${other.deploy?.mode ?? 'replicated'}, not replicated-job or global-job`,
        );
      }
      return [{ on, condition, path }];
    },
  );
}

interface Dependent {
  readonly key: string;
  readonly dependencies: readonly Dependency[];
}

/** Else as they stand in the file. */
export function inOrder<T extends Dependent>(services: readonly T[], report: Report): T[] {
  const ordered: T[] = [];
  const visit = (service: T, within: readonly string[]): void => {
    if (ordered.includes(service)) return;
    const chain = [...within, service.key];
    for (const { on, path } of service.dependencies) {
      if (chain.includes(on)) {
        report.error(path, `services depend on each other: ${[...chain.slice(chain.indexOf(on)), on].join(' -> ')}`);
        continue;
      }
      const other = services.find(({ key }) => key === on);
      if (other) visit(other, chain);
    }
    ordered.push(service);
  };
  for (const service of services) visit(service, []);
  return ordered;
}
