/**
 * Kubeconfig files with everything embedded, so that one file is enough wherever it is copied.
 *
 * Owns their form. It must never hold a certificate other than that of the one user it is for.
 */
import { dump } from 'js-yaml';
import type { Pki } from './pki.ts';

/** The text of a kubeconfig for the user whose certificate is `<file>.crt`. */
export async function kubeconfigText(
  pki: Pki,
  cluster: string,
  server: string,
  file: string,
): Promise<string> {
  const base64 = async (name: string): Promise<string> =>
    Buffer.from(await pki.read(name)).toString('base64');
  const context = `kata-operator-${cluster}`;
  return dump({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': context,
    clusters: [
      { name: context, cluster: { server, 'certificate-authority-data': await base64('ca.crt') } },
    ],
    contexts: [{ name: context, context: { cluster: context, user: file } }],
    users: [
      {
        name: file,
        user: {
          'client-certificate-data': await base64(`${file}.crt`),
          'client-key-data': await base64(`${file}.key`),
        },
      },
    ],
  });
}
