// What the presets say, value by value: a second copy of their published numbers. Every value that
// a file gives stands here, with some defaults that its method's paper fixes.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

#include "base/files.h"
#include "edit/adapter.h"
#include "tests/support/models.h"

namespace graft::testing::test_presets {
namespace {

// preset -> "kind.option=value ... train.setting=value ... published.setting=value", in any order.
const std::map<std::string, const char*> kPins = {
    {"adamix",
     "stochastic.experts=4 stochastic.share=[up] stochastic.init=independent "
     "stochastic.couple=site "
     "stochastic.scores=even bottleneck.sites=[ffn.down] bottleneck.placement=sequential "
     "bottleneck.width=48 bottleneck.activation=gelu bottleneck.init=normal bottleneck.scaling=1 "
     "train.learning_rate=3e-3 train.weight_decay=0.1 train.warmup=0.06 train.clip=1.0 "
     "train.consistency=1.0 published.learning_rate=4e-4 published.batch_size=64 "
     "published.epochs=40 published.max_length=128"},
    {"adamix-gpt2",
     "stochastic.experts=8 stochastic.share=[up] stochastic.init=independent "
     "bottleneck.sites=[ffn.down] bottleneck.placement=sequential bottleneck.width=8 "
     "bottleneck.activation=gelu_tanh bottleneck.init=normal train.learning_rate=3e-3 "
     "train.weight_decay=0.01 train.clip=0 train.consistency=1.0 published.learning_rate=2e-4 "
     "published.consistency=100 published.dropout=0 published.label_smoothing=0.1 "
     "published.batch_size=8 published.epochs=20 published.warmup=2000 published.epsilon=1e-6 "
     "published.adamw_form=transformers"},
    {"adamix-lora",
     "stochastic.experts=8 stochastic.share=[up] stochastic.init=layer_copies "
     "stochastic.couple=layer stochastic.second_pass=free lora.sites=[attn.q,attn.v] lora.rank=4 "
     "lora.alpha=32 lora.dropout=0.1 lora.dropout_mask=input lora.init=kaiming "
     "train.learning_rate=3e-3 train.weight_decay=0.01 train.clip=0 train.consistency=1.0 "
     "published.learning_rate=2e-4 published.consistency=100 published.dropout=0 "
     "published.label_smoothing=0.1 published.batch_size=8 published.epochs=20 "
     "published.warmup=2000 published.epsilon=1e-6 published.adamw_form=transformers"},
    {"bitfit",
     "train.learning_rate=3e-3 published.learning_rate=1e-3 published.batch_size=16 "
     "published.epochs=16 published.schedule=constant published.warmup=0 "
     "published.weight_decay=0 published.epsilon=1e-6 published.adamw_form=transformers "
     "published.clip=1.0 published.max_length=128"},
    {"direft",
     "reft.sites=[enc.*.out|out] reft.rank=1 reft.rotation=false reft.source=linear "
     "reft.subtract=false reft.positions=f3 reft.dropout=0.05 reft.dropout_on=output "
     "reft.decay=false reft.clamp=code train.learning_rate=3e-3 train.warmup=0.1 "
     "train.weight_decay=0 train.clip=1.0 published.learning_rate=6e-4 published.warmup=0.03 "
     "published.epochs=60 published.batch_size=32 published.max_length=256"},
    {"dora",
     "dora.sites=[attn.q,attn.v] dora.rank=8 dora.alpha=16 dora.norm_gradient=false "
     "train.learning_rate=1e-3"},
    {"full",
     "train.learning_rate=5e-5 published.learning_rate=2e-5 published.batch_size=32 "
     "published.epochs=3 published.warmup=0.1 published.weight_decay=0.01 published.epsilon=1e-6 "
     "published.clip=1.0 published.max_length=128"},
    {"head", "train.learning_rate=1e-2"},
    {"houlsby",
     "bottleneck.sites=[attn.out,ffn.out] bottleneck.placement=sequential "
     "bottleneck.reduction=16 bottleneck.activation=swish bottleneck.init=normal "
     "train.learning_rate=1e-3 published.learning_rate=1e-4 published.batch_size=16 "
     "published.epochs=50 published.early_stop=10 published.warmup=0 published.weight_decay=0 "
     "published.max_length=128"},
    {"ia3",
     "affine.sites=[attn.k,attn.v,cross.[kv]?,ffn.act] affine.scale=true affine.shift=false "
     "train.learning_rate=3e-3 published.optimizer=adafactor published.learning_rate=3e-3 "
     "published.schedule=linear published.warmup=0.06 published.batch_size=8"},
    {"lora",
     "lora.sites=[attn.q,attn.v] lora.rank=8 lora.alpha=16 lora.init=kaiming lora.b_rate=1 "
     "train.learning_rate=1e-3 published.learning_rate=5e-4 published.batch_size=16 "
     "published.epochs=50 published.early_stop=10 published.warmup=0 published.weight_decay=0 "
     "published.max_length=128"},
    {"lora-plus",
     "lora.sites=[attn.q,attn.v] lora.rank=8 lora.alpha=16 lora.b_rate=16 "
     "train.learning_rate=3e-4 published.learning_rate=5e-5 published.batch_size=32 "
     "published.epochs=3 published.warmup=0 published.weight_decay=0 published.beta2=0.99 "
     "published.max_length=128"},
    {"loreft",
     "reft.sites=[enc.*.out|out] reft.rank=1 reft.rotation=true reft.source=linear "
     "reft.subtract=true reft.positions=f3 reft.dropout=0.05 reft.dropout_on=output "
     "reft.decay=false train.learning_rate=3e-3 train.warmup=0.1 train.weight_decay=0 "
     "train.clip=1.0 published.learning_rate=6e-4 published.warmup=0.03 published.epochs=60 "
     "published.batch_size=32 published.max_length=256"},
    {"mam",
     "prefix.length=30 prefix.mlp=800 prefix.init=default bottleneck.sites=[ffn.out] "
     "bottleneck.placement=parallel bottleneck.reduction=2 bottleneck.activation=relu "
     "bottleneck.scaling=4 bottleneck.init=zero-up train.learning_rate=3e-4 "
     "published.learning_rate=1e-4 published.batch_size=32 published.epochs=10 "
     "published.warmup=0.06 published.weight_decay=0.1 published.beta2=0.98 "
     "published.epsilon=1e-6 published.clip=1.0 published.max_length=512"},
    {"molora",
     "router.experts=10 router.input=site router.top_k=0 "
     "lora.sites=[attn.[qkvo],cross.[qkvo]?,ffn.gate|ffn.up,ffn.down] lora.rank=4 "
     "lora.alpha=16 lora.init=normal train.learning_rate=1e-3 published.optimizer=adafactor "
     "published.adafactor.first_step=1100000 published.learning_rate=3e-4 "
     "published.schedule=constant published.warmup=0 published.batch_size=32 published.clip=0 "
     "published.dropout=0.1 published.z_loss=1e-4 published.loss_unit=row "
     "published.max_length=1024"},
    {"mov",
     "router.experts=10 router.input=site router.per_head=auto router.top_k=0 "
     "affine.sites=[attn.k,attn.v,cross.[kv]?,ffn.act] affine.scale=true affine.shift=false "
     "train.learning_rate=3e-3 published.optimizer=adafactor "
     "published.adafactor.first_step=1100000 published.learning_rate=3e-4 "
     "published.schedule=constant published.warmup=0 published.batch_size=32 published.clip=0 "
     "published.dropout=0.1 published.z_loss=1e-4 published.loss_unit=row "
     "published.max_length=1024"},
    {"noreft",
     "reft.sites=[enc.*.out|out] reft.rank=1 reft.rotation=false reft.source=linear "
     "reft.subtract=true reft.positions=f3 reft.dropout=0.05 reft.dropout_on=output "
     "train.learning_rate=3e-3 train.warmup=0.1 train.weight_decay=0 train.clip=1.0"},
    {"parallel",
     "bottleneck.sites=[ffn.out] bottleneck.placement=parallel bottleneck.reduction=2 "
     "bottleneck.activation=relu bottleneck.scaling=4 bottleneck.init=zero-up "
     "train.learning_rate=3e-4 published.learning_rate=1e-4 published.batch_size=16 "
     "published.epochs=50 published.early_stop=10 published.warmup=0 published.weight_decay=0 "
     "published.max_length=128"},
    {"pfeiffer",
     "bottleneck.sites=[ffn.out] bottleneck.placement=pfeiffer bottleneck.reduction=16 "
     "bottleneck.activation=relu bottleneck.init=normal train.learning_rate=1e-3 "
     "published.learning_rate=1e-4 published.batch_size=16 published.epochs=50 "
     "published.early_stop=10 published.warmup=0 published.weight_decay=0 "
     "published.max_length=128"},
    {"prefix",
     "prefix.length=10 prefix.mlp=0 prefix.init=normal train.learning_rate=1e-2 "
     "published.prefix.length=10 published.prefix.mlp=512 published.prefix.init=normal "
     "published.learning_rate=2e-4 published.batch_size=16 published.epochs=50 "
     "published.early_stop=10 published.warmup=0 published.weight_decay=0 "
     "published.max_length=128"},
    {"prompt",
     "prompt.length=20 prompt.position=before prompt.init=words train.learning_rate=1e-2"},
    {"red",
     "affine.sites=[ffn.down] affine.scale=true affine.shift=true train.learning_rate=3e-3 "
     "train.warmup=0.1 published.learning_rate=2e-5 published.schedule=cosine "
     "published.batch_size=128 published.epochs=3 published.max_length=512"},
    {"steering",
     "affine.sites=[out] affine.scale=false affine.shift=true train.learning_rate=5e-3"},
    {"top-layers", "top-layers.count=2 train.learning_rate=1e-4"},
    {"unipelt-ap",
     "prefix.length=10 prefix.mlp=512 prefix.init=normal bottleneck.sites=[ffn.out] "
     "bottleneck.placement=pfeiffer bottleneck.reduction=16 bottleneck.activation=relu "
     "bottleneck.init=normal gate.multiplier=gate train.learning_rate=1e-3 train.warmup=0 "
     "train.weight_decay=0 train.clip=1.0 published.learning_rate=5e-4 published.batch_size=16 "
     "published.epochs=50 published.early_stop=10 published.max_length=128"},
    {"unipelt-apl",
     "prefix.length=10 prefix.mlp=512 prefix.init=normal bottleneck.sites=[ffn.out] "
     "bottleneck.placement=pfeiffer bottleneck.reduction=16 bottleneck.activation=relu "
     "bottleneck.init=normal gate.share=separate gate.multiplier=gate "
     "lora.sites=[attn.q,attn.v] lora.rank=8 lora.init=kaiming train.learning_rate=1e-3 "
     "train.warmup=0 train.weight_decay=0 train.clip=1.0 published.learning_rate=5e-4 "
     "published.batch_size=16 published.epochs=50 published.early_stop=10 "
     "published.max_length=128"},
    {"unipelt-aplb",
     "prefix.length=10 prefix.mlp=512 prefix.init=normal bottleneck.sites=[ffn.out] "
     "bottleneck.placement=pfeiffer bottleneck.reduction=16 bottleneck.activation=relu "
     "bottleneck.init=normal gate.share=separate lora.sites=[attn.q,attn.v] lora.rank=8 "
     "lora.init=kaiming train.learning_rate=1e-3 train.warmup=0 train.weight_decay=0 "
     "train.clip=1.0"},
    {"vera",
     "vera.sites=[attn.q,attn.v] vera.rank=1024 vera.d_initial=0.1 vera.save_projection=false "
     "train.learning_rate=1e-2 published.learning_rate=4e-3"},
};

std::string text_of(const Node& node) {
  if (node.kind != Node::Kind::kList) return node.scalar;
  std::string out;
  for (const Node& item : node.items) out += (out.empty() ? "" : ",") + item.scalar;
  return "[" + out + "]";
}

using Values = std::multimap<std::string, std::string>;

// {a: 1, b: {c: 2}} below `path` -> path.a=1, path.b.c=2.
void add_values(const std::string& path, const Node& node, Values& out) {
  for (const auto& [key, value] : node.members) {
    const std::string own = path + (path.empty() ? "" : ".") + key;
    if (value.kind == Node::Kind::kMap) add_values(own, value, out);
    else out.emplace(own, text_of(value));
  }
}

// Options of edits by kind, whatever they stand around; `path` stands before the kind.
void add_edit(const std::string& path, const Node& entry, Values& out) {
  for (const auto& [key, value] : entry.members) {
    if (key == "of" && value.kind == Node::Kind::kMap) add_edit(path, value, out);
    else if (key != "of") add_values(path + key, value, out);
  }
}

Values values_of(const Node& edits, const Node& preset) {
  Values out;
  for (const Node& entry : edits.items) add_edit("", entry, out);
  for (const char* section : {"train", "published"}) {
    const Node* found = preset.find(section);
    if (found == nullptr) continue;
    Node settings = *found;
    if (const Node* own = settings.find("edits")) {
      for (const Node& entry : own->items) add_edit(std::string(section) + ".", entry, out);
      std::erase_if(settings.members, [](const auto& each) { return each.first == "edits"; });
    }
    add_values(section, settings, out);
  }
  return out;
}

bool are_equal(const std::string& a, const std::string& b) {
  if (a == b) return true;
  char *end_a = nullptr, *end_b = nullptr;
  const double x = std::strtod(a.c_str(), &end_a), y = std::strtod(b.c_str(), &end_b);
  return !a.empty() && !b.empty() && *end_a == '\0' && *end_b == '\0' && x == y;
}

bool has_value(const Values& values, const std::string& key, const std::string& value) {
  const auto [begin, end] = values.equal_range(key);
  return std::any_of(begin, end, [&](const auto& entry) { return are_equal(entry.second, value); });
}

TEST(Presets, SayWhatIsWrittenHere) {
  std::set<std::string> files, pinned;
  for (const auto& entry : std::filesystem::directory_iterator(Path(GRAFT_SOURCE_DIR) / "presets"))
    files.insert(entry.path().stem().string());
  for (const auto& [preset, pins] : kPins) pinned.insert(preset);
  ASSERT_EQ(files, pinned) << "a preset stands here with its values";
  const auto model = golden_model("bert-tiny");
  for (const auto& [preset, pins] : kPins) {
    SCOPED_TRACE(preset);
    const Path file = Path(GRAFT_SOURCE_DIR) / "presets" / (preset + ".yaml");
    const Node given = parse_yaml(read_file(file), file.string());
    // With every default filled in. Of a full-sized model's widths only VeRA's rank needs none.
    const Adapter adapter(Node::map({{"edits", *given.find("edits")}}), preset,
                          {model->config, model->sites}, class_task(2));
    const Values described = values_of(*adapter.describe().find("edits"), given),
                 written = values_of(*given.find("edits"), given);
    std::istringstream words(pins);
    std::set<std::string> keys;
    for (std::string word; words >> word;) {
      const size_t equals = word.find('=');
      const std::string key = word.substr(0, equals), value = word.substr(equals + 1);
      keys.insert(key);
      EXPECT_TRUE(has_value(described, key, value) || has_value(written, key, value)) << word;
    }
    for (const auto& [key, value] : written)
      EXPECT_TRUE(keys.contains(key)) << key << "=" << value << " is not written here";
  }
}

}  // namespace
}  // namespace graft::testing::test_presets
