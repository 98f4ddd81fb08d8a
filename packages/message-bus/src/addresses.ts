/** Where each kind of traffic goes on the carrier. Plain messages, requests and streams of one subject are apart, so that
 *  "nobody serves it" is known to the carrier and a subscriber never sees another kind's frames. */
export const addresses = {
  message: (subject: string): string => `skein-msg.${subject}`,
  request: (subject: string): string => `skein-call.${subject}`,
  stream: (subject: string): string => `skein-stream.${subject}`,
  lease: (key: string): string => `skein-lease.${key}`,
  /** Every holder of leases listens here for `who`. */
  leaseHolders: 'skein-who',
  inbox: (incarnation: string): string => `skein-inbox.${incarnation}.>`,
  call: (incarnation: string, call: number): string => `skein-inbox.${incarnation}.${call}`,
  leaseAnswers: (incarnation: string): string => `skein-inbox.${incarnation}.lease`,
} as const;
