/** The operator's images, built here and put on every node, so that no registry is needed. */
import type { Cluster } from '../cluster/cluster.ts';
import { IMAGES } from '../cluster/images.ts';
import { output, run } from '../cluster/process.ts';
import type { Log } from '../cluster/progress.ts';
import { buildImages } from '../images.ts';
import type { OperatorImages } from './operator.ts';
import { BUSYBOX } from './pods.ts';

export async function loadOperatorImages(
  cluster: Cluster,
  log: Log,
  artifacts: 'small' | 'full' = 'small',
): Promise<OperatorImages> {
  const built = await buildImages({ log, artifacts });
  const images = {
    controller: await taggedByContent(built.controller),
    node: await taggedByContent(built.node),
  };
  // The samples name the image that everybody has; here it is our own build of it.
  await run(['docker', 'tag', IMAGES.busybox, BUSYBOX]);
  for (const image of [images.controller, images.node, BUSYBOX]) await cluster.loadImage(image);
  return images;
}

/** A tag that follows the content: a new build is then a change that Helm and the controller can see. */
async function taggedByContent(reference: string): Promise<string> {
  const id = await output(['docker', 'image', 'inspect', '--format', '{{.Id}}', reference]);
  const tagged = `${reference.slice(0, reference.indexOf(':'))}:${id.trim().slice('sha256:'.length, 'sha256:'.length + 12)}`;
  await run(['docker', 'tag', reference, tagged]);
  return tagged;
}
