import { isTerminal, type Service, type StoreEvent } from '@swarmctl/shared/model';
import type { View } from '../../store/types.ts';
import type { Controller, Key } from '../types.ts';
import { allocateVirtuals, mayFreeAddresses, virtualsMatch } from './attachments.ts';
import { allocateEndpoint, endpointMatches } from './ports.ts';
import { Rotation } from './rooms.ts';

// What a service itself has: its Endpoint follows its EndpointSpec in the ports, and its networks in the virtual addresses.

export function endpointAllocator(rotation = new Rotation()): Controller {
  /** Services that wait for an address to come free. */
  const short = new Set<Key>();
  const unsettled = (view: View): Key[] =>
    view
      .list('services')
      .filter((service) => !isSettled(view, service))
      .map((service) => service.ID);
  return {
    name: 'endpoints',
    marks(event, view) {
      const waiting = short.size > 0 && mayFreeAddresses(event) ? [...short] : [];
      if (event.table === 'networks') {
        return event.before?.IPAM === event.after?.IPAM ? waiting : [...waiting, ...unsettled(view)];
      }
      if (event.table === 'tasks') return [...waiting, ...servicesLeavingNetworks(event, view)];
      if (event.table !== 'services') return waiting;
      const released = event.before && (!event.after || event.before.Endpoint !== event.after.Endpoint);
      // A port that came free may be what another service waits for.
      if (released) return [...waiting, event.id, ...unsettled(view)];
      return event.before?.Spec === event.after?.Spec ? waiting : [...waiting, event.id];
    },
    all: unsettled,
    decide(view, key) {
      const service = view.get('services', key);
      short.delete(key);
      if (!service || isSettled(view, service)) return { changes: [] };
      const { Endpoint: old } = service;
      const ports = endpointMatches(service) ? ({ ok: true, endpoint: old } as const) : allocateEndpoint(view, service);
      if (!ports.ok) return { changes: [] };
      const virtuals = allocateVirtuals(view, service, rotation);
      // The ports do not wait for the addresses.
      if (!virtuals.ok) short.add(key);
      if (!virtuals.ok && ports.endpoint === old) return { changes: [] };
      const virtualIps = virtuals.ok ? virtuals.virtualIps : (old.VirtualIPs ?? []);
      const { VirtualIPs: _, ...rest } = ports.endpoint;
      const Endpoint = virtualIps.length > 0 ? { ...rest, VirtualIPs: virtualIps } : rest;
      return { changes: [{ op: 'update', table: 'services', id: key, set: { Endpoint } }] };
    },
  };
}

const isSettled = (view: View, service: Service): boolean => endpointMatches(service) && virtualsMatch(view, service);

/** The last task that was on a network that its service is no longer on lets its virtual address go. */
function servicesLeavingNetworks(event: Extract<StoreEvent, { table: 'tasks' }>, view: View): readonly Key[] {
  const { before, after } = event;
  if (!before?.NetworksAttachments?.length || (after && !isTerminal(after.Status.State))) return [];
  const service = view.get('services', before.ServiceID);
  return service?.Endpoint.VirtualIPs?.length && !virtualsMatch(view, service) ? [service.ID] : [];
}
