import { describe, expect, test } from 'vitest';
import { checkAllowed, containerOptionsOf } from './container-options.ts';
import { checkReservedLabels } from './labels.ts';

const label = (name: string, value: string) => ({ [`swarmctl.container.${name}`]: value });

describe('what reaches beyond a container', () => {
  test.each([
    ['privileged', 'yes', 'one of true, false'],
    ['devices', '/etc/passwd', 'a list of devices'],
    ['devices', '/dev/../etc', 'a list of devices'],
    ['gpus', 'some', 'all, a number, or device=ID'],
    ['shm-size', '0', 'a size such as 256m'],
    ['ipc', 'container:x', 'one of none'],
    ['pid', 'private', 'one of host'],
    ['security-opt', 'seccomp=/p.json', 'a list of no-new-privileges'],
    ['runtime', '../x', 'the name of a runtime'],
  ])('%s=%s is refused', (name, value, right) =>
    expect(() => checkReservedLabels('service', label(name, value))).toThrow(`'${value}' is not ${right}`),
  );

  test('is read from labels', () => {
    expect(
      containerOptionsOf({
        ...label('devices', '/dev/snd,/dev/kvm:/dev/x:rw'),
        ...label('gpus', 'device=0,GPU-1'),
        ...label('shm-size', '256m'),
        ...label('pid', 'host'),
        ...label('security-opt', 'label=disable'),
      }),
    ).toEqual({
      privileged: false,
      devices: [
        { host: '/dev/snd', container: '/dev/snd', permissions: 'rwm' },
        { host: '/dev/kvm', container: '/dev/x', permissions: 'rw' },
      ],
      gpus: { ids: ['0', 'GPU-1'] },
      shmSizeBytes: 256 * 1024 ** 2,
      pid: 'host',
      securityOptions: ['label=disable'],
    });
    expect(containerOptionsOf(label('gpus', 'all')).gpus).toEqual({ count: -1 });
  });

  test.each<[string, string, string | undefined, string | undefined]>([
    ['privileged', 'true', undefined, 'privileged'],
    ['privileged', 'false', undefined, undefined],
    ['privileged', 'true', 'gpus', 'gpus,privileged'],
    ['privileged', 'true', 'privileged', undefined],
    ['devices', '/dev/snd/timer', 'devices=/dev/snd', undefined],
    ['devices', '/dev/sndx', 'devices=/dev/snd', 'devices=/dev/snd,devices=/dev/sndx'],
    ['devices', '/dev/kvm', 'devices', undefined],
    ['runtime', 'runsc', 'runtime=runsc', undefined],
    ['runtime', 'runc', 'runtime=runsc', 'runtime=runsc,runtime=runc'],
  ])('%s=%s where %s is allowed', (name, value, allow, asked) => {
    const check = () => checkAllowed(label(name, value), allow === undefined ? {} : { 'swarmctl.allow': allow });
    if (asked === undefined) expect(check).not.toThrow();
    else expect(check).toThrow(`allow it with 'swarmctl swarm update --allow ${asked}'`);
  });

  test('allowances are checked', () => {
    expect(() => checkReservedLabels('cluster', { 'swarmctl.allow': 'privileged,devices=/dev/snd' })).not.toThrow();
    expect(() => checkReservedLabels('cluster', { 'swarmctl.allow': 'everything' })).toThrow(
      'is not a list of privileged',
    );
    expect(() => checkReservedLabels('cluster', { 'swarmctl.allow': '' })).not.toThrow();
  });
});
