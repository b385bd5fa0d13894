// What the parts of a node's end of the tunnels are called.

/** The kernel's limit is 15 characters. Unique on a machine, also where several hosts share it: the control socket goes by this name. */
export const deviceName = (nodeId: string): string => `swg${nodeId.replace(/[^0-9A-Za-z]/g, '').slice(0, 12)}`;

/** In the device's alias: whose it is. */
export const ownerOf = (nodeId: string): string => `swarmd:${nodeId}`;

export const guardTable = (nodeId: string): string => `swarmwg_${nodeId.replace(/[^0-9A-Za-z]/g, '_').slice(0, 12)}`;
