import type { ContainerSpec } from '@swarmctl/shared/model';
import type { BuildContext } from './container-spec.ts';
import { whyUnread } from './read-error.ts';
import type { ComposeService } from './service-shape.ts';
import type { Path } from './tree.ts';
import { absolute } from './values.ts';

// `security_opt`, in the API's words.

type Privileges = NonNullable<ContainerSpec['Privileges']>;
type SELinux = NonNullable<Privileges['SELinuxContext']>;

const selinuxFields: Readonly<Record<string, keyof SELinux>> = {
  user: 'User',
  role: 'Role',
  type: 'Type',
  level: 'Level',
};

export function privileges(service: ComposeService, path: Path, context: BuildContext): Privileges | undefined {
  let all: Privileges = {};
  for (const [i, option] of (service.security_opt ?? []).entries()) {
    if (securityOption(option) !== undefined) continue;
    const place = [...path, 'security_opt', i];
    const one = privilegeOf(option, place, context);
    if (one) {
      all = {
        ...all,
        ...one,
        ...(one.SELinuxContext && { SELinuxContext: { ...all.SELinuxContext, ...one.SELinuxContext } }),
      };
    } else context.report.error(place, `'${option}' cannot be had; ${right}`);
  }
  return Object.keys(all).length > 0 ? all : undefined;
}

const right =
  'expected no-new-privileges:true, seccomp:unconfined, seccomp:FILE, apparmor:unconfined, apparmor:PROFILE, systempaths=unconfined, label:disable or label:user:USER';

/** Of the options that the API has no word for, as the engine writes them; undefined for the others. */
export function securityOption(option: string): string | undefined {
  const [, name, value = ''] = /^(apparmor|systempaths)[:=](.*)$/.exec(option) ?? [];
  return name === undefined || (name === 'apparmor' && value === 'unconfined') ? undefined : `${name}=${value}`;
}

function privilegeOf(option: string, path: Path, context: BuildContext): Privileges | undefined {
  const [, name = '', value = ''] = /^([a-z-]+)(?:[:=](.*))?$/.exec(option) ?? [];
  switch (name) {
    case 'no-new-privileges':
      return ['', 'true', 'false'].includes(value) ? { NoNewPrivileges: value !== 'false' } : undefined;
    case 'apparmor':
      return value === 'unconfined' ? { AppArmor: { Mode: 'disabled' } } : undefined;
    case 'seccomp':
      return value === 'unconfined' ? { Seccomp: { Mode: 'unconfined' } } : seccompFile(value, path, context);
    case 'label': {
      if (value === 'disable') return { SELinuxContext: { Disable: true } };
      const [, kind = '', text = ''] = /^([a-z]+):(.+)$/.exec(value) ?? [];
      const field = selinuxFields[kind];
      return field && { SELinuxContext: { [field]: text } };
    }
    default:
      return undefined;
  }
}

function seccompFile(file: string, path: Path, { read, report, folder, home }: BuildContext): Privileges | undefined {
  if (file === '') return undefined;
  try {
    return { Seccomp: { Mode: 'custom', Profile: read(absolute(file, { folder, home })).toString('base64') } };
  } catch (error) {
    report.error(path, `cannot read ${file}: ${whyUnread(error)}`);
    return {};
  }
}
