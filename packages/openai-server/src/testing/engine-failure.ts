import { SkeinError } from '@skein/protocol';

/** What an engine throws: only its code matters here. */
export class EngineFailure extends SkeinError {}
