/** docs/reference/errors.md from the error table. Owns the layout; every word comes from src/errorTable.ts. */
import { ERRORS } from '../src/errorTable.ts';

const HEAD = `<!-- Generated from src/errorTable.ts by "npm run generate". Do not edit. -->

# Errors

The reason is what conditions, Events, KataNodes and the node program show; the code is what logs carry.
A *retryable* error may pass by itself; a *terminal* one needs a change by a person, after which
\`kubectl annotate katanode NODE kata-operator.dev/retry="$(date +%s)" --overwrite\` has the node tried again.
Words in braces are replaced by the names, paths and numbers of the case.
`;

/** One section per reason, in alphabetical order. */
export function errorReference(): string {
  const entries = Object.entries(ERRORS).toSorted(([, a], [, b]) => (a.reason < b.reason ? -1 : 1));
  const sections = entries.map(([code, { reason, message, remedy, disposition }]) =>
    [
      `## ${reason}`,
      '',
      `\`${code}\`, ${disposition}`,
      '',
      `> ${escaped(message)}`,
      '',
      `What to do: ${escaped(remedy)}`,
      '',
    ].join('\n'),
  );
  return [HEAD, ...sections].join('\n');
}

/** Angle brackets outside code would be taken for HTML. */
function escaped(text: string): string {
  return text.replaceAll('<', '&lt;');
}
