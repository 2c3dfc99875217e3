/** The engine edit: what the node program calls. Everything else in this folder is its inside. */
export type { Engine, HandlerRegistration } from './engine.ts';
export { describeEngine } from './engine.ts';
export { discoverEngine } from './discovery.ts';
export { checkEngineConfig } from './check.ts';
export { requireGuardPlace } from './guard/place.ts';
export {
  type InstallOptions,
  installSteps,
  type RemoveOptions,
  removeSteps,
  servedHandlers,
} from './steps.ts';
export type { EngineRestarter } from './serving.ts';
export { engineRecord, type EngineRecord, type EngineRecordStore } from './record.ts';
