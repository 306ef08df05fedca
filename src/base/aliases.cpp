#include "base/aliases.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"

namespace graft {

namespace {

struct Alias {
  const char *foreign, *own;
};

// A name may stand here several times: the first that is known where it is asked for counts.
constexpr Alias kAliases[] = {
    // Arguments of transformers' Trainer and of scripts around it.
    {"lr", "learning_rate"},
    {"learning_rate_init", "learning_rate"},
    {"lr_scheduler", "schedule"},
    {"lr_scheduler_type", "schedule"},
    {"scheduler", "schedule"},
    {"warmup_ratio", "warmup"},
    {"warmup_steps", "warmup"},
    {"num_warmup_steps", "warmup"},
    {"num_train_epochs", "epochs"},
    {"num_epochs", "epochs"},
    {"n_epochs", "epochs"},
    {"max_train_steps", "max_steps"},
    {"num_training_steps", "max_steps"},
    {"per_device_train_batch_size", "batch_size"},
    {"train_batch_size", "batch_size"},
    {"micro_batch_size", "batch_size"},
    {"bs", "batch_size"},
    {"gradient_accumulation_steps", "accumulate"},
    {"accumulation_steps", "accumulate"},
    {"grad_accum", "accumulate"},
    {"max_seq_length", "max_length"},
    {"max_seq_len", "max_length"},
    {"model_max_length", "max_length"},
    {"max_source_length", "max_length"},
    {"cutoff_len", "max_length"},
    {"max_grad_norm", "clip"},
    {"gradient_clip_val", "clip"},
    {"wd", "weight_decay"},
    {"adam_beta1", "beta1"},
    {"adam_beta2", "beta2"},
    {"adam_epsilon", "epsilon"},
    {"eps", "epsilon"},
    {"optim", "optimizer"},
    {"label_smoothing_factor", "label_smoothing"},
    {"bf16", "precision"},
    {"fp16", "precision"},
    {"torch_dtype", "precision"},
    {"dtype", "precision"},
    {"gradient_checkpointing", "save_memory"},
    {"eval_steps", "evaluate_every"},
    {"eval_strategy", "evaluate_every"},
    {"evaluation_strategy", "evaluate_every"},
    {"save_steps", "checkpoint_every"},
    {"save_strategy", "checkpoint_every"},
    {"load_best_model_at_end", "keep_best"},
    {"early_stopping_patience", "early_stop"},
    {"patience", "early_stop"},
    {"group_by_length", "order"},
    {"random_seed", "seed"},
    {"data_seed", "seeds.rows"},
    {"undrawn", "missing_gradient"},
    {"output_dir", "out"},
    {"model_name_or_path", "model"},
    {"base_model", "model"},
    {"train_file", "data.train"},
    {"validation_file", "data.eval"},
    {"dev", "data.eval"},
    {"test_file", "data.test"},
    {"validation_split", "data.held_out"},
    {"val_set_size", "data.held_out"},
    {"max_train_samples", "data.rows"},
    {"max_eval_samples", "data.eval_rows"},
    {"num_beams", "generation.beams"},
    {"max_new_tokens", "generation.max_new_tokens"},
    {"no_repeat_ngram_size", "generation.no_repeat_ngram"},
    // Fields of PEFT's and AdapterHub's configurations.
    {"r", "rank"},
    {"lora_r", "rank"},
    {"lora_rank", "rank"},
    {"low_rank_dimension", "rank"},
    {"lora_alpha", "alpha"},
    {"lora_dropout", "adapter.dropout"},  // that of a run is the trunk's
    {"lora_dropout", "dropout"},
    {"adapter_dropout", "adapter.dropout"},
    {"adapter_dropout", "dropout"},
    {"hidden_dropout_prob", "dropout"},
    {"target_modules", "sites"},
    {"lora_target_modules", "sites"},
    {"layers_to_transform", "layers"},
    {"leave_out", "layers"},
    {"use_rslora", "rslora"},
    {"init_lora_weights", "init"},
    {"init_weights", "init"},
    {"loraplus_lr_ratio", "b_rate"},
    {"num_virtual_tokens", "length"},
    {"prefix_length", "length"},
    {"prompt_length", "length"},
    {"encoder_hidden_size", "mlp"},
    {"bottleneck_size", "width"},
    {"reduction_factor", "reduction"},
    {"non_linearity", "activation"},
    {"num_experts", "experts"},
    // Modules of Hugging Face models; with more of their path where the last name says too little.
    {"q", "attn.q"},
    {"q_proj", "attn.q"},
    {"q_lin", "attn.q"},
    {"query", "attn.q"},
    {"k", "attn.k"},
    {"k_proj", "attn.k"},
    {"k_lin", "attn.k"},
    {"key", "attn.k"},
    {"v", "attn.v"},
    {"v_proj", "attn.v"},
    {"v_lin", "attn.v"},
    {"value", "attn.v"},
    {"o", "attn.o"},
    {"o_proj", "attn.o"},
    {"out_proj", "attn.o"},
    {"out_lin", "attn.o"},
    {"attention.output.dense", "attn.o"},
    {"attn.c_proj", "attn.o"},
    {"attn.Wo", "attn.o"},
    {"c_attn", "attn.[qkv]"},
    {"Wqkv", "attn.[qkv]"},
    {"EncDecAttention.q", "cross.q"},
    {"EncDecAttention.k", "cross.k"},
    {"EncDecAttention.v", "cross.v"},
    {"EncDecAttention.o", "cross.o"},
    {"encoder_attn.q_proj", "cross.q"},
    {"encoder_attn.k_proj", "cross.k"},
    {"encoder_attn.v_proj", "cross.v"},
    {"encoder_attn.out_proj", "cross.o"},
    {"gate_proj", "ffn.gate"},
    {"wi_0", "ffn.gate"},
    {"Wi", "ffn.gate"},
    {"Wi", "ffn.up"},
    {"up_proj", "ffn.up"},
    {"wi_1", "ffn.up"},
    {"wi", "ffn.up"},
    {"fc1", "ffn.up"},
    {"lin1", "ffn.up"},
    {"c_fc", "ffn.up"},
    {"intermediate.dense", "ffn.up"},
    {"down_proj", "ffn.down"},
    {"wo", "ffn.down"},
    {"fc2", "ffn.down"},
    {"lin2", "ffn.down"},
    {"output.dense", "ffn.down"},
    {"mlp.c_proj", "ffn.down"},
    {"mlp.Wo", "ffn.down"},
    {"c_proj", "attn.o"},
    {"c_proj", "ffn.down"},
    {"Wo", "attn.o"},
    {"Wo", "ffn.down"},
    {"dense", "attn.o"},
    {"dense", "ffn.up"},
    {"dense", "ffn.down"},
    {"pooler.dense", "pooler"},
    {"all-linear", "attn.[qkvo]"},
    {"all-linear", "cross.[qkvo]"},
    {"all-linear", "ffn.gate"},
    {"all-linear", "ffn.up"},
    {"all-linear", "ffn.down"},
};

// Switches of PEFT's methods that are presets here.
constexpr Alias kPresets[] = {{"use_dora", "dora"}, {"bias", "bitfit"}};

std::vector<std::string> listed_names_of(std::string_view foreign) {
  std::vector<std::string> names;
  for (const Alias& alias : kAliases) {
    if (foreign == alias.foreign) names.emplace_back(alias.own);
  }
  return names;
}

bool is_known(std::string_view own, const std::vector<std::string>& known) {
  const std::string_view section = own.substr(0, std::min(own.find('.'), own.size()));
  return std::any_of(known.begin(), known.end(),
                     [&](const std::string& name) { return name == own || name == section; });
}

}  // namespace

std::vector<std::string> own_names(std::string_view foreign) {
  std::vector<std::string> names = listed_names_of(foreign);
  for (size_t dot = foreign.find('.'); names.empty() && dot != std::string_view::npos;
       dot = foreign.find('.')) {
    foreign.remove_prefix(dot + 1);
    names = listed_names_of(foreign);
  }
  return names;
}

std::string preset_called(std::string_view name) {
  const auto* found = std::find_if(std::begin(kPresets), std::end(kPresets),
                                   [&](const Alias& alias) { return name == alias.foreign; });
  return found == std::end(kPresets) ? "" : found->own;
}

std::string setting_called(std::string_view name, const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), name) != known.end()) return std::string(name);
  for (const std::string& own : own_names(name)) {
    if (is_known(own, known)) return own;
  }
  const std::string in_a_section = "." + std::string(name);
  const auto found = std::find_if(known.begin(), known.end(), [&](const std::string& setting) {
    return setting.ends_with(in_a_section);
  });
  return found == known.end() ? "" : *found;
}

std::string did_you_mean_setting(std::string_view wrong, const std::vector<std::string>& known) {
  const std::string own = setting_called(wrong, known);
  return own.empty() ? did_you_mean(wrong, known) : " (did you mean '" + own + "'?)";
}

}  // namespace graft
