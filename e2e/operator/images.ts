/** The operator's images, built here and put on every node, so that no registry is needed. */
import type { Cluster } from '../cluster/cluster.ts';
import { run } from '../cluster/process.ts';
import { IMAGES } from '../cluster/images.ts';
import type { Log } from '../cluster/progress.ts';
import { buildImages } from '../images.ts';
import type { OperatorImages } from './operator.ts';
import { BUSYBOX } from './pods.ts';

export async function loadOperatorImages(
  cluster: Cluster,
  log: Log,
  artifacts: 'small' | 'full' = 'small',
): Promise<OperatorImages> {
  const images = await buildImages({ log, artifacts });
  // The samples name the image that everybody has; here it is our own build of it.
  await run(['docker', 'tag', IMAGES.busybox, BUSYBOX]);
  for (const image of [images.controller, images.node, BUSYBOX]) await cluster.loadImage(image);
  return { controller: images.controller, node: images.node };
}
