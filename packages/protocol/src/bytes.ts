import { z } from 'zod';

/** Raw bytes inside a message. */
export const bytesSchema = z.custom<Uint8Array>((value) => value instanceof Uint8Array, 'must be bytes');
