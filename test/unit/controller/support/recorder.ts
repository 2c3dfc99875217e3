import type { KubeClient } from '../../../../src/kube/client.ts';
import { systemClock, type Clock } from '../../../../src/kube/clock.ts';
import { EventRecorder } from '../../../../src/kube/events.ts';
import type { Logger } from '../../../../src/kube/log.ts';

/** Writes Events as the controller does. */
export function controllerRecorder(
  client: KubeClient,
  log: Logger,
  clock: Clock = systemClock,
): EventRecorder {
  return new EventRecorder({
    client,
    reportingController: 'kata-operator.dev/controller',
    reportingInstance: 'test',
    log,
    clock,
  });
}
