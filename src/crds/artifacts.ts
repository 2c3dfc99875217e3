/**
 * spec.artifacts: where Kata's files come from. Owns the choice among the four ways and what belongs to
 * fetching; says nothing of what the files are for.
 */
import { z } from 'zod';
import { absolutePath, cel, form, reference, url } from './primitives.ts';

/** Go's names of the architectures that Kata is released for. */
export const ARCHITECTURES = ['amd64', 'arm64', 's390x', 'ppc64le'] as const;
export const architecture = z.enum(ARCHITECTURES);

const artifactSource = z.object({
  url: url.describe('Archive (.tar.zst, .tar.xz or .tar.gz) with the layout of kata-static.'),
  mirrors: z.array(url).max(8).optional().describe('Tried in order when url fails.'),
  sha256: form(
    /^[0-9a-f]{64}$/,
    64,
    'must be a sha256 digest: 64 hexadecimal digits in lower case, without "sha256:"',
  ).describe('Digest of the archive, in lower-case hexadecimal.'),
  arch: architecture
    .optional()
    .describe('Only for nodes of this architecture; without it, for all.'),
  component: z
    .string()
    .min(1)
    .max(63)
    .optional()
    .describe(
      'What the archive carries (kata-static, kata-go-static, firecracker), for people and messages.',
    ),
});

const credentialsNeed = 'credentialsSecret needs sources or image';
const caNeeds = 'caConfigMap needs sources';
const onlyOne = 'set at most one of bundled, sources, image and hostPath';
const KINDS = ['bundled', 'sources', 'image', 'hostPath'] as const;

export const artifacts = z
  .object({
    bundled: z
      .object({})
      .optional()
      .describe('The archives inside the node image; so without any of the four.'),
    sources: z
      .array(artifactSource)
      .min(1)
      .max(32)
      .optional()
      .describe('Archives by URL and digest; several overlay each other in this order.'),
    image: z
      .object({
        reference: form(
          /^[0-9A-Za-z.:/_-]+@sha256:[0-9a-f]{64}$/,
          1024,
          'must be an image by digest: NAME@sha256:DIGEST',
        ).describe('OCI image by digest.'),
      })
      .optional()
      .describe(
        'An OCI image that kubelet mounts as an image volume (Kubernetes 1.35, containerd 2.1 or CRI-O 1.31).',
      ),
    hostPath: z
      .object({ path: absolutePath.describe('A tree with bin/, a bundle, or archives.') })
      .optional()
      .describe('A directory that is already on every node.'),
    credentialsSecret: reference
      .optional()
      .describe(
        'Secret in the node namespace, mounted by kubelet; the controller never reads it. For sources: username and password, or token; sent over https alone, to the hosts in its key host, without it to the one host of sources[].url. For image: a pull secret.',
      ),
    proxy: z
      .object({
        https: url.optional().describe('Proxy for downloads.'),
        noProxy: z
          .string()
          .min(1)
          .max(2048)
          .optional()
          .describe('Hosts reached without it, separated by commas.'),
      })
      .optional()
      .describe('Proxy of the download on the nodes.'),
    caConfigMap: reference
      .optional()
      .describe('ConfigMap in the node namespace; its ca.crt is trusted in addition.'),
  })
  .refine((given) => KINDS.filter((kind) => given[kind] !== undefined).length <= 1, onlyOne)
  .refine(
    ({ credentialsSecret, sources, image }) =>
      credentialsSecret === undefined || sources !== undefined || image !== undefined,
    credentialsNeed,
  )
  .refine(({ caConfigMap, sources }) => caConfigMap === undefined || sources !== undefined, caNeeds)
  .meta(
    cel(
      [
        `[${KINDS.map((kind) => `has(self.${kind})`).join(', ')}].filter(given, given).size() <= 1`,
        onlyOne,
      ],
      [
        '!has(self.credentialsSecret) || has(self.sources) || has(self.image)',
        credentialsNeed,
        'credentialsSecret',
      ],
      ['!has(self.caConfigMap) || has(self.sources)', caNeeds, 'caConfigMap'],
    ),
  );
