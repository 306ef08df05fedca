// Fuzz target: any text as a model folder's config.json. Only InputError may escape; what is
// accepted obeys the bounds that every trunk relies on.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "model/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using graft::ensure;
  graft::ModelConfig c;
  try {
    c = graft::parse_config(graft::parse_json({reinterpret_cast<const char*>(data), size}, "fuzz"),
                            "fuzz");
  } catch (const graft::InputError&) {
    return 0;
  }
  ensure(c.has_encoder() || c.has_decoder(), "there is a stack");
  ensure(c.width > 0 && c.vocabulary > 0, "sizes are positive");
  for (const auto& stack : {c.encoder, c.decoder}) {
    if (!stack) continue;
    ensure(stack->layers > 0 && stack->heads > 0 && stack->ffn_width > 0,
           "sizes of a stack are positive");
    ensure(stack->attention_width % stack->heads == 0 && stack->heads % stack->key_heads == 0 &&
               stack->head_width() > 0,
           "heads divide attention, key heads divide heads");
    ensure(stack->norm.epsilon >= 0 && stack->norm.epsilon <= 1, "the norm's epsilon is small");
    ensure(!stack->local || static_cast<int64_t>(stack->local->blocks.size()) == stack->layers,
           "it is known of every block whether it is local");
  }
  ensure(c.max_positions > 0 && c.position_offset >= 0 && c.type_vocabulary >= 0,
         "positions and types are there");
  ensure(c.pad_id >= 0 && c.pad_id < c.vocabulary, "the padding id is in the vocabulary");
  for (const double rate : {c.embed_dropout, c.hidden_dropout, c.attention_dropout,
                            c.activation_dropout, c.classifier_dropout})
    ensure(rate >= 0 && rate < 1, "a dropout rate leaves something");
  return 0;
}
