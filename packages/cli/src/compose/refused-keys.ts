import { passedOver, refused } from './shape.ts';

// Keys of the Compose Specification that cannot be honoured here, each with the reason: an error, never silence. Whoever makes one work takes its
// line out.

const notYet = 'it is not supported yet';
const noEngineSetting = (instead: string) => `services have no such setting; ${instead}`;

export const absentKeys = {
  service: {
    // For other tools, on the machine of whoever develops.
    build: passedOver('nothing is built here: the image is used as it is'),
    develop: passedOver('it is for "docker compose watch", and means nothing here'),
    attach: passedOver('it is for "docker compose up", and means nothing here'),
    pull_policy: refused('nodes pull an image that they do not have; a tag or a digest says which one', [
      'missing',
      'if_not_present',
    ]),
    pull_refresh_after: refused('nodes pull an image that they do not have; a tag or a digest says which one'),

    container_name: refused('containers have the names of their tasks, of which there may be many; leave it out'),
    links: refused('services on a common network find each other by name; leave it out, or use networks.NAME.aliases'),
    external_links: refused('put both services on a common external network instead'),
    domainname: refused(noEngineSetting('use hostname')),
    mac_address: refused('a task has the addresses that the cluster gives it'),
    volumes_from: refused('name the volumes under volumes instead'),
    annotations: refused(notYet),
    blkio_config: refused(notYet),
    cgroup_parent: refused(notYet),
    cpu_count: refused('it is for Windows containers; use deploy.resources.limits.cpus'),
    cpu_percent: refused('it is for Windows containers; use deploy.resources.limits.cpus'),
    cpu_period: refused(noEngineSetting('use deploy.resources.limits.cpus')),
    cpu_quota: refused(noEngineSetting('use deploy.resources.limits.cpus')),
    cpu_rt_period: refused(notYet),
    cpu_rt_runtime: refused(notYet),
    cpu_shares: refused(noEngineSetting('use deploy.resources.reservations.cpus')),
    cpuset: refused(noEngineSetting('use deploy.resources.limits.cpus')),
    credential_spec: refused('it is for Windows containers'),
    isolation: refused('it is for Windows containers', ['default', '']),
    device_cgroup_rules: refused(notYet),
    uts: refused(notYet, ['']),
    storage_opt: refused(notYet),
    oom_kill_disable: refused(notYet),
    use_api_socket: refused('mount the socket under volumes instead'),
    models: refused('models are not run here'),
    provider: refused('services are run here, not by another tool'),
    post_start: refused(notYet),
    pre_stop: refused(`${notYet}; the label swarmctl.drain-timeout under deploy.labels lets connections end`),
  },
  attachment: {
    ipv4_address: refused('the cluster gives tasks their addresses; a service is reached by its name'),
    ipv6_address: refused('the cluster gives tasks their addresses; a service is reached by its name'),
    link_local_ips: refused('the cluster gives tasks their addresses'),
    mac_address: refused('the cluster gives tasks their addresses'),
    interface_name: refused(notYet),
    driver_opts: refused(notYet),
    priority: refused(notYet, ['0']),
    gw_priority: refused(notYet, ['0']),
  },
  dependency: {
    restart: refused('services are not restarted with one another'),
  },
  payload: {
    driver: refused('secret drivers are not supported yet'),
    driver_opts: refused('secret drivers are not supported yet'),
  },
};
