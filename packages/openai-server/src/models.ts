/** One entry of GET /v1/models. */
export interface ModelCard {
  readonly id: string;
  readonly object: 'model';
  readonly created: number;
  readonly owned_by: string;
  readonly root: string;
  readonly parent: null;
  readonly max_model_len: number;
  readonly permission: readonly [];
}

/** A card for each name the model answers to. `created` is in unix seconds. */
export function modelCards(
  names: readonly string[],
  model: { readonly maxModelLen: number; readonly created: number },
): ModelCard[] {
  return names.map((id) => ({
    id,
    object: 'model',
    created: model.created,
    owned_by: 'skein',
    root: names[0] ?? id,
    parent: null,
    max_model_len: model.maxModelLen,
    permission: [],
  }));
}
