// BERT (Devlin et al. 2019, arXiv:1810.04805) and RoBERTa (Liu et al. 2019, arXiv:1907.11692): one
// post-norm encoder; RoBERTa counts positions from the padding id on, and its classifier reads the
// first token by two layers of its own.
#include "model/families/all.h"
#include "model/families/config_reader.h"
#include "model/families/names.h"

namespace graft {

namespace {

CheckpointNames bert_names() {
  CheckpointNames names =
      without_biases({{trunk(Part::kEmbedWord), "embeddings.word_embeddings"},
                      {trunk(Part::kEmbedPosition), "embeddings.position_embeddings"},
                      {trunk(Part::kEmbedType), "embeddings.token_type_embeddings"}});
  append(names, with_biases({{trunk(Part::kEmbedNorm), "embeddings.LayerNorm"},
                             {enc(Part::kAttnQ), "encoder.layer.#.attention.self.query"},
                             {enc(Part::kAttnK), "encoder.layer.#.attention.self.key"},
                             {enc(Part::kAttnV), "encoder.layer.#.attention.self.value"},
                             {enc(Part::kAttnO), "encoder.layer.#.attention.output.dense"},
                             {enc(Part::kAttnNorm), "encoder.layer.#.attention.output.LayerNorm"},
                             {enc(Part::kFfnUp), "encoder.layer.#.intermediate.dense"},
                             {enc(Part::kFfnDown), "encoder.layer.#.output.dense"},
                             {enc(Part::kFfnNorm), "encoder.layer.#.output.LayerNorm"},
                             {kPoolerPlace, "pooler.dense"}}));
  return names;
}

CheckpointNames mask_names(const std::string& dense, const std::string& norm,
                           const std::string& head) {
  CheckpointNames names =
      with_biases({{trunk(Part::kMaskDense), dense}, {trunk(Part::kMaskNorm), norm}});
  append(names,
         {{bias_of(trunk(Part::kMask)), head + ".bias"}, {kOutputTable, head + ".decoder.weight"}});
  return names;
}

void read_bert(Options& options, ModelConfig& c) {
  const bool is_roberta = c.model_type == "roberta";
  const StackKeys keys{"num_hidden_layers", "num_attention_heads", "intermediate_size"};
  c.width = options.integer("hidden_size", std::nullopt, 1, kMaxWidth);
  c.encoder = read_stack(options, keys);
  split_width(options, c, keys, *c.encoder);
  c.vocabulary = options.integer("vocab_size", std::nullopt, 1, kMaxVocabulary);
  c.max_positions = options.integer("max_position_embeddings", std::nullopt, 1, kMaxPositions);
  c.head_style = is_roberta ? HeadStyle::kDense : HeadStyle::kPooler;
  c.type_vocabulary = options.integer("type_vocab_size", std::nullopt, 1, 1 << 16);
  read_pad_id(options, c, is_roberta ? 1 : 0);
  c.encoder->norm = {Norm::kLayer, options.number("layer_norm_eps", 1e-12, 0, 1)};
  c.encoder->embed_norm = c.encoder->norm;
  c.embed_dropout = c.hidden_dropout = dropout_rate(options, "hidden_dropout_prob", 0.1);
  c.attention_dropout = dropout_rate(options, "attention_probs_dropout_prob", 0.1);
  c.encoder->activation =
      parse_activation(options.choice("hidden_act", "gelu", plain_activations()));
  c.mask_head = {.activation = is_roberta ? Activation::kGelu : c.encoder->activation,
                 .norm = c.encoder->norm};
  c.classifier_dropout = dropout_rate(options, "classifier_dropout", c.hidden_dropout);
  read_output(options, c, true);
  if (!is_roberta) return;
  // Position ids start after the padding id's row.
  if (options.has("pad_token_id") &&
      (!options.is_given("pad_token_id") || options.raw("pad_token_id")->as_integer() == -1))
    options.fault(
        "pad_token_id",
        "expected a token id: positions of a roberta model are counted from the row after it");
  c.position_offset = c.pad_id + 1;
  c.max_positions -= c.position_offset;
  if (c.max_positions < 1)
    options.fault("max_position_embeddings", "expected more rows than pad_token_id + 1");
}

const std::vector<KeyRule>& encoder_keys() {
  static const std::vector<KeyRule> kOwnKeys = {{{"position_embedding_type"}, {"absolute"}},
                                                {{"embedding_size"}}};
  return kOwnKeys;
}

PeftDefaults peft_defaults() {
  return {{"query", "value"}, {"key", "value", "output.dense"}, {"output.dense"}};
}

}  // namespace

std::vector<Family> bert_families() {
  return {{.model_type = "bert",
           .read_config = read_bert,
           .keys = encoder_keys(),
           .prefixes = {"bert.", ""},
           .names = bert_names(),
           .copies = {{bias_of(trunk(Part::kMask)), "cls.predictions.decoder.bias"}},
           .unused = {"cls.", "classifier.", "heads.", "embeddings.position_ids"},
           .classifier_class = "BertForSequenceClassification",
           .head_names = {{"out", "classifier"}},
           .mask_names = mask_names("cls.predictions.transform.dense",
                                    "cls.predictions.transform.LayerNorm", "cls.predictions"),
           .peft = peft_defaults(),
           .is_in_adapterhub = true},
          {.model_type = "roberta",
           .read_config = read_bert,
           .keys = encoder_keys(),
           .prefixes = {"roberta.", ""},
           .names = bert_names(),
           .copies = {{bias_of(trunk(Part::kMask)), "lm_head.decoder.bias"}},
           .unused = {"lm_head.", "classifier.", "heads.", "pooler.", "embeddings.position_ids"},
           .classifier_class = "RobertaForSequenceClassification",
           .head_names = {{"dense", "classifier.dense"}, {"out", "classifier.out_proj"}},
           .mask_names = mask_names("lm_head.dense", "lm_head.layer_norm", "lm_head"),
           .peft = peft_defaults(),
           .is_in_adapterhub = true,
           .bare_layer = "pooler.dense"}};
}

}  // namespace graft
