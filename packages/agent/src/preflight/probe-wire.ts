/** What probes speak after the handshake: the dialling end sends a u32 length, big-endian, and so many bytes; the listening
 *  end answers the same u32 when it has them all. Several may be under way. */
export const PROBE_PURPOSE = 'probe';
export const LENGTH_BYTES = 4;
/** A longer message ends the connection. */
export const MESSAGE_BYTES_MAX = 1 << 20;
