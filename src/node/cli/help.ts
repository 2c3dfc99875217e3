/**
 * What `--help` prints: an overview, and one page per command with an example that works as it stands.
 */
import { COMMANDS, type Command } from './options.ts';

interface Page {
  readonly summary: string;
  readonly details: string;
  readonly example: string;
}

const PAGES: Readonly<Record<Command, Page>> = {
  preflight: {
    summary: 'check that this host can run what the plan asks for; writes nothing',
    details: 'Every check runs, also when one has failed. Needs --plan.',
    example: 'kata-node preflight --plan plan.json',
  },
  plan: {
    summary: 'show what apply would change; writes nothing',
    details: 'Says more once the artifacts are staged. Needs --plan.',
    example: 'kata-node plan --plan plan.json',
  },
  stage: {
    summary: 'bring the artifacts to the host; the engine is not touched',
    details: 'Writes below /opt/kata only. Needs --plan.',
    example: 'kata-node stage --plan plan.json --artifacts /root/kata-archives',
  },
  activate: {
    summary: 'make the container engine serve the handlers',
    details: 'Needs --plan, and its artifacts staged. Takes everything back when a step fails.',
    example: 'kata-node activate --plan plan.json',
  },
  apply: {
    summary: 'preflight, stage and activate',
    details: 'Can be run again at any time; on a host that is as it should be it changes nothing.',
    example: 'kata-node apply --plan plan.json --artifacts /root/kata-archives',
  },
  verify: {
    summary: 'check that the host is as the plan asks; writes nothing',
    details:
      'Without --plan: as the plan that was applied last. --files reads every file of the versions on the host, too, and\ncompares it with what was unpacked: a gigabyte for each. Ends with 4 when something differs.',
    example: 'kata-node verify --files',
  },
  rollback: {
    summary: 'return to the revision that was active before',
    details:
      'Configuration and engine go back to the previous revision, whose artifacts are still here. After an\ninterrupted run it takes back what that run had begun. Needs no plan.',
    example: 'kata-node rollback',
  },
  remove: {
    summary: 'give the host back as it was before the first run',
    details:
      'Refuses while a sandbox runs from our files, and when the state cannot be read; --force removes all the same, and\nsays what is not known any more. Needs --plan: the one that was applied, or any other of the same deployment.',
    example: 'kata-node remove --plan plan.json',
  },
  status: {
    summary: 'show where this host stands and what to do next; writes nothing',
    details:
      'Needs no plan. Names the versions on disk, and what each is kept for. With --output json the form is docs/reference/kata-node.schema.json.',
    example: 'kata-node status --output json',
  },
  bundle: {
    summary: 'make a bundle of archives for machines that reach nothing outside',
    details:
      'Each archive is a file, or a URL with its digest; it is named COMPONENT-VERSION-ARCHITECTURE.tar.zst. The bundle\nserves as artifacts.hostPath, as an image of artifacts.image (docker build DIR), or as part of a node image. Needs\n--into and no plan. Run again, it goes on with a download that broke off.',
    example:
      'kata-node bundle --into kata-bundle kata-static-4.1.0-amd64.tar.zst kata-go-static-4.1.0-amd64.tar.zst',
  },
};

const OPTIONS = `options
  --plan FILE        what is wanted, as JSON (not needed for status, verify, rollback and bundle)
  --root DIR         root directory of the host (default /)
  --artifacts DIR    archives that come with this program, and index.json (default /artifacts)
  --image DIR        where the image of the plan is mounted (default /image)
  --credentials DIR  for downloads: files username and password, or token, and host if it is not that of the URL
  --ca FILE          certificates to be trusted for downloads, in addition, as PEM
  --into DIR         the bundle that is made
  --output FORMAT    text or json (default text); json prints the result as its only line
  --attempt ID       name of this attempt; a repeated one that ended badly is not tried again
  --force            remove although sandboxes still run from the files, or the state cannot be read
  --files            verify every file of the versions as well
  --result FILE      write the result there and always exit 0 (for Pods)
  --handoff DIR      results of earlier stages (for Pods)
  --help             this text; after a command, more about it`;

const EXIT_CODES =
  'exit codes: 0 done or nothing to do, 2 refused before the first write, 3 failed and rolled back, 4 needs a person';

/** The overview, or the page of one command. */
export function helpText(command: Command | undefined): string {
  if (command === undefined) {
    const lines = COMMANDS.map((name) => `  ${name.padEnd(11)} ${PAGES[name].summary}`);
    return `usage: kata-node COMMAND [--plan FILE] [options]

commands
${lines.join('\n')}

${OPTIONS}

example
  ${PAGES.apply.example}

${EXIT_CODES}
`;
  }
  const { summary, details, example } = PAGES[command];
  return `kata-node ${command}: ${summary}

${details}

example
  ${example}

${OPTIONS}

${EXIT_CODES}
`;
}
