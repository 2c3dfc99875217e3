/**
 * The two units of the guard: a oneshot that runs before the engine when the host starts, and a timer that starts
 * it some time after the guard was armed.
 *
 * Pure text.
 */
import { dirname } from 'node:path';
import { SCRIPT, type GuardedFile, type GuardPlaces } from './script.ts';

/** A transaction that lives has confirmed or taken back its restart by then, in nearly every case. */
const FIRST_AFTER_SECONDS = 45;
const AGAIN_AFTER_SECONDS = 15;

export function serviceUnit({ unit, path }: GuardedFile, { directory }: GuardPlaces): string {
  return `[Unit]
Description=Restore the container engine's configuration after an interrupted change by kata-operator
Before=${unit}
RequiresMountsFor=${unitPath(directory)} ${unitPath(dirname(path))}
ConditionPathExists=${directory.replaceAll('%', '%%')}/${SCRIPT}

[Service]
Type=oneshot
ExecStart=/bin/sh ${unitPath(`${directory}/${SCRIPT}`)}
TimeoutStartSec=60

[Install]
WantedBy=multi-user.target
`;
}

export function timerUnit({ service }: GuardPlaces): string {
  return `[Unit]
Description=Watch over a change of the container engine's configuration by kata-operator

[Timer]
Unit=${service}
OnActiveSec=${FIRST_AFTER_SECONDS}
OnUnitInactiveSec=${AGAIN_AFTER_SECONDS}
AccuracySec=1
`;
}

/** One path in a list of them: quoted, with systemd's specifiers escaped. */
function unitPath(path: string): string {
  return `"${path.replaceAll('%', '%%').replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}
