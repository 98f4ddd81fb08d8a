#include <algorithm>

#include "cpu/cpu_backend.h"
#include "cpu/elementwise.h"

/// Experts that ranks share, in rounds of as many tokens of each source. A round has up to three exchanges:
/// routes, between sources; rows of tokens, to the ranks that compute one of their experts; and what the
/// experts made of them, back to every rank that has the token. There it is added in the order in which one
/// rank would. Which copy of an expert computes a pair follows from the routes, which all ranks have by then.
namespace skein::cpu {
namespace {

size_t NumSources(const ExpertMixture& mixture) {
  return mixture.sources.empty() ? 1 : mixture.source_tokens.size();
}

}  // namespace

Status CpuBackend::SpreadExperts(const ExpertMixture& mixture, const Matrix& x, const Matrix& routes,
                                 const Matrix& out) {
  const size_t sources = NumSources(mixture), own = mixture.ranks->rank() * sources / mixture.ranks->size();
  const auto tokens = [&](size_t source) {
    return sources == 1 ? x.rows : static_cast<size_t>(mixture.source_tokens[source]);
  };
  size_t most = 0;
  for (size_t s = 0; s < sources; ++s) most = std::max(most, tokens(s));
  // All of a token's experts are in one round.
  const size_t step = expert_dispatch_.round_rows() / (sources * (routes.width / 2));
  for (size_t first = 0; first < most; first += step) {
    spread_first_[0] = 0;
    for (size_t s = 0; s < sources; ++s)
      spread_first_[s + 1] = spread_first_[s] + std::min(step, tokens(s) - std::min(tokens(s), first));
    const size_t begin = std::min(x.rows, first), count = spread_first_[own + 1] - spread_first_[own];
    if (Status s =
            SpreadRound(mixture, x.Rows(begin, count), routes.Rows(begin, count), out.Rows(begin, count));
        !s.ok()) {
      return s;
    }
  }
  return Status::Ok();
}

Status CpuBackend::ExchangeRows(const ExpertMixture& mixture) {
  const size_t size = mixture.ranks->size();
  return mixture.ranks->AllToAll("experts", {expert_sends_.data(), size}, {expert_receives_.data(), size});
}

Status CpuBackend::SpreadRound(const ExpertMixture& mixture, const Matrix& x, const Matrix& routes,
                               const Matrix& out) {
  ExpertDispatch& dispatch = expert_dispatch_;
  const size_t sources = NumSources(mixture), size = mixture.ranks->size(), rank = mixture.ranks->rank();
  const size_t per_source = size / sources, own = rank / per_source;
  const size_t own_first = spread_first_[own];
  // Ranks that stand in the same place of their sources talk with each other.
  const auto is_partner = [&](size_t r) {
    return r / per_source != own && r % per_source == rank % per_source;
  };
  const auto first_of = [&](size_t r) { return spread_first_[r / per_source]; };
  const auto end_of = [&](size_t r) { return spread_first_[r / per_source + 1]; };

  const Matrix all_routes{spread_routes_, spread_first_[sources], routes.width, routes.width};
  for (size_t t = 0; t < routes.rows; ++t) {
    std::copy_n(routes.data + t * routes.stride, routes.width,
                all_routes.data + (own_first + t) * all_routes.stride);
    expert_x_rows_[own_first + t] = x.data + t * x.stride;
  }
  if (sources > 1) {
    for (size_t r = 0; r < size; ++r) {
      expert_sends_[r] = is_partner(r) ? routes : Matrix{};
      expert_receives_[r] = is_partner(r) ? all_routes.Rows(first_of(r), end_of(r) - first_of(r)) : Matrix{};
    }
    if (Status s = ExchangeRows(mixture); !s.ok()) return s;
  }
  dispatch.AssignShared(mixture.owners, rank, all_routes);

  const Matrix rows = RoundRows(x.width);
  const Matrix sent{spread_sent_, rows.rows, x.width, rows.stride},
      received{spread_received_, rows.rows, x.width, rows.stride};
  size_t num_sent = 0, num_received = 0;
  const auto send = [&](const float* row) {
    std::copy_n(row, x.width, sent.data + num_sent++ * sent.stride);
  };
  const auto receive = [&] { return received.data + num_received++ * received.stride; };
  if (sources > 1) {
    for (size_t r = 0; r < size; ++r) {
      const size_t first_sent = num_sent, first_received = num_received;
      if (is_partner(r)) {
        for (size_t t = 0; t < x.rows; ++t)
          if (dispatch.IsComputedBy(r, own_first + t)) send(x.data + t * x.stride);
        for (size_t t = first_of(r); t < end_of(r); ++t)
          if (dispatch.IsComputedBy(rank, t)) expert_x_rows_[t] = receive();
      }
      expert_sends_[r] = sent.Rows(first_sent, num_sent - first_sent);
      expert_receives_[r] = received.Rows(first_received, num_received - first_received);
    }
    if (Status s = ExchangeRows(mixture); !s.ok()) return s;
  }

  ExpertRound(mixture, rows);

  num_sent = num_received = 0;
  const auto is_of = [&](size_t pair, size_t source) {
    const size_t token = dispatch.token(pair);
    return token >= spread_first_[source] && token < spread_first_[source + 1];
  };
  for (size_t source = 0; source < sources; ++source) {
    const size_t first_sent = num_sent;
    if (source != own || per_source > 1) {
      for (size_t pair = dispatch.rank_first(rank); pair < dispatch.rank_first(rank + 1); ++pair)
        if (is_of(pair, source)) send(rows.data + pair * rows.stride);
    }
    for (size_t r = source * per_source; r < (source + 1) * per_source; ++r)
      expert_sends_[r] = sent.Rows(first_sent, num_sent - first_sent);
  }
  for (size_t r = 0; r < size; ++r) {
    const size_t first_received = num_received;
    for (size_t pair = dispatch.rank_first(r); pair < dispatch.rank_first(r + 1); ++pair)
      if (is_of(pair, own)) spread_out_[pair] = r == rank ? rows.data + pair * rows.stride : receive();
    expert_receives_[r] = received.Rows(first_received, num_received - first_received);
  }
  if (Status s = ExchangeRows(mixture); !s.ok()) return s;

  ForRows(out.rows, out.width, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) {
      dispatch.ForToken(own_first + t, [&](size_t pair, float weight) {
        AddScaledRow(spread_out_[pair], weight, out.width, out.data + t * out.stride);
      });
    }
  });
  return Status::Ok();
}

}  // namespace skein::cpu
