"""Bad input of every kind: exactly one clear error with a way out, the right exit code, and no file changed, made or left behind.

ROWS is the table: what is done to a fresh folder, the command, the exit code, what the message must say. Every row starts from the
same folder: a tiny model, data, and (for the rows that need them) a finished run and a stopped one.
"""

import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import unittest

import support
from support import run

TASK = "text:bad,good"
LORA = {"edits": [{"lora": {"sites": ["attn.q"], "rank": 4}}]}


def train(*more, adapter="lora", task=TASK, data="data", model="model", out="new"):
    return ["train", "--model", model, "--task", task, "--data", data, "--adapter", adapter, "--out", out, "--threads", "1", *more]


def sets(*settings):
    return train(*[part for setting in settings for part in ("--set", setting)])


def put(path, text):
    def change(root):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text if isinstance(text, bytes) else text.encode())
    return change


def drop(path):
    return lambda root: (root / path).unlink() if (root / path).is_file() else shutil.rmtree(root / path)


def config(**changes):
    def change(root):
        file = root / "model" / "config.json"
        values = {**json.loads(file.read_text()), **changes}
        file.write_text(json.dumps({key: value for key, value in values.items() if value != "(none)"}, indent=1))
    return change


def tensors(path, edit):
    def change(root):
        found = support.read_safetensors(root / path)
        edit(found)
        support.write_safetensors(root / path, found)
    return change


def truncate(path, count=1000):
    def change(root):
        data = (root / path).read_bytes()
        (root / path).write_bytes(data[:-count])
    return change


def replaced(path, old, new):
    def change(root):
        data = (root / path).read_bytes()
        assert old in data, (path, old)
        (root / path).write_bytes(data.replace(old, new, 1))
    return change


def edited_tensor(name, dtype=None, shape=None, data=None):
    def edit(found):
        key = next(k for k in found if k.endswith(name))
        old = found[key]
        found[key] = (dtype or old[0], shape or old[1], data(old[2]) if data else old[2])
    return edit


def nan(data):
    return struct.pack("<f", float("nan")) + data[4:]


def renamed(old, new):
    def edit(found):
        key = next(k for k in found if k.endswith(old))
        found[key[:-len(old)] + new] = found.pop(key)
    return edit


WEIGHTS = "model/model.safetensors"
KEPT = "run/adapter/adapter.safetensors"
HEAD = "run/adapter/adapter.json"
QUERY = "encoder.layer.0.attention.self.query.weight"
EVAL = ["eval", "--model", "model", "--adapter", "run/adapter", "--data", "data/dev.tsv"]
PREDICT = ["predict", "--model", "model", "--adapter", "run/adapter", "--data", "data/dev.tsv", "--out", "p.jsonl"]
RESUME = ["train", "--resume", "stopped"]
WRITING = "name: answers\nkind: generation\nprompt: question\ntarget: answer\nmetrics: [perplexity]\n"   # of columns that no data here has
NO_WRITER = ['task "answers": a bert model is an encoder and writes no text; take a decoder']
NOTHING = lambda root: None


def run_yaml(text):
    """A run.yaml of the user's own: the usual keys, then `text`."""
    return put("my.yaml", "model: model\ntask: 'text:bad,good'\nout: new\ndata: {train: data/train.tsv}\n" + text)


def changed_state(key, value):
    def change(root):
        file = next((root / "stopped/checkpoints").glob("*/state.json"))
        state = json.loads(file.read_text())
        state[key] = value
        file.write_text(json.dumps(state, indent=2))
    return change


def renamed_checkpoint(root):
    folder = next((root / "stopped/checkpoints").glob("step-*"))
    folder.rename(folder.with_name("step-" + str(int(folder.name[5:]) + 1)))


def linked(path, target):
    def change(root):
        (root / path).unlink(missing_ok=True)
        (root / path).symlink_to(target)
    return change


# What may not reach a terminal as it is, and a line that would fill it.
ESCAPES = "\x1b[31m\x7f\u202e"
LONG = "x" * 10_000_000


