/**
 * What must be settled before anything else is loaded: how V8 and zod spend time and memory in a program that ends
 * within seconds.
 *
 * Has its effect by being imported, before all others.
 */
import { setFlagsFromString } from 'node:v8';
import { z } from 'zod';

// Loading and unpacking make much that is gone at once: V8 would take 12 MiB more of the node's memory for its young
// generation, to save a twentieth of the time.
setFlagsFromString('--semi-space-growth-factor=1');

// zod would compile a function for every schema, and here most of them are used once.
z.config({ jitless: true });
