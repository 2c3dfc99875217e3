/** An API server that knows our kinds, and their objects as JSON. */
import { join } from 'node:path';
import { startApiServer, type ApiServer } from './apiServer.ts';
import { succeed } from './run.ts';

export const MANIFESTS = join(import.meta.dirname, '../../../manifests');

/** Starts the server and applies the definitions from the client's side, as a person would. */
export async function startWithKinds(): Promise<ApiServer> {
  const api = await startApiServer();
  try {
    await succeed(api.kubectl(['apply', '-f', join(MANIFESTS, 'crds')]));
    const established = ['wait', '--for=condition=Established', '--timeout=20s', 'crd', '--all'];
    await succeed(api.kubectl(established));
    return api;
  } catch (error) {
    await api.stop();
    throw error;
  }
}

/** Without a spec when that is undefined. */
export function manifest(name: string, spec: unknown, kind = 'KataDeployment'): string {
  return JSON.stringify({
    apiVersion: 'kata-operator.dev/v1alpha1',
    kind,
    metadata: { name },
    spec,
  });
}
