/**
 * The shell script that restores the engine's configuration when nobody else is left to do it.
 *
 * Pure text. What it runs is on every host with systemd (sh, coreutils, flock(1), systemctl; restorecon(8) where there
 * is one); it needs nothing of the container that wrote it, which may be gone.
 *
 * The lines `before=` and `after=` are read by later releases, from scripts of all earlier ones: they stay as they are.
 */
import { temporaryPath } from '../../host/hostFile.ts';

export interface GuardedFile {
  /** Unit of the engine. */
  readonly unit: string;
  /** The file that is changed; path on the host, links resolved. */
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** sha256 in hex; undefined: there is no file. */
  readonly beforeSha256?: string;
  readonly afterSha256?: string;
  /** Which wish is carried out, as the record names it. */
  readonly target: string;
}

export interface GuardPlaces {
  /** Directory with this script and the bytes of before. */
  readonly directory: string;
  readonly service: string;
  readonly timer: string;
  /** Paths on the host that go when it has done its work: unit files and the link that enables one. */
  readonly unitFiles: readonly string[];
  /** Directory of the link. */
  readonly wants: string;
  /** Held by a living kata-node. */
  readonly lock: string;
  /** Where a restore by the timer leaves the target's name. */
  readonly note: string;
}

export const SAVED = 'saved';
/** Exists from just before the engine is restarted with the changed file. */
export const RESTARTED = 'restarted';
/** Exists when the directory of the link was made for it. */
export const MADE_WANTS = 'made-wants';
export const SCRIPT = 'restore.sh';

/** How often the timer finds a living kata-node before it acts all the same: it may be frozen. */
const PATIENCE = 24;

export function guardScript(file: GuardedFile, places: GuardPlaces): string {
  const variables = {
    unit: file.unit,
    file: file.path,
    before: file.beforeSha256 ?? 'none',
    after: file.afterSha256 ?? 'none',
    target: file.target,
    guard: places.directory,
    timer: places.timer,
    lock: places.lock,
    note: places.note,
  };
  const lines = Object.entries(variables).map(([name, value]) => `${name}=${quoted(value)}`);
  return `#!/bin/sh
# Written by kata-operator just before it restarts ${oneLine(file.unit)}; removed when that has gone well.
# Restores the engine's configuration when nobody else is left to do it: started by ${places.timer},
# and by ${places.service} when the host starts, before the engine.
set -eu
${lines.join('\n')}

timed=no
if systemctl is-active --quiet "$timer"; then timed=yes; fi

# A living kata-node holds the lock, and takes back by itself what fails. When the host starts, there is none.
if [ "$timed" = yes ]; then
  exec 9>>"$lock"
  if ! flock --nonblock 9; then
    waits=$(cat "$guard/waits" 2>/dev/null || echo 0)
    if [ "$waits" -lt ${PATIENCE} ]; then
      echo $((waits + 1)) >"$guard/waits"
      exit 0
    fi
  fi
fi

acted=no
present=none
if [ -e "$file" ]; then present=$(sha256sum <"$file" | cut -d ' ' -f 1); fi
if [ "$present" = "$after" ]; then
  if [ "$before" = none ]; then
    rm -f "$file"
  else
    new=${quoted(temporaryPath(file.path))}
    # A directory that was made for the file goes with it.
    mkdir -p "$(dirname "$file")"
    cp "$guard/${SAVED}" "$new"
    chown ${file.uid}:${file.gid} "$new"
    chmod ${file.mode.toString(8)} "$new"
    # The changed file has what the old one had besides its bytes: access list, label, other attributes.
    if [ -e "$file" ]; then
      cp --attributes-only --preserve=all "$file" "$new" ||
        chcon --reference="$file" "$new" || :
      touch "$new"
    elif command -v restorecon >/dev/null; then
      restorecon "$new" || :
    fi
    sync "$new" 2>/dev/null || sync
    mv -f "$new" "$file"
  fi
  sync "$(dirname "$file")" 2>/dev/null || sync
  present=$before
  acted=yes
  echo "restored $file as it was before the change of kata-operator"
fi

# Others have changed the file since: it is theirs, and so is the engine.
if [ "$present" = "$before" ]; then
  state=$(systemctl is-active "$unit" || :)
  # At the start of the host it is inactive: it starts after this, with the restored file.
  if [ "$state" != inactive ] && { [ -e "$guard/${RESTARTED}" ] || [ "$state" != active ]; }; then
    systemctl reset-failed "$unit" || :
    systemctl --no-block restart "$unit"
    acted=yes
    echo "restarted $unit"
  fi
  if [ "$timed$acted" = yesyes ]; then echo "$target" >"$note"; fi
fi

rm -f ${places.unitFiles.map(quoted).join(' ')}
if [ -e "$guard/${MADE_WANTS}" ]; then rmdir ${quoted(places.wants)} 2>/dev/null || :; fi
rm -rf "$guard"
if [ "$timed" = yes ]; then systemctl --no-block stop "$timer"; fi
`;
}

/** What a script found on the host watches over; undefined when it does not say. */
export function watchedBy(
  script: string,
): Pick<GuardedFile, 'beforeSha256' | 'afterSha256'> | undefined {
  const [before, after] = ['before', 'after'].map(
    (name) => new RegExp(`^${name}='([0-9a-f]{64}|none)'$`, 'm').exec(script)?.[1],
  );
  if (before === undefined || after === undefined) return undefined;
  return {
    ...(before === 'none' ? {} : { beforeSha256: before }),
    ...(after === 'none' ? {} : { afterSha256: after }),
  };
}

/** As a word of the shell. */
function quoted(value: string): string {
  return `'${value.replaceAll("'", String.raw`'\''`)}'`;
}

function oneLine(value: string): string {
  return value.replaceAll(/[\r\n]/g, ' ');
}
