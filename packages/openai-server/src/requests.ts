type Maybe<T> = T | null | undefined;

/** What both generating endpoints take, as it stands in the body; null is as good as absent. */
export interface CommonRequest {
  readonly model?: Maybe<string>;
  readonly stream?: Maybe<boolean>;
  readonly stream_options?: Maybe<{
    readonly include_usage?: Maybe<boolean>;
    readonly continuous_usage_stats?: Maybe<boolean>;
  }>;
  readonly n?: Maybe<number>;
  readonly temperature?: Maybe<number>;
  readonly top_p?: Maybe<number>;
  /** 0 or -1: off. */
  readonly top_k?: Maybe<number>;
  readonly min_p?: Maybe<number>;
  readonly seed?: Maybe<number>;
  readonly stop?: Maybe<string | readonly string[]>;
  readonly stop_token_ids?: Maybe<readonly number[]>;
  readonly ignore_eos?: Maybe<boolean>;
  readonly include_stop_str_in_output?: Maybe<boolean>;
  readonly skip_special_tokens?: Maybe<boolean>;
  readonly prompt_logprobs?: Maybe<number>;
}

export interface ChatRequest extends CommonRequest {
  readonly messages: readonly RequestMessage[];
  readonly max_tokens?: Maybe<number>;
  readonly max_completion_tokens?: Maybe<number>;
  readonly logprobs?: Maybe<boolean>;
  readonly top_logprobs?: Maybe<number>;
  readonly add_generation_prompt?: Maybe<boolean>;
  readonly continue_final_message?: Maybe<boolean>;
  readonly chat_template_kwargs?: Maybe<Readonly<Record<string, unknown>>>;
}

export interface RequestMessage {
  readonly role: string;
  readonly content?: Maybe<string | readonly { readonly type: 'text'; readonly text: string }[]>;
  readonly name?: Maybe<string>;
}

export interface CompletionRequest extends CommonRequest {
  readonly prompt: string | readonly string[] | readonly number[] | readonly (readonly number[])[];
  /** 0 only with echo. */
  readonly max_tokens?: Maybe<number>;
  readonly logprobs?: Maybe<number>;
  readonly echo?: Maybe<boolean>;
  readonly add_special_tokens?: Maybe<boolean>;
}
