import type { Logger } from '../../../src/kube/log.ts';

const nothing = (): void => undefined;

/** For what is told elsewhere, too. */
export const quiet: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing };
