import { isJobMode, jobSizeOf, type Service } from '@swarmctl/shared/model';
import { renderList } from '../output.ts';
import { type apiFilters, type Shell, shortId } from '../runtime.ts';
import { modeName, publishedAt } from '../service/pretty.ts';
import { shortImage } from '../task-table.ts';
import type { Args } from './types.ts';

// What `service ls` and `stack services` print.

type ListedService = Service & {
  ServiceStatus: { RunningTasks: number; DesiredTasks: number; CompletedTasks: number };
};

const columns = [
  { header: 'ID', field: 'ID' },
  { header: 'NAME', field: 'Name' },
  { header: 'MODE', field: 'Mode' },
  { header: 'REPLICAS', field: 'Replicas' },
  { header: 'IMAGE', field: 'Image' },
  { header: 'PORTS', field: 'Ports' },
];

/** The services that the API lets through `filters`; how many. */
export async function printServices(args: Args, shell: Shell, filters: ReturnType<typeof apiFilters>): Promise<number> {
  const services = await shell.client().get<ListedService[]>('/services', { status: true, filters });
  const noTrunc = args.flag('no-trunc');
  const rows = [...services]
    .sort((a, b) => a.Spec.Name.localeCompare(b.Spec.Name))
    .map((service) => ({
      ID: shortId(service.ID, noTrunc || args.flag('quiet')),
      Name: service.Spec.Name,
      Mode: modeName(service.Spec.Mode).toLowerCase(),
      Replicas: `${service.ServiceStatus.RunningTasks}/${service.ServiceStatus.DesiredTasks}${completed(service)}${perNode(service)}`,
      Image: shortImage(service.Spec.TaskTemplate.ContainerSpec?.Image ?? '', noTrunc),
      Ports: (service.Endpoint.Ports ?? [])
        .filter((port) => port.PublishMode !== 'host')
        .map((port) => publishedAt(service, port))
        .join(', '),
    }));
  shell.out(renderList(rows, columns, 'ID', { quiet: args.flag('quiet'), format: args.text('format') }));
  return services.length;
}

function completed({ Spec, ServiceStatus: { CompletedTasks: done, DesiredTasks: open } }: ListedService): string {
  if (!isJobMode(Spec.Mode)) return '';
  return ` (${done}/${jobSizeOf(Spec)?.completions ?? done + open} completed)`;
}

const perNode = (service: Service) => {
  const most = service.Spec.TaskTemplate.Placement?.MaxReplicas;
  return most ? ` (max ${most} per node)` : '';
};
