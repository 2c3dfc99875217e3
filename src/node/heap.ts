/**
 * Keeps V8's young generation as small as it begins. Loading and unpacking make much that is gone at once, and V8 would
 * take 12 MiB more of the node's memory to save a twentieth of the time.
 *
 * Has its effect by being imported, before anything else.
 */
import { setFlagsFromString } from 'node:v8';

setFlagsFromString('--semi-space-growth-factor=1');
