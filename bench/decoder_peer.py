"""The peers' side of bench/decoders.py: one measurement of transformers with PEFT or pyreft, or of llama.cpp, a process each, as JSON on standard output.

    decoder_peer.py train    --model DIR --data rows.json --method lora|loreft --precision fp32|bf16|bf16-weights --steps N
    decoder_peer.py generate --model DIR --data rows.json --prompts N --new-tokens N --precision fp32|bf16 [--gguf FILE: by llama.cpp]

Training is a plain loop over batches in file order (bench/decoders.py writes rows of similar length side by side, the peers' best case): fused AdamW, clip 1, a
forward pass that makes the logits of every row of the batch, as transformers computes them. Tokens are real ones, padding not counted. Rows are tokenised first.
"""
import argparse
import json
import os
import pathlib
import resource
import sys
import time

PROMPT = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("what", choices=["train", "generate"])
    add("--model", required=True)
    add("--data", required=True, help="JSON list of {instruction, output}")
    add("--method", choices=["lora", "loreft"], default="lora")
    add("--precision", choices=["fp32", "bf16", "bf16-weights"], default="fp32", help="bf16: autocast over float32 weights; bf16-weights: frozen weights in bf16, autocast")
    add("--batch", type=int, default=16)
    add("--steps", type=int, default=6)
    add("--skip-steps", type=int, default=2)
    add("--learning-rate", type=float, default=5e-4)
    add("--prompts", type=int, default=1)
    add("--new-tokens", type=int, default=64)
    add("--gguf", help="generate with llama.cpp from this file")
    add("--threads", type=int, default=2)
    return parser.parse_args()


ARGS = parse_arguments()
os.environ["OMP_NUM_THREADS"] = str(ARGS.threads)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import smollm2  # noqa: E402 (the thread count must be in the environment first)
import torch  # noqa: E402
from transformers import AutoModelForCausalLM, logging  # noqa: E402


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_examples(args):
    """(prompt ids, target ids with the end) of every row."""
    words = smollm2.tokenizer(args.model)
    out = []
    for row in json.loads(pathlib.Path(args.data).read_text()):
        prompt = words(PROMPT.format(instruction=row["instruction"]), add_special_tokens=False)["input_ids"]
        out.append((prompt, words(row["output"], add_special_tokens=False)["input_ids"] + [words.eos_token_id]))
    return out, words.pad_token_id


def collate(examples, pad_id):
    """Padded on the right to the longest of the batch; labels are -100 on prompt and padding."""
    longest = max(len(prompt) + len(target) for prompt, target in examples)
    batch = {"input_ids": [], "attention_mask": [], "labels": []}
    for prompt, target in examples:
        rest = longest - len(prompt) - len(target)
        batch["input_ids"].append(prompt + target + [pad_id] * rest)
        batch["attention_mask"].append([1] * (longest - rest) + [0] * rest)
        batch["labels"].append([-100] * len(prompt) + target + [-100] * rest)
    return {key: torch.tensor(rows) for key, rows in batch.items()}


def base_model(args):
    dtype = torch.bfloat16 if args.precision == "bf16-weights" else torch.float32
    return AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype, attn_implementation="sdpa")


