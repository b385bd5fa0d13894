import type { View } from '../../store/types.ts';
import type { Controller, Key } from '../types.ts';
import { allocateEndpoint, endpointMatches } from './ports.ts';

// The port allocator, first half: each service's Endpoint follows its EndpointSpec.

export function endpointAllocator(): Controller {
  const unsettled = (view: View): Key[] =>
    view
      .list('services')
      .filter((service) => !endpointMatches(service))
      .map((service) => service.ID);
  return {
    name: 'endpoints',
    marks(event, view) {
      if (event.table !== 'services') return [];
      const released = event.before && (!event.after || event.before.Endpoint !== event.after.Endpoint);
      // A port that came free may be what another service waits for.
      if (released) return [event.id, ...unsettled(view)];
      return event.before?.Spec === event.after?.Spec ? [] : [event.id];
    },
    all: unsettled,
    decide(view, key) {
      const service = view.get('services', key);
      if (!service || endpointMatches(service)) return { changes: [] };
      const allocation = allocateEndpoint(view, service);
      if (!allocation.ok) return { changes: [] };
      return { changes: [{ op: 'update', table: 'services', id: key, set: { Endpoint: allocation.endpoint } }] };
    },
  };
}
