export { Agent } from './agent.ts';
export { ImageRequests } from './image-requests.ts';
export type { Link, LinkStream } from './link.ts';
export { connectProbe, type Probe } from './probe.ts';
export type { AgentHooks, AgentModules, AgentOptions } from './types.ts';
