/**
 * What a stage works with. Everything outside this program comes in here: the host, the engine driver, the
 * helper, the clock's signal; so a stage runs on a directory as well as on a machine.
 */
import type { NodePlan } from '../../crds/nodePlan.ts';
import type {
  checkEngineConfig,
  discoverEngine,
  installSteps,
  removeSteps,
  servedHandlers,
} from '../engine/index.ts';
import type { AccessPaths } from '../artifacts/access.ts';
import type { HeldLock, KvmFact, LockFile } from '../host/helper.ts';
import type { Host } from '../host/host.ts';
import type { StepObserver } from '../transaction/runner.ts';

/** The engine driver, as src/node/engine exports it. */
export interface EnginePort {
  readonly discoverEngine: typeof discoverEngine;
  readonly checkEngineConfig: typeof checkEngineConfig;
  readonly installSteps: typeof installSteps;
  readonly removeSteps: typeof removeSteps;
  readonly servedHandlers: typeof servedHandlers;
}

export interface StageContext {
  readonly host: Host;
  readonly plan: NodePlan;
  /** UID of the Pod; by hand anything that is new each time. */
  readonly attempt: string;
  /** Go's name of this machine's architecture. */
  readonly arch: string;
  readonly kernel: string;
  readonly signal: AbortSignal;
  /** Where this process finds the archives of the node image. */
  readonly bundleDirectory: string;
  /** Where this process finds the image of an image volume. */
  readonly imageDirectory?: string;
  readonly access?: AccessPaths;
  readonly engine: EnginePort;
  readonly probeKvm: (device: string, signal: AbortSignal) => Promise<KvmFact>;
  readonly lockFiles: (
    files: readonly LockFile[],
    waitMs: number,
    signal: AbortSignal,
  ) => Promise<HeldLock>;
  readonly observe: StepObserver;
  /** Remove also what sandboxes still run from. */
  readonly force?: boolean;
  /** How long a removal waits for sandboxes that are about to end. */
  readonly sandboxPatienceMs?: number;
}