# (name, change, command, exit code, parts of the message)
ROWS = [
    # the command line
    ("no command", NOTHING, [], 2, ["graft --help"]),
    ("unknown command", NOTHING, ["trian"], 2, ["graft: unknown command 'trian' (did you mean 'train'?)"]),
    ("unknown command of a command that takes a file", NOTHING, ["sweep", "tabel", "few"], 2,
     ["graft: sweep: unknown command 'tabel' (did you mean 'table'?)"]),
    ("option by its edit's name", NOTHING, sets("lora.rank=4"), 2, ["lora.rank", "did you mean 'adapter.rank'"]),
    ("unknown flag", NOTHING, train("--lerning-rate", "3"), 2, ["--lerning-rate"]),
    ("near flag", NOTHING, ["eval", "--modle", "model", "--adapter", "a", "--data", "d"], 2, ["--modle", "did you mean '--model'"]),
    ("flag without a value", NOTHING, ["eval", "--model"], 2, ["--model"]),
    ("missing flag", NOTHING, ["eval", "--model", "model"], 2, ["--data"]),
    ("bad number", NOTHING, train("--threads", "many"), 2, ["--threads", "many"]),
    ("bad precision", NOTHING, EVAL + ["--precision", "fp16"], 2, ["fp16", "bf16"]),
    ("nothing to train", NOTHING, ["train"], 2, ["--adapter", "lora"]),
    ("no model", NOTHING, ["train", "--adapter", "lora"], 2, ["--model", "tokenizer", "GGUF"]),
    ("no task or data", NOTHING, ["train", "--adapter", "lora", "--model", "model"], 2, ["task: missing", "--task", "--out", "--data"]),
    # what steers a terminal or fills it (no message may hold it: assert_refused)
    ("escapes in a command", NOTHING, ["tr" + ESCAPES], 2, ["unknown command 'tr\\x1b[31m\\x7f\\u202e'"]),
    ("escapes in a flag", NOTHING, ["eval", "--mod" + ESCAPES], 2, ["\\x1b[31m"]),
    ("escapes in a path", NOTHING, train(data=ESCAPES + "/rows.tsv"), 2, ["\\x1b[31m\\x7f\\u202e", "no such file"]),
    ("escapes in a setting", NOTHING, sets(ESCAPES + "=1"), 2, ["\\x1b[31m"]),
    ("escapes in a label", put("data/train.tsv", "text\tlabel\na b\t" + ESCAPES + "\n"), train(), 2, ["train.tsv:2", "\\x1b[31m\\x7f\\u202e"]),
    ("a very long label", put("data/train.tsv", "text\tlabel\na b\t" + LONG + "\n"), train(), 2, ["train.tsv:2", "xxx..."]),
    ("escapes in a column", put("data/train.tsv", "te" + ESCAPES + "xt\tlabel\na b\tgood\n"), train(), 2, ["train.tsv:1", "\\x1b[31m"]),
    ("escapes in bad JSON", put("rows.jsonl", '{"text": "' + ESCAPES + '"}\n'), train(data="rows.jsonl"), 2, ["rows.jsonl:1"]),
    ("a very long line of bad JSON", put("rows.jsonl", '{"text": "' + LONG + "\n"), train(data="rows.jsonl"), 2, ["rows.jsonl:1", "xxx..."]),
    ("a very long key twice in JSON", put("rows.jsonl", f'{{"{LONG}": 1, "{LONG}": 2}}\n'), train(data="rows.jsonl"), 2, ["rows.jsonl:1", "appears twice"]),
    ("escapes in YAML", put("task.yaml", "name: " + ESCAPES + "\n"), train(task="task.yaml"), 2, ["task.yaml", "\\x1b"]),
    ("an escaped escape in YAML", put("task.yaml", 'name: x\nkind: classification\ntext: text\n"la\\eb\\nel": label\n'), train(task="task.yaml"), 2, ["task.yaml:4", "la\\x1bb\\x0ael"]),
    ("a very long value in YAML", put("task.yaml", f"name: x\nkind: {LONG}\n"), train(task="task.yaml"), 2, ["task.yaml:2", "xxx..."]),
    ("escapes in a tensor's name", tensors(WEIGHTS, lambda found: found.update({"\x1b[31m\nx": ("F32", [1], b"\0" * 4)})), train(), 2, ["model", "\\x1b[31m"]),
    ("escapes in an adapter's tensor", tensors(KEPT, lambda found: found.update({"\x1b[31m\nx": ("F32", [1], b"\0" * 4)})), EVAL, 2, ["adapter.safetensors", "\\x1b[31m\\x0ax"]),
    ("escapes in a config", config(**{"hidden_act": "\x1b[31m\u202e"}), train(), 2, ["config.json", "\\x1b[31m\\u202e"]),
    ("escapes in a config's key", config(**{"\x1b[31m": 1}), train(), 2, ["config.json", "\\x1b[31m"]),
    # what is no file, and has no end
    ("data from an endless device", NOTHING, train(data="/dev/zero"), 2, ["'/dev/zero'", "expected a file or a pipe, found a device"]),
    ("evaluation data from an endless device", NOTHING, train("--eval", "/dev/urandom"), 2, ["'/dev/urandom'", "found a device"]),
    ("a link to an endless device as data", linked("data/dev.tsv", "/dev/zero"), PREDICT, 2, ["data/dev.tsv", "found a device"]),
    ("a task from an endless device", linked("task.yaml", "/dev/zero"), train(task="task.yaml"), 2, ["task.yaml", "found a device"]),
    ("settings from an endless device", linked("my.yaml", "/dev/zero"), ["train", "my.yaml"], 2, ["my.yaml", "found a device"]),
    ("a config from an endless device", linked("model/config.json", "/dev/zero"), train(), 2, ["config.json", "found a device"]),
    ("weights from an endless device", linked(WEIGHTS, "/dev/zero"), train(), 2, ["model.safetensors", "found a device"]),
    ("a tokenizer from an endless device", linked("model/tokenizer.json", "/dev/zero"), train(), 2, ["tokenizer.json", "found a device"]),
    ("an adapter from an endless device", linked(HEAD, "/dev/zero"), EVAL, 2, ["adapter.json", "found a device"]),
    ("an adapter's tensors from an endless device", linked(KEPT, "/dev/zero"), EVAL, 2, ["adapter.safetensors", "found a device"]),
    ("data from a folder", lambda root: (root / "rows.tsv").mkdir(), ["eval", "--model", "model", "--adapter", "run/adapter", "--data", "rows.tsv"], 2, ["rows.tsv"]),
    # the model folder
    ("missing model", NOTHING, train(model="nowhere"), 2, ["'nowhere'", "no such file", "Hugging Face folder"]),
    ("model is a file", NOTHING, train(model="data/train.tsv"), 2, ["'data/train.tsv'", "expected a Hugging Face folder", "GGUF file"]),
    ("model is its weights", NOTHING, ["eval", "--model", WEIGHTS, *EVAL[3:]], 2, ["'model/model.safetensors'", "expected a Hugging Face folder", "GGUF file"]),
    ("missing config", drop("model/config.json"), train(), 2, ["model/config.json", "no such file"]),
    ("missing weights", drop(WEIGHTS), train(), 2, ["model", "model.safetensors"]),
    ("missing tokenizer", drop("model/tokenizer.json"), train(), 2, ["'model' has no tokenizer", "tokenizer.json"]),
    ("truncated weights", truncate(WEIGHTS), train(), 2, ["model.safetensors"]),
    ("empty weights", put(WEIGHTS, b""), train(), 2, ["model.safetensors"]),
    ("weights that are text", put(WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"), train(), 2, ["model.safetensors"]),
    ("wrong shape", tensors(WEIGHTS, edited_tensor(QUERY, shape=[16, 64])), train(), 2, [QUERY, "[32, 32]", "[16, 64]"]),
    ("missing tensor", tensors(WEIGHTS, lambda t: t.pop(next(k for k in t if k.endswith(QUERY)))), train(), 2, [QUERY, "missing"]),
    ("surplus tensor", tensors(WEIGHTS, renamed(QUERY, "encoder.layer.0.attention.self.query.weird")), train(), 2, ["query.weird"]),
    ("NaN weight", tensors(WEIGHTS, edited_tensor(QUERY, data=nan)), train(), 2, ["model: tensor", QUERY, "not finite", "again"]),
    ("integer weight", tensors(WEIGHTS, edited_tensor(QUERY, dtype="I32")), train(), 2, [QUERY, "floating-point"]),
    ("config is no JSON", put("model/config.json", '{"model_type": "bert",'), train(), 2, ["model/config.json:1"]),
    ("config is a list", put("model/config.json", "[]"), train(), 2, ["model/config.json", "found a list"]),
    ("config key that changes the maths", config(rope_scaling={"type": "linear"}), train(), 2, ["config.json", "rope_scaling", "unknown key"]),
    ("config value that changes the maths", config(position_embedding_type="relative_key"), train(), 2, ["position_embedding_type", "relative_key"]),
    ("unknown family", config(model_type="gpt9"), train(), 2, ["model_type", "gpt9", "bert"]),
    ("unknown activation", config(hidden_act="swish"), train(), 2, ["hidden_act", "swish"]),
    ("heads that do not divide", config(num_attention_heads=5), train(), 2, ["num_attention_heads", "divisor", "32"]),
    ("config without a width", config(hidden_size="(none)"), train(), 2, ["hidden_size", "missing"]),
    ("width as text", config(hidden_size="wide"), train(), 2, ["hidden_size", "wide"]),
    ("config of another model", config(num_hidden_layers=3), train(), 2, ["encoder.layer.2.", "missing"]),
    ("config with fewer layers", config(num_hidden_layers=1), train(), 2, ["layer.1", "1 layers"]),
    ("config with another vocabulary", config(vocab_size=100), train(), 2, ["[100, 32]", "[99, 32]"]),
    ("tokenizer is no JSON", put("model/tokenizer.json", "{"), train(), 2, ["tokenizer.json:1"]),
    ("tokenizer of another model", lambda root: (root / "model/tokenizer.json").write_text(json.dumps({**support.wordpiece(99), "model": {
        **support.wordpiece(99)["model"], "vocab": {k: (v if v < 5 else v + 60) for k, v in support.wordpiece(99)["model"]["vocab"].items()}}})),
     train(), 2, ["vocabulary of 99", "belong together"]),
    ("a pickle beside it only", lambda root: (root / WEIGHTS).rename(root / "model/pytorch_model.bin"), train(), 2, ["model.safetensors"]),
    # adapter, task, settings
    ("unknown preset", NOTHING, train(adapter="lorra"), 2, ["lorra", "did you mean 'lora'", "presets:"]),
    ("missing adapter file", NOTHING, train(adapter="my.yaml"), 2, ["my.yaml", "no such file"]),
    ("long preset name", NOTHING, train(adapter="x" * 300), 2, ["unknown adapter"]),
    ("adapter file is a list", put("a.yaml", "- lora: {}\n"), train(adapter="a.yaml"), 2, ["a.yaml", "found a list"]),
    ("adapter file with an unknown key", put("a.yaml", "edist: []\n"), train(adapter="a.yaml"), 2, ["a.yaml:1", "edist", "did you mean 'edits'"]),
    ("adapter file with an unknown edit", put("a.yaml", "edits:\n  - lroa: {}\n"), train(adapter="a.yaml"), 2, ["a.yaml:2", "lroa", "did you mean 'lora'"]),
    ("adapter file with an edit of text", put("a.yaml", "edits:\n  - lora\n"), train(adapter="a.yaml"), 2, ["a.yaml", "/edits/0", "lora"]),
    ("adapter file with edits of text", put("a.yaml", "edits: lora\n"), train(adapter="a.yaml"), 2, ["a.yaml", "expected a list of edits"]),
    ("adapter file with two edits in one", put("a.yaml", "edits: [{lora: {}, bitfit: {}}]\n"), train(adapter="a.yaml"), 2, ["one edit", "found two"]),
    ("adapter file with an empty edit", put("a.yaml", "edits: [{}]\n"), train(adapter="a.yaml"), 2, ["/edits/0", "expected an edit"]),
    ("unknown option", put("a.yaml", "edits: [{lora: {rnak: 4}}]\n"), train(adapter="a.yaml"), 2, ["rnak", "did you mean 'rank'"]),
    ("unknown site", put("a.yaml", "edits: [{lora: {sites: [attn.qq]}}]\n"), train(adapter="a.yaml"), 2, ["attn.qq", "did you mean 'attn.q'"]),
    ("site of another kind", put("a.yaml", "edits: [{lora: {sites: [ffn.out]}}]\n"), train(adapter="a.yaml"), 2, ["ffn.out", "linear sites"]),
    ("layer out of range", put("a.yaml", "edits: [{lora: {layers: [2]}}]\n"), train(adapter="a.yaml"), 2, ["layers", "0..1", "found 2"]),
    ("two edits of one tensor", put("a.yaml", "edits: [{full: {}}, {bitfit: {}}]\n"), train(adapter="a.yaml"), 2, ["train '", "leave one"]),
    ("several faults at once", put("a.yaml", "edits: [{lora: {rank: 0}}, {lora: {alpha: x}}]\n"), train(adapter="a.yaml"), 2, ["rank", "alpha"]),
    ("adapter file is no YAML", put("a.yaml", "edits: [\n"), train(adapter="a.yaml"), 2, ["a.yaml:"]),
    ("head is text", put("a.yaml", "head: big\n"), train("--set", "dropout=0.1", adapter="a.yaml"), 2, ["head"]),
    ("edits is text, with a setting", put("a.yaml", "edits: 3\n"), train("--set", "rank=4", adapter="a.yaml"), 2, ["edits"]),
    ("unknown task", NOTHING, train(task="sst3"), 2, ["sst3", "did you mean 'sst2'", "text:LABEL,LABEL"]),
    ("task of one label", NOTHING, train(task="text:good"), 2, ["at least two labels", "text:ham,spam"]),
    ("task file without labels", put("t.yaml", "name: t\ntext: text\nlabel: label\n"), train(task="t.yaml"), 2, ["t.yaml", "labels", "missing"]),
    ("task file with an unknown metric", put("t.yaml", "name: t\ntext: text\nlabel: label\nlabels: [bad, good]\nmetrics: [accurcy]\n"),
     train(task="t.yaml"), 2, ["t.yaml:5", "accurcy", "did you mean 'accuracy'"]),
    ("unknown setting", NOTHING, sets("epohcs=3"), 2, ["epohcs", "did you mean 'epochs'"]),
    ("unknown adapter setting", NOTHING, sets("adapter.rnak=3"), 2, ["rnak", "did you mean 'rank'"]),
    ("a setting longer than a path", NOTHING, sets("adapter.sites=[" + "x" * 300 + "]"), 2, ["/lora/sites: site pattern \"xxx", "matches no site"]),
    ("unknown data setting", NOTHING, sets("data.row=3"), 2, ["row", "did you mean 'rows'"]),
    ("unknown head setting", NOTHING, sets("head.poolr=trained"), 2, ["poolr", "did you mean 'pooler'"]),
    ("setting without a value", NOTHING, sets("epochs"), 2, ["epochs", "key=value"]),
    ("setting below a value", NOTHING, sets("epochs.more=3"), 2, ["epochs"]),
    ("negative epochs", NOTHING, sets("epochs=-1"), 2, ["epochs", "-1"]),
    ("no epochs", NOTHING, sets("epochs=0"), 2, ["epochs", "max_steps"]),
    ("epochs as a word", NOTHING, sets("epochs=many"), 2, ["epochs", "many"]),
    ("half a batch", NOTHING, sets("batch_size=1.5"), 2, ["batch_size", "1.5"]),
    ("rank zero", NOTHING, sets("rank=0"), 2, ["rank", "1..4096"]),
    ("dropout of one", NOTHING, sets("dropout=1"), 2, ["dropout", "0.99"]),
    ("dropout as a list", NOTHING, sets("dropout=[0.1]"), 2, ["dropout"]),
    ("NaN rate", NOTHING, sets("learning_rate=nan"), 2, ["learning_rate", "nan"]),
    ("unknown schedule", NOTHING, sets("schedule=cosin"), 2, ["schedule", "did you mean 'cosine'"]),
    ("fp16", NOTHING, sets("precision=fp16"), 2, ["precision", "fp32", "bf16"]),
    ("a device that is not there", NOTHING, sets("device=cuda"), 2, ["device", "cpu", "cuda"]),
    ("period in parsecs", NOTHING, sets("evaluate_every=3 parsecs"), 2, ["evaluate_every", "parsecs", "never"]),
    ("endless period", NOTHING, sets("checkpoint_every=inf"), 2, ["checkpoint_every", "inf"]),
    ("huge period", NOTHING, sets("checkpoint_every=1e300"), 2, ["checkpoint_every"]),
    ("two eval sources", NOTHING, sets("data.held_out=0.2"), 2, ["held_out", "data.eval"]),
    ("more rows than there are", NOTHING, sets("data.rows=1000"), 2, ["data.rows", "40 rows"]),
    ("two rows of one", put("data/x.tsv", "text\tlabel\na\tgood\n"), train("--set", "data.rows=2", data="data/x.tsv"), 2, ["data.rows", "has 1 row,", "2 were"]),
    ("max_length beyond the model", NOTHING, sets("max_length=41"), 2, ["max_length", "at most 40", "41"]),
    ("max_length of two", NOTHING, sets("max_length=1"), 2, ["max_length"]),
    ("early stop without evaluations", NOTHING, sets("early_stop=3", "evaluate_every=never"), 2, ["early_stop", "evaluate_every is never", "leave it out"]),
    ("early stop without rows", NOTHING, train("--set", "early_stop=3", data="data/train.tsv"), 2, ["early_stop", "no rows to evaluate on", "data.held_out"]),
    ("options of another optimizer", NOTHING, sets("adafactor.first_step=5", "adafactor.scales_by_parameter=false"), 2,
     ["/adafactor/first_step", "/adafactor/scales_by_parameter", "the optimizer is adamw", "optimizer: adafactor"]),
    ("a loss of texts for labels", NOTHING, sets("loss_unit=row"), 2, ["loss_unit: found row", 'task "text"', "leave it out"]),
    ("texts of a task of labels", NOTHING, sets("generation.beams=3", "generation.top_k=2"), 2, ["generation.beams: found 3", "no evaluation of this run writes texts", "leave it out"]),
    ("warm-up beyond the run", NOTHING, sets("max_steps=10", "warmup=11"), 2, ["warmup: found 11 steps", "the run has 10,", "0.06"]),
    ("warm-up beyond the epochs", NOTHING, sets("epochs=1", "batch_size=8", "warmup=6"), 2, ["warmup: found 6 steps", "the run has 5,"]),
    ("start from nothing", NOTHING, sets("start_from=nowhere"), 2, ["nowhere/adapter.json", "no such file", "RUN/adapter"]),
    ("start from another shape", NOTHING, sets("start_from=run/adapter", "rank=2"), 2, ["start_from", "run/adapter"]),
    # a run.yaml of one's own
    ("run.yaml is missing", NOTHING, ["train", "nowhere.yaml"], 2, ["nowhere.yaml", "no such file"]),
    ("run.yaml is a list", put("my.yaml", "- a\n"), ["train", "my.yaml", "--adapter", "lora"], 2, ["my.yaml", "found a list"]),
    ("run.yaml is text", put("my.yaml", "hello\n"), ["train", "my.yaml", "--adapter", "lora"], 2, ["my.yaml"]),
    ("run.yaml is empty", put("my.yaml", ""), ["train", "my.yaml"], 2, ["--adapter"]),
    ("run.yaml with data as text", put("my.yaml", "model: model\ntask: 'text:bad,good'\nout: new\nadapter: lora\ndata: data\n"),
     ["train", "my.yaml", "--eval", "data/dev.tsv"], 2, ["data"]),
    ("run.yaml with model as a list", put("my.yaml", "model: [a]\nadapter: lora\n"), ["train", "my.yaml"], 2, ["model"]),
    ("run.yaml with adapter as a list", run_yaml("adapter: [lora]\n"), ["train", "my.yaml"], 2, ["adapter"]),
    ("run.yaml with an unknown key", run_yaml("adapter: lora\nlerning_rate: 3\n"), ["train", "my.yaml"], 2,
     ["my.yaml:6:", "lerning_rate", "did you mean 'learning_rate'"]),
    ("run.yaml with a key twice", run_yaml("adapter: lora\nseed: 3\nseed: 4\n"), ["train", "my.yaml"], 2, ["my.yaml:7", "seed"]),
    ("run.yaml with an unknown option", run_yaml("adapter: {edits: [{lora: {rang: 3}}]}\n"), ["train", "my.yaml"], 2, ["my.yaml:5", "rang", "rank"]),
    # data
    ("missing data", NOTHING, train(data="nowhere.tsv"), 2, ["nowhere.tsv", "no such file"]),
    ("folder without train", NOTHING, train(data="model"), 2, ["model", "train.tsv"]),
    ("unknown extension", put("data/x.txt", "a\n"), train(data="data/x.txt"), 2, ["x.txt", "format"]),
    ("empty data", put("data/train.tsv", ""), train(), 2, ["data/train.tsv"]),
    ("header only", put("data/train.tsv", "text\tlabel\n"), train(), 2, ["data/train.tsv"]),
    ("empty evaluation data", put("data/dev.tsv", "text\tlabel\n"), train(), 2, ["data/dev.tsv"]),
    ("empty test data", put("data/test.tsv", "text\tlabel\n"), train(), 2, ["data/test.tsv"]),
    ("wrong columns", put("data/train.tsv", "txt\tlabel\na\tgood\n"), train(), 2, ["data/train.tsv", "text", "txt"]),
    ("wrong width", put("data/train.tsv", "text\tlabel\na\tgood\nb\n"), train(), 2, ["data/train.tsv:3"]),
    ("unknown label", put("data/train.tsv", "text\tlabel\na\tgood\nb\tgod\n"), train(), 2, ["data/train.tsv:3", "god", "did you mean 'good'"]),
    ("missing label", put("data/train.jsonl", '{"text": "a", "label": "good"}\n{"text": "b"}\n'), train(data="data/train.jsonl"), 2, ["data/train.jsonl:2", "label"]),
    ("not UTF-8", put("data/train.tsv", b"text\tlabel\ncaf\xe9\tgood\n"), train(), 2, ["data/train.tsv:2", "UTF-8"]),
    ("a NUL", put("data/train.tsv", b"text\tlabel\nca\0fe\tgood\n"), train(), 2, ["data/train.tsv:2"]),
    ("JSON that is none", put("data/x.jsonl", '{"text": "a", "label": "good"}\n{"text": \n'), train(data="data/x.jsonl"), 2, ["data/x.jsonl:2"]),
    ("text is a number", put("data/x.jsonl", '{"text": 3, "label": "good"}\n'), train(data="data/x.jsonl"), 2, ["data/x.jsonl:1", "text"]),
    ("held out of one row", put("data/x.tsv", "text\tlabel\na\tgood\n"), train("--set", "data.held_out=0.5", data="data/x.tsv"), 2, ["held"]),
    ("data name too long", NOTHING, train(data="x" * 300 + ".tsv"), 3, ["x" * 60, "File name too long"]),
    # the run folder
    ("run exists", NOTHING, train(out="run"), 2, ["'run'", "--resume run", "--out"]),
    ("stopped run exists", NOTHING, train(out="stopped"), 2, ["--resume stopped"]),
    ("out below a file", NOTHING, train(out="data/train.tsv/run"), 3, ["data/train.tsv/run", "Not a directory"]),
    ("out is a file", NOTHING, train(out="data/train.tsv"), 3, ["data/train.tsv", "Not a directory"]),
    ("out where nothing can be written", NOTHING, train(out="/proc/graft/run"), 3, ["/proc/graft/run"]),
    ("resume of nothing", NOTHING, ["train", "--resume", "nowhere"], 2, ["nowhere", "run.yaml"]),
    ("resume of a folder without a run", NOTHING, ["train", "--resume", "data"], 2, ["data", "no run.yaml"]),
    ("resume with another setting", NOTHING, RESUME + ["--set", "learning_rate=9"], 2, ["--set learning_rate=9", "keeps the settings in its run.yaml", "epochs or max_steps"]),
    ("resume that lengthens a linear schedule", NOTHING, RESUME + ["--set", "epochs=9"], 2, ["schedule: linear", "end at zero", "schedule: constant", "--set start_from=stopped/adapter"]),
    ("resume with an adapter", NOTHING, RESUME + ["--adapter", "full"], 2, ["--resume", "--adapter"]),
    ("resume with an edited run.yaml", replaced("stopped/run.yaml", b"learning_rate: 0.003", b"learning_rate: 0.004"), RESUME, 2, ["run.yaml", "checkpoint at step", "restore"]),
    ("resume with another rank", replaced("stopped/run.yaml", b"rank: 8", b"rank: 9"), RESUME, 2, ["run.yaml", "restore"]),
    ("resume with a damaged run.yaml", replaced("stopped/run.yaml", b"learning_rate: 0.003", b"learning_rate: [0.003"), RESUME, 2, ["stopped/run.yaml:"]),
    ("resume with an empty run.yaml", put("stopped/run.yaml", ""), RESUME, 2, ["stopped/run.yaml", "missing"]),
    ("resume with a cut log", truncate("stopped/log.jsonl", 200), RESUME, 2, ["stopped/log.jsonl", "expected at least", "start a new run"]),
    ("resume without the log", drop("stopped/log.jsonl"), RESUME, 2, ["stopped/log.jsonl", "start a new run"]),
    ("resume with truncated state", lambda root: truncate(str(next((root / "stopped/checkpoints").glob("*/state.safetensors")).relative_to(root)))(root),
     RESUME, 2, ["state.safetensors", "damaged", "remove stopped/checkpoints/step-"]),
    ("resume with a flipped bit", lambda root: flip(next((root / "stopped/checkpoints").glob("*/state.safetensors"))), RESUME, 2,
     ["state.safetensors", "damaged", "remove stopped/checkpoints/step-"]),
    ("resume with another step", changed_state("step", 1), RESUME, 2, ["state.json", "the bytes are not those that were written", "damaged", "remove stopped/checkpoints/step-"]),
    ("resume with another count", changed_state("tokens", 1), RESUME, 2, ["state.json", "the bytes are not those that were written", "damaged"]),
    ("resume from a renamed checkpoint", renamed_checkpoint, RESUME, 2, ["state.json", "expected step", "as its folder is named"]),
    ("resume with damaged state.json", lambda root: next((root / "stopped/checkpoints").glob("*/state.json")).write_text('{"version": 1'), RESUME, 2,
     ["state.json:1", "damaged"]),
    ("resume without state", lambda root: next((root / "stopped/checkpoints").glob("*/state.safetensors")).unlink(), RESUME, 2, ["state.safetensors", "no such file", "damaged"]),
    # an adapter
    ("missing adapter", NOTHING, ["eval", "--model", "model", "--adapter", "nowhere", "--data", "data/dev.tsv"], 2, ["nowhere/adapter.json", "no such file", "RUN/adapter"]),
    ("run instead of adapter", NOTHING, ["eval", "--model", "model", "--adapter", "run", "--data", "data/dev.tsv"], 2, ["run/adapter.json", "run/adapter"]),
    ("adapter for another base", tensors(WEIGHTS, edited_tensor(QUERY, data=lambda d: d[4:] + d[:4])), EVAL, 2, ["another base", "1 of", "enc.0.attn.q.weight", "give the base"]),
    ("adapter for another family", NOTHING, ["eval", "--model", "roberta", *EVAL[3:]], 2, ["trained on a bert model", "roberta"]),
    ("adapter of another tokenizer", replaced("model/tokenizer.json", b'"lowercase": true', b'"lowercase": false'), EVAL, 2, ["trained with another tokenizer"]),
    ("adapter.json is no JSON", put(HEAD, "{"), EVAL, 2, [HEAD + ":1"]),
    ("adapter.json is a list", put(HEAD, "[]"), EVAL, 2, [HEAD, "found a list"]),
    ("adapter.json is empty", put(HEAD, ""), EVAL, 2, [HEAD]),
    ("adapter.json of another program", put(HEAD, '{"peft_type": "LORA", "r": 8}'), EVAL, 2, [HEAD, "format", "graft-adapter"]),
    ("adapter.json of a later version", replaced(HEAD, b'"version": 1', b'"version": 2'), EVAL, 2, ["version 2", "update graft"]),
    ("adapter.json with an unknown key", replaced(HEAD, b'"version": 1', b'"version": 1, "extra": 1'), EVAL, 2, ["extra", "unknown key"]),
    ("adapter.json with another rank", replaced(HEAD, b'"rank": 8', b'"rank": 4'), EVAL, 2, ["lora_a", "[4, 32]", "[8, 32]"]),
    ("adapter.json with a fingerprint that is none", lambda root: change_json(root / HEAD, lambda j: j["base"]["tensors"].update({"pooler.bias": 3})), EVAL, 2, ["pooler.bias"]),
    ("missing adapter tensors", drop(KEPT), EVAL, 2, ["adapter.safetensors", "no such file"]),
    ("truncated adapter", truncate(KEPT, 100), EVAL, 2, ["adapter.safetensors"]),
    ("adapter tensor missing", tensors(KEPT, lambda t: t.pop("head/out.bias")), EVAL, 2, ["head/out.bias", "missing"]),
    ("adapter tensor misnamed", tensors(KEPT, renamed("head/out.bias", "head/out.biass")), EVAL, 2, ["head/out.bias' is missing", "head/out.biass", "did you mean"]),
    ("adapter tensor misshapen", tensors(KEPT, edited_tensor("head/out.weight", shape=[32, 2])), EVAL, 2, ["head/out.weight", "[2, 32]", "[32, 2]"]),
    ("adapter tensor of another dtype", tensors(KEPT, edited_tensor("head/out.weight", dtype="I32")), EVAL, 2, ["head/out.weight", "F32", "I32"]),
    ("adapter tensor not finite", tensors(KEPT, edited_tensor("head/out.weight", data=nan)), EVAL, 2, ["head/out.weight", "not finite"]),
    ("inspect of a damaged adapter", put(HEAD, "{"), ["inspect", "adapter", "run/adapter"], 2, [HEAD + ":1"]),
    ("inspect of an adapter without tensors", drop(KEPT), ["inspect", "adapter", "run/adapter"], 2, ["adapter.safetensors"]),
    # eval and predict
    ("eval without labels", put("data/dev.tsv", "text\na\n"), EVAL, 2, ["data/dev.tsv", "label"]),
    ("eval of a row without a label", put("data/x.jsonl", '{"text": "a", "label": "good"}\n{"text": "b"}\n'), EVAL[:-1] + ["data/x.jsonl"], 2, ["data/x.jsonl:2", "label"]),
    ("eval of an unknown label", put("data/dev.tsv", "text\tlabel\na\tgod\n"), EVAL, 2, ["data/dev.tsv:2", "god"]),
    ("eval of rows that are not there", NOTHING, EVAL[:-1] + ["nowhere"], 2, ["'nowhere': no such file"]),
    ("eval of a folder", NOTHING, EVAL[:-1] + ["data"], 2, ["'data': expected a file, found a directory"]),
    ("eval of empty data", put("data/dev.tsv", "text\tlabel\n"), EVAL, 2, ["data/dev.tsv"]),
    ("predict with an unknown label", put("data/dev.tsv", "text\tlabel\na\tgod\n"), PREDICT, 2, ["data/dev.tsv:2", "god"]),
    ("predict below a file", NOTHING, PREDICT[:-1] + ["data/dev.tsv/p.jsonl"], 3, ["data/dev.tsv/p.jsonl", "Not a directory"]),
    ("predict into a missing folder", NOTHING, PREDICT[:-1] + ["nowhere/p.jsonl"], 3, ["nowhere/p.jsonl", "No such file or directory"]),
    ("predict onto a folder", NOTHING, PREDICT[:-1] + ["data", "--format", "jsonl"], 3, ["'data'", "Is a directory"]),
    ("scores below a file", NOTHING, EVAL + ["--json", "data/dev.tsv/x.json"], 3, ["data/dev.tsv/x.json"]),
    # a task that the model cannot do, told before what its rows lack
    ("train an encoder to write", put("t.yaml", WRITING), train(task="./t.yaml"), 2, NO_WRITER),
    ("eval of what an encoder writes", put("t.yaml", WRITING), ["eval", "--model", "model", "--task", "./t.yaml", "--data", "data/dev.tsv"], 2, NO_WRITER),
    ("predict what an encoder writes", put("t.yaml", WRITING), ["predict", "--model", "model", "--task", "./t.yaml", "--data", "data/dev.tsv", "--out", "p.jsonl"], 2, NO_WRITER),
    ("inspect data that an encoder would write", put("t.yaml", WRITING), ["inspect", "data", "--model", "model", "--task", "./t.yaml", "--data", "data/dev.tsv"], 2, NO_WRITER),
    ("unknown task of a missing model", NOTHING, ["eval", "--model", "nowhere", "--task", "sst3", "--data", "data/dev.tsv"], 2, ["sst3", "did you mean 'sst2'"]),
    # the others
    ("ids out of range", NOTHING, ["trace", "--model", "model", "--ids", "2,99", "--out", "t.safetensors"], 2, ["--ids", "0..98", "99"]),
    ("negative ids", NOTHING, ["trace", "--model", "model", "--ids=-1,3", "--out", "t.safetensors"], 2, ["--ids", "-1"]),
    ("ids that are none", NOTHING, ["trace", "--model", "model", "--ids", "2,x", "--out", "t.safetensors"], 2, ["--ids", "x"]),
    ("more ids than positions", NOTHING, ["trace", "--model", "model", "--ids", ",".join(["5"] * 41), "--out", "t.safetensors"], 2, ["--ids", "at most 40", "41"]),
    ("a text longer than the positions", NOTHING, ["trace", "--model", "model", "--text", "the film " * 30, "--out", "t.safetensors"], 2, ["--text", "at most 40"]),
    ("types out of range", NOTHING, ["trace", "--model", "model", "--ids", "2,3", "--type-ids", "0,2", "--out", "t.safetensors"], 2, ["--type-ids", "0..1"]),
    ("types of another length", NOTHING, ["trace", "--model", "model", "--ids", "2,3", "--type-ids", "0", "--out", "t.safetensors"], 2, ["--type-ids"]),
    ("types without ids", NOTHING, ["trace", "--model", "model", "--text", "a", "--type-ids", "0", "--out", "t.safetensors"], 2, ["--type-ids", "--ids"]),
    ("pair without text", NOTHING, ["trace", "--model", "model", "--ids", "2", "--pair", "a", "--out", "t.safetensors"], 2, ["--pair", "--text"]),
    ("text and ids", NOTHING, ["trace", "--model", "model", "--text", "a", "--ids", "2", "--out", "t.safetensors"], 2, ["--text", "--ids"]),
    ("neither text nor ids", NOTHING, ["trace", "--model", "model", "--out", "t.safetensors"], 2, ["--text", "--ids"]),
    ("text that is not UTF-8", NOTHING, ["trace", "--model", "model", "--text", b"caf\xe9", "--out", "t.safetensors"], 2, ["UTF-8"]),
    ("average of one adapter with weights", NOTHING, ["average", "run/adapter", "--model", "model", "--weights", "0.5", "--out", "new"], 2,
     ["--weights: expected with several adapters", "leave it out"]),
    ("trace below a file", NOTHING, ["trace", "--model", "model", "--text", "a", "--out", "data/dev.tsv/t"], 3, ["data/dev.tsv/t"]),
    ("routes without an ensemble", NOTHING, EVAL + ["--routes", "3"], 2, ["--routes: found 3", "--routing ensemble-logits", "leave it out"]),
    ("a unit of routes that are not drawn", NOTHING, PREDICT + ["--routing", "fixed", "--route-unit", "text"], 2, ["--route-unit: found text", "--routing random", "leave it out"]),
    ("a seed of routes that are not drawn", NOTHING, PREDICT + ["--route-seed", "3"], 2, ["--route-seed: found 3", "--routing random", "leave it out"]),
    ("beams for a task of labels", NOTHING, EVAL + ["--beams", "3", "--max-new-tokens", "8"], 2, ["--max-new-tokens and --beams: ", "writes no texts", "leave"]),
    ("records without a gate", NOTHING, EVAL + ["--records", "r.jsonl"], 2, ["--records", "'run/adapter'", "no gate, no router and no collect"]),
    ("records of predictions without a gate", NOTHING, PREDICT + ["--records", "r.jsonl"], 2, ["--records", "no gate, no router and no collect"]),
    ("targets of an encoder", NOTHING, ["plan", "--model", "model", "--adapter", "lora", "--target-length", "4", "--no-timing"], 2, ["--target-length: found 4", "bert", "encoder", "leave it out"]),
    ("plan of an unknown preset", NOTHING, ["plan", "--model", "model", "--adapter", "loar"], 2, ["loar", "did you mean 'lora'"]),
    ("plan with an unknown setting", NOTHING, ["plan", "--model", "model", "--adapter", "lora", "--set", "rnk=3"], 2, ["rnk", "did you mean 'rank'"]),
    ("plan with a setting of the run", NOTHING, ["plan", "--model", "model", "--adapter", "lora", "--set", "epochs=3"], 2, ["epochs"]),
    ("plan with two edits of one tensor", put("a.yaml", "edits: [{full: {}}, {bitfit: {}}]\n"), ["plan", "--model", "model", "--adapter", "a.yaml"], 2, ["train '"]),
    ("plan of rows beyond the model", NOTHING, ["plan", "--model", "model", "--adapter", "lora", "--length", "41"], 2, ["--length", "at most 40"]),
    ("plan below a file", NOTHING, ["plan", "--model", "model", "--adapter", "lora", "--no-timing", "--json", "data/dev.tsv/x"], 3, ["data/dev.tsv/x"]),
    ("import without a source", NOTHING, ["import", "--from", "peft", "--model", "model", "--out", "new"], 2, ["source"]),
    ("import from an unknown program", NOTHING, ["import", "--from", "pfet", "--model", "model", "--out", "new", "run"], 2, ["--from", "pfet", "peft"]),
    ("import of a folder of another kind", NOTHING, ["import", "--from", "peft", "--model", "model", "--out", "new", "run/adapter"], 2,
     ["'run/adapter': holds no adapter_config.json"]),
    ("import of a folder that is not there", NOTHING, ["import", "--from", "peft", "--model", "model", "--out", "new", "nowhere"], 2, ["'nowhere': no such folder"]),
    ("import over an adapter", NOTHING, ["import", "--from", "peft", "--model", "model", "--out", "run/adapter", "data"], 2, ["--out", "holds an adapter already"]),
    ("export over an adapter", put("out/adapter_config.json", "{}"), ["export", "--to", "peft", "--model", "model", "--adapter", "run/adapter", "--out", "out"], 2,
     ["--out", "'out'", "no empty folder"]),
    ("export below a file", NOTHING, ["export", "--to", "peft", "--model", "model", "--adapter", "run/adapter", "--out", "data/dev.tsv/x"], 3, ["data/dev.tsv/x"]),
    ("inspect of what", NOTHING, ["inspect"], 2, ["inspect"]),
    ("inspect model without weights", drop(WEIGHTS), ["inspect", "model", "--model", "model"], 2, ["model.safetensors"]),
    ("inspect tokens of no file", NOTHING, ["inspect", "tokens", "--model", "model", "--file", "nowhere"], 2, ["nowhere", "no such file"]),
    ("inspect tokens not UTF-8", put("x.txt", b"a\ncaf\xe9\n"), ["inspect", "tokens", "--model", "model", "--file", "x.txt"], 2, ["x.txt:2", "UTF-8"]),
    ("inspect data of an unknown label", put("data/dev.tsv", "text\tlabel\na\tgod\n"),
     ["inspect", "data", "--model", "model", "--task", TASK, "--data", "data/dev.tsv"], 2, ["data/dev.tsv:2", "god"]),
]


def flip(path):
    data = bytearray(path.read_bytes())
    data[-50] ^= 16
    path.write_bytes(data)


def change_json(path, edit):
    tree = json.loads(path.read_text())
    edit(tree)
    path.write_text(json.dumps(tree))


class Refusals(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        support.make_model(cls.root / "model")
        support.make_model(cls.root / "roberta", "roberta-tiny")
        (cls.root / "data").mkdir()
        support.write_tsv(cls.root / "data/train.tsv", support.rows(40, 1))
        support.write_tsv(cls.root / "data/dev.tsv", support.rows(20, 2))
        done = run(
            *train("--quiet", "--set", "max_steps=3", "--set", "batch_size=8", "--set", "rank=8", out="run"), cwd=cls.root)
        assert done.returncode == 0, done.stderr
        cls.stop_a_run()

    @classmethod
    def stop_a_run(cls):
        """Leaves root/stopped: a run with a checkpoint and steps to go."""
        args = train("--quiet", "--set", "max_steps=3000", "--set", "batch_size=8", "--set", "rank=8", "--set", "learning_rate=0.003", "--set", "evaluate_every=never",
                     out="stopped")
        log = cls.root / "stopped/log.jsonl"
        process = subprocess.Popen(support.command(*args), cwd=cls.root, env=support.environment(), stderr=subprocess.PIPE, encoding="utf-8")
        while process.poll() is None:
            if log.exists() and log.read_bytes().count(b"\n") > 20:
                process.send_signal(signal.SIGTERM)
                break
        stderr = process.communicate(timeout=60)[1]
        assert process.returncode == 128 + signal.SIGTERM, stderr

    def check(self, change, args, code, parts):
        root = self.dir / "root"
        shutil.copytree(self.root, root)
        change(root)
        before = support.tree_digest(root)
        done = subprocess.run([support.GRAFT, *args], cwd=root, env=support.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=120, encoding="utf-8", errors="replace")
        done.args = [str(part) for part in done.args]
        self.assert_refused(done, code, *parts)
        self.assertEqual(support.tree_digest(root), before, "the folder changed")

    def test_names_are_unique(self):
        names = [row[0] for row in ROWS]
        self.assertEqual(len(names), len(set(names)))

    def test_without_memory(self):
        """A batch that does not fit under the limit: what is needed, what there is, what lowers it; the system's exit code."""
        root = self.dir / "root"
        shutil.copytree(self.root, root)
        support.write_tsv(root / "many.tsv", support.rows(24_000, 3))
        limit = 700 << 20    # of addresses; the program and its libraries take 400 MiB of them
        args = train("--quiet", "--set", "batch_size=24000", "--set", "max_steps=1", "--set", "warmup=0", adapter="full", data="many.tsv")
        done = subprocess.run(support.command(*args), cwd=root, env=support.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=300, encoding="utf-8", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        done.args = [str(part) for part in done.args]
        self.assert_refused(done, 3, "out of memory: about ", "are needed at the peak (as graft plan predicts)", "this process may take 734 MB of addresses (ulimit -v",
                            "Lower batch_size, token_budget or max_length", "save_memory=true")

    def test_a_share_that_is_not_there(self):
        for share in ("nowhere", "data/dev.tsv"):
            done = subprocess.run(support.command(*train("--quiet")), cwd=self.root, env={**support.environment(), "GRAFT_SHARE": share},
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, encoding="utf-8")
            done.args = [str(part) for part in done.args]
            self.assert_refused(done, 2, f"GRAFT_SHARE: expected the folder with presets/ and tasks/, found '{share}'")
        empty = subprocess.run(support.command("inspect", "presets"), env={**support.environment(), "GRAFT_SHARE": ""}, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, encoding="utf-8")
        self.assertIn("lora", self.assert_done(empty).stdout)   # as if it were not set

    def test_damaged_checkpoint_without_its_marker(self):
        """What a killed save left does not count: the older checkpoint, or the start, is used."""
        root = self.dir / "root"
        shutil.copytree(self.root, root)
        later = root / "stopped/checkpoints/step-999"
        later.mkdir()
        (later / "state.json").write_text('{"version"')
        change = root / "stopped/run.yaml"
        self.assertTrue(change.exists())
        done = run("train", "--resume", "stopped", "--quiet", "--threads", 1, cwd=root)
        self.assert_done(done)
        steps = [event["step"] for event in support.log_events(root / "stopped") if event["event"] == "step"]
        self.assertEqual(steps, list(range(1, 3001)))
        self.assertFalse((root / "stopped/checkpoints").exists())


def add_row(index, row):
    name, change, args, code, parts = row

    def test(self):
        self.check(change, args, code, parts)
    test.__doc__ = name
    setattr(Refusals, f"test_{index:03d}_" + "".join(c if c.isalnum() else "_" for c in name), test)


for position, entry in enumerate(ROWS):
    add_row(position, entry)


if __name__ == "__main__":
    support.main()
