#include "binding/read_spec.h"

#include "binding/read_weight_source.h"

namespace skein::binding {
namespace {

int64_t ReadId(const Field& field) { return field.Integer(0, INT32_MAX); }
int64_t ReadIdOrNull(const Field& field) { return field.IsNull() ? -1 : ReadId(field); }

/// 0 stands for none.
float ReadSoftCap(const Field& field) {
  if (field.IsNull()) return 0;
  const float cap = field.Float();
  if (!(cap > 0)) field.Fail("null or a number > 0");
  return cap;
}

OpKind ReadOpKind(const Field& field) {
  const std::string name = field.String();
  for (int kind = 0; kind <= static_cast<int>(OpKind::kRecvTokens); ++kind) {
    if (name == OpName(static_cast<OpKind>(kind))) return static_cast<OpKind>(kind);
  }
  field.Fail("the name of an op");
}

RouteSpec ReadRoute(const Field& field) {
  const auto is = [&](const char* name, const char* other, const char* wanted) {
    const std::string text = field[name].String();
    if (text != other && text != wanted) field[name].Fail("'" + std::string(other) + "' or '" + wanted + "'");
    return text == wanted;
  };
  return {.score = is("scoring", "softmax", "sigmoid") ? RouteScore::kSigmoid : RouteScore::kSoftmax,
          .group_score = is("groupScore", "best", "bestTwo") ? GroupScore::kBestTwo : GroupScore::kBest,
          .top_k = field["topK"].Uint32(),
          .num_groups = field["numGroups"].Uint32(),
          .top_k_groups = field["topKGroups"].Uint32(),
          .renormalize = field["renormalize"].Boolean(),
          .scale = field["scale"].Float()};
}

std::vector<uint32_t> ReadUint32s(const Field& field) {
  std::vector<uint32_t> numbers;
  for (uint32_t i = 0, n = field.length(); i < n; ++i) numbers.push_back(field.at(i).Uint32());
  return numbers;
}

Reduction ReadReduction(const Field& field) {
  const std::string name = field.String();
  if (name != "sum" && name != "pick") field.Fail("'sum' or 'pick'");
  return name == "sum" ? Reduction::kSum : Reduction::kPick;
}

Op ReadOp(const Field& field) {
  Op op;
  op.kind = ReadOpKind(field["op"]);
  const auto inputs = [&](const char* a, const char* b = nullptr, const char* c = nullptr) {
    op.inputs[0] = ReadId(field[a]);
    if (b != nullptr) op.inputs[1] = ReadId(field[b]);
    if (c != nullptr) op.inputs[2] = ReadId(field[c]);
  };
  const auto out = [&] { op.out = ReadId(field["out"]); };
  const auto peer = [&] { op.peer = field["peer"].String(); };
  const auto latent_weight = [&] {
    op.weight = ReadId(field["weight"]);
    op.num_heads = field["numHeads"].Uint32();
    op.latent.nope_dim = field["nopeDim"].Uint32();
    op.latent.value_dim = field["valueDim"].Uint32();
    op.latent.latent_dim = field["latentDim"].Uint32();
  };
  switch (op.kind) {
    case OpKind::kEmbed:
      op.weight = ReadId(field["weight"]);
      op.first_id = field["firstId"].Uint32();
      op.scale = field["scale"].Float();
      out();
      break;
    case OpKind::kRmsNorm:
      inputs("x");
      op.weight = ReadId(field["weight"]);
      op.eps = field["eps"].Float();
      op.weight_offset = field["weightOffset"].Float();
      out();
      break;
    case OpKind::kLinear:
      inputs("x");
      op.weight = ReadId(field["weight"]);
      op.bias = ReadIdOrNull(field["bias"]);
      out();
      break;
    case OpKind::kRope: {
      inputs("x");
      op.num_heads = field["numHeads"].Uint32();
      op.head_dim = field["headDim"].Uint32();
      op.rotary_start = field["rotaryStart"].Uint32();
      op.rotary_dim = field["rotaryDim"].Uint32();
      op.interleaved = field["interleaved"].Boolean();
      const Napi::Float32Array frequencies = field["inverseFrequencies"].Float32Array();
      op.inverse_frequencies.assign(frequencies.Data(), frequencies.Data() + frequencies.ElementLength());
      op.attention_factor = field["attentionFactor"].Float();
      out();
      break;
    }
    case OpKind::kAttention:
      inputs("q", "k", "v");
      op.cache_layer = field["cacheLayer"].Uint32();
      op.num_heads = field["numHeads"].Uint32();
      op.num_kv_heads = field["numKVHeads"].Uint32();
      op.head_dim = field["headDim"].Uint32();
      op.scale = field["scale"].Float();
      if (!field["window"].IsNull())
        op.window = static_cast<uint32_t>(field["window"].Integer(1, UINT32_MAX));
      op.soft_cap = ReadSoftCap(field["softCap"]);
      out();
      break;
    case OpKind::kAbsorbKey:
      inputs("q");
      latent_weight();
      op.latent.rope_dim = field["ropeDim"].Uint32();
      out();
      break;
    case OpKind::kLatentAttention:
      inputs("q", "latent", "keyRope");
      op.cache_layer = field["cacheLayer"].Uint32();
      op.num_heads = field["numHeads"].Uint32();
      op.latent.latent_dim = field["latentDim"].Uint32();
      op.latent.rope_dim = field["ropeDim"].Uint32();
      op.scale = field["scale"].Float();
      out();
      break;
    case OpKind::kExpandValue:
      inputs("x");
      latent_weight();
      out();
      break;
    case OpKind::kRoute:
      inputs("logits");
      op.bias = ReadIdOrNull(field["correctionBias"]);
      op.route = ReadRoute(field);
      out();
      break;
    case OpKind::kExperts: {
      inputs("x", "routes");
      const Field experts = field["experts"];
      op.layer = ReadIdOrNull(field["layer"]);
      for (uint32_t i = 0, n = experts.length(); i < n; ++i) {
        const Field e = experts.at(i);
        op.experts.push_back({e["id"].Uint32(), ReadId(e["gate"]), ReadId(e["up"]), ReadId(e["down"])});
      }
      if (const Field spread = field["spread"]; !spread.IsNull()) {
        op.group = spread["group"].String();
        const Field owners = spread["owners"];
        for (uint32_t i = 0, n = owners.length(); i < n; ++i) op.owners.push_back(ReadUint32s(owners.at(i)));
        op.sources = ReadUint32s(spread["sources"]);
      }
      out();
      break;
    }
    case OpKind::kSiluMul:
    case OpKind::kGeluTanhMul:
      inputs("gate", "up");
      out();
      break;
    case OpKind::kAdd:
      inputs("a", "b");
      out();
      break;
    case OpKind::kGatherRows:
      inputs("x");
      out();
      break;
    case OpKind::kLogits:
      inputs("x");
      op.weight = ReadId(field["weight"]);
      op.soft_cap = ReadSoftCap(field["softCap"]);
      out();
      break;
    case OpKind::kSample:
      inputs("logits");
      break;
    case OpKind::kAllGather:
      inputs("x");
      op.group = field["group"].String();
      op.widths = ReadUint32s(field["widths"]);
      out();
      break;
    case OpKind::kAllReduce:
      inputs("x");
      op.group = field["group"].String();
      op.reduction = ReadReduction(field["reduction"]);
      op.bias = ReadIdOrNull(field["bias"]);
      out();
      break;
    case OpKind::kSend:
      inputs("x");
      op.first_col = field["firstCol"].Uint32();
      op.width = field["width"].Uint32();
      peer();
      break;
    case OpKind::kRecv:
      peer();
      op.width = field["width"].Uint32();
      out();
      break;
    case OpKind::kSendTokens:
    case OpKind::kRecvTokens:
      peer();
      break;
  }
  return op;
}

KVCacheDtype ReadKVCacheDtype(const Field& field) {
  const std::string name = field.String();
  if (name == "f32") return KVCacheDtype::kF32;
  if (name == "f16") return KVCacheDtype::kF16;
  if (name == "bf16") return KVCacheDtype::kBF16;
  if (name == "f8e4m3") return KVCacheDtype::kF8E4M3;
  if (name == "i8") return KVCacheDtype::kI8;
  field.Fail("'f32', 'f16', 'bf16', 'f8e4m3' or 'i8'");
}

KVCacheLayerSpec ReadKVCacheLayer(const Field& layer) {
  const std::string kind = layer["kind"].String();
  if (kind == "heads")
    return {
        .num_kv_heads = layer["numKVHeads"].Uint32(), .head_dim = layer["headDim"].Uint32(), .num_parts = 2};
  if (kind != "latent") layer["kind"].Fail("'heads' or 'latent'");
  const int64_t rope = layer["ropeDim"].Integer(1, INT32_MAX);
  const int64_t width = layer["latentDim"].Integer(1, INT32_MAX) + rope;
  return {.num_kv_heads = 1,
          .head_dim = static_cast<uint32_t>(width),
          .num_parts = 1,
          .rope_dim = static_cast<uint32_t>(rope)};
}

}  // namespace

ProgramSpec ReadProgramSpec(const Field& field) {
  ProgramSpec spec;
  spec.vocab_size = field["vocabSize"].Uint32();
  const Field groups = field["groups"];
  for (uint32_t i = 0, n = groups.length(); i < n; ++i) {
    const Field group = groups.at(i);
    spec.groups.push_back({group["name"].String(), group["size"].Uint32(), group["rank"].Uint32()});
  }
  const Field weights = field["weights"];
  for (uint32_t i = 0, n = weights.length(); i < n; ++i)
    spec.weights.push_back(ReadWeightSource(weights.at(i)));
  const Field ops = field["ops"];
  for (uint32_t i = 0, n = ops.length(); i < n; ++i) spec.ops.push_back(ReadOp(ops.at(i)));
  const Field limits = field["limits"];
  spec.limits = {.max_tokens = limits["maxTokens"].Uint32(),
                 .max_seqs = limits["maxSeqs"].Uint32(),
                 .max_rows = limits["maxRows"].Uint32(),
                 .max_model_len = limits["maxModelLen"].Uint32(),
                 .max_logprobs = limits["maxLogprobs"].Uint32(),
                 .num_slots = limits["numSlots"].Uint32()};
  const Field cache = field["kvCache"];
  spec.kv_cache.num_blocks = cache["numBlocks"].Uint32();
  spec.kv_cache.block_size = cache["blockSize"].Uint32();
  spec.kv_cache.dtype = ReadKVCacheDtype(cache["dtype"]);
  const Field layers = cache["layers"];
  for (uint32_t i = 0, n = layers.length(); i < n; ++i) {
    spec.kv_cache.layers.push_back(ReadKVCacheLayer(layers.at(i)));
  }
  const Field weight_cache = field["weightCache"];
  if (!weight_cache.IsNull()) spec.weight_cache_dir = weight_cache["dir"].String();
  return spec;
}

}  // namespace skein::binding
