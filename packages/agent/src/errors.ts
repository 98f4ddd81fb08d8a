import { SkeinError } from '@skein/protocol';

/** The environment or an option is wrong: do not retry; a supervisor should see exit code 78 (EX_CONFIG). */
export class ConfigError extends SkeinError {}

/** The leader's name has not come to resolve; a supervisor may start the process again. */
export class LeaderNotFoundError extends SkeinError {}

/** A listener to KV events has lost some. */
export class KVEventsError extends SkeinError {}

/** The group cannot be formed with these members; the message shows both values. */
export class FormationError extends SkeinError {}
