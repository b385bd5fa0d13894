export { engineAddress } from './address.ts';
export { EngineDoor, type EngineDoorOptions } from './engine-door.ts';