def lora_model(args):
    from peft import LoraConfig, get_peft_model
    model = get_peft_model(base_model(args), LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    model.train()
    return model, lambda batch, examples: model(**batch).loss


def loreft_model(args):
    """LoReFT of rank 4 on the first and last three tokens of the prompt after every block, each with sets of their own (pyreft's default)."""
    import pyreft
    from pyreft.dataset import get_intervention_locations
    model = base_model(args)
    layers, width = model.config.num_hidden_layers, model.config.hidden_size
    model = pyreft.get_reft_model(model, pyreft.ReftConfig(representations=[
        {"layer": layer, "component": "block_output", "low_rank_dimension": 4,
         "intervention": pyreft.LoreftIntervention(embed_dim=width, low_rank_dimension=4, dtype=torch.float32)}
        for layer in list(range(layers)) * 2]))
    model.set_device("cpu")
    model.train()

    def loss_of(batch, examples):
        places = [get_intervention_locations(last_position=len(prompt), positions="f3+l3", num_interventions=2 * layers, share_weights=False) for prompt, _ in examples]
        by_intervention = [[place[i] for place in places] for i in range(2 * layers)]
        _, out = model({"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}, unit_locations={"sources->base": (None, by_intervention)}, labels=batch["labels"])
        return out.loss

    return model, loss_of


def train(args):
    examples, pad_id = read_examples(args)
    if len(examples) < args.batch * args.steps:
        sys.exit(f"{args.data}: expected {args.batch * args.steps} rows, found {len(examples)}")
    model, loss_of = (lora_model if args.method == "lora" else loreft_model)(args)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.learning_rate, weight_decay=0.0, fused=True)
    records = []
    for step in range(args.steps):
        start = time.perf_counter()
        rows = examples[step * args.batch : (step + 1) * args.batch]
        batch = collate(rows, pad_id)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision.startswith("bf16")):
            loss = loss_of(batch, rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        records.append({"loss": loss.item(), "tokens": int(batch["attention_mask"].sum()), "slots": batch["attention_mask"].numel(), "seconds": time.perf_counter() - start})
    counted = records[args.skip_steps :]
    return {"tokens_per_second": sum(r["tokens"] for r in counted) / sum(r["seconds"] for r in counted), "peak_bytes": peak_bytes(),
            "padding_share": 1 - sum(r["tokens"] for r in records) / sum(r["slots"] for r in records), "losses": [r["loss"] for r in records],
            "trained_parameters": sum(parameter.numel() for parameter in trained)}


def generate(args):
    """Greedy, always --new-tokens of them; the first of two calls is not counted."""
    prompts = [prompt for prompt, _ in read_examples(args)[0][: args.prompts]]
    args.precision = {"bf16": "bf16-weights"}.get(args.precision, args.precision)   # no autocast: the whole model in bf16
    model = base_model(args).eval()
    pad_id = model.config.pad_token_id
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad_id] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        with torch.no_grad():
            out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=args.new_tokens, min_new_tokens=args.new_tokens, do_sample=False, pad_token_id=pad_id)
        seconds.append(time.perf_counter() - start)
    assert out.shape[1] == longest + args.new_tokens
    return {"tokens_per_second": len(prompts) * args.new_tokens / seconds[-1], "seconds": seconds[-1], "peak_bytes": peak_bytes(),
            "prompt_tokens": sum(map(len, prompts)), "ids": out[:, longest:].tolist()}


def generate_with_llama_cpp(args):
    """One prompt after the other: its Python interface writes one text at a time."""
    import llama_cpp
    prompts = [prompt for prompt, _ in read_examples(args)[0][: args.prompts]]
    model = llama_cpp.Llama(args.gguf, n_ctx=1024, n_threads=args.threads, n_threads_batch=args.threads, verbose=False)

    def write(prompt):
        model.reset()
        out = []
        for token in model.generate(prompt, temp=0.0, repeat_penalty=1.0, reset=True):
            out.append(int(token))
            if len(out) == args.new_tokens:
                return out

    write(prompts[0])
    start = time.perf_counter()
    written = [write(prompt) for prompt in prompts]
    seconds = time.perf_counter() - start
    return {"tokens_per_second": len(prompts) * args.new_tokens / seconds, "seconds": seconds, "peak_bytes": peak_bytes(), "version": llama_cpp.__version__,
            "prompt_tokens": sum(map(len, prompts)), "ids": written}


if __name__ == "__main__":
    logging.set_verbosity_error()
    torch.set_num_threads(ARGS.threads)
    action = train if ARGS.what == "train" else generate_with_llama_cpp if ARGS.gguf else generate
    print("RESULT " + json.dumps(action(ARGS)))
