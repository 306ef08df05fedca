"""Makes tests/golden/trunks: tiny random decoders, encoder-decoders and masked language models, and what they must compute.

Each folder holds a model as `transformers` (or an older release) writes it, expected.safetensors (hidden states and logits of ragged
sequences, each run alone) and, for some, training.safetensors: gradients of all weights and of LoRA. README.md beside this file says more.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch.func import functional_call
from transformers.models.mt5 import modeling_mt5
from transformers.models.t5 import modeling_t5

import common
import trunk_models

LENGTHS, PROMPTS = [1, 2, 4, 7, 11, 18], [1, 1, 2, 4, 1, 10]
TARGET_LENGTHS, TARGET_PROMPTS = [7, 1, 11, 4, 16, 2], [1, 1, 1, 2, 5, 1]
RANK, SCALE = 2, 2.0
BUCKETS = [(8, 12), (7, 9), (32, 128), (8, 16), (4, 8), (2, 2), (64, 1000)]


def is_masked(model):
    return type(model).__name__.endswith("ForMaskedLM")


def is_encoder_decoder(model):
    return model.config.is_encoder_decoder


def words(random, config, count):
    """Ids that are no padding, start or end."""
    return random.integers(4, config.vocab_size, count).tolist()


def make_rows(model, seed):
    """Rows of (ids, targets, number of prompt ids or None, labels): `targets` is what an encoder-decoder's decoder reads, its start id first."""
    random, config, rows = np.random.default_rng(seed), model.config, []
    for i, length in enumerate(LENGTHS):
        ids, targets, prompt, labels = words(random, config, length), None, PROMPTS[i], None
        if is_encoder_decoder(model):
            targets = [config.decoder_start_token_id] + words(random, config, TARGET_LENGTHS[i] - 1)
            prompt = TARGET_PROMPTS[i]
        if is_masked(model):
            prompt, labels = None, [int(random.integers(4, config.vocab_size)) if p % 3 == i % 3 else -100 for p in range(length)]
        rows.append((ids, targets, prompt, labels))
    return rows


def stacks(model):
    """Per stack: the prefix of its names in the files, its blocks, its last norm (None in post-norm families)."""
    kind = model.config.model_type
    if kind == "gpt2":
        return [("", model.transformer.h, model.transformer.ln_f)]
    if kind in ("t5", "mt5"):
        trunk = getattr(model, "transformer", model)   # of a classifier
        return [("", trunk.encoder.block, trunk.encoder.final_layer_norm), ("dec.", trunk.decoder.block, trunk.decoder.final_layer_norm)]
    if kind == "bart":
        return [("", model.model.encoder.layers, None), ("dec.", model.model.decoder.layers, None)]
    if kind in ("bert", "roberta"):
        return [("", model.base_model.encoder.layer, None)]
    if kind == "modernbert":
        return [("", model.model.layers, model.model.final_norm)]
    return [("", model.model.layers, model.model.norm)]


class Recorder:
    """Catches what enters the first block, leaves every block and leaves the last norm of every stack."""

    def __init__(self, model):
        self.found, self.handles = {}, []
        for prefix, blocks, norm in stacks(model):
            self.handles.append(blocks[0].register_forward_pre_hook(self.entering(f"{prefix}hidden.0"), with_kwargs=True))
            for layer, block in enumerate(blocks):
                self.handles.append(block.register_forward_hook(self.leaving(f"{prefix}hidden.{layer + 1}")))
            if norm is not None:
                self.handles.append(norm.register_forward_hook(self.leaving(f"{prefix}last")))

    def entering(self, name):
        def hook(module, args, kwargs):
            self.found[name] = (args[0] if args else kwargs["hidden_states"])[0].detach()
        return hook

    def leaving(self, name):
        def hook(module, args, output):
            self.found[name] = (output[0] if isinstance(output, tuple) else output)[0].detach()
        return hook

    def close(self):
        for handle in self.handles:
            handle.remove()


def inputs_of(row):
    ids, targets, prompt, _ = row
    inputs = {"input_ids": torch.tensor([ids])}
    if targets is not None:
        inputs["decoder_input_ids"] = torch.tensor([targets])
    return inputs if prompt is None else {**inputs, "use_cache": False}


def run_alone(model, row):
    """One sequence -> dict of its rows. Checks what the library's own list of hidden states holds."""
    recorder = Recorder(model)
    with torch.no_grad():
        out = model(**inputs_of(row), output_hidden_states=True)
    recorder.close()
    lists = {"": out.get("hidden_states", out.get("encoder_hidden_states")), "dec.": out.get("decoder_hidden_states")}
    for prefix, blocks, norm in stacks(model):
        assert len(lists[prefix]) == len(blocks) + 1
        for i, state in enumerate(lists[prefix]):
            # The library's last entry is the normed state in pre-norm families, but not ModernBERT's.
            has_norm = norm is not None and i == len(blocks) and model.config.model_type != "modernbert"
            assert torch.equal(state[0], recorder.found[f"{prefix}last" if has_norm else f"{prefix}hidden.{i}"])
    return {**recorder.found, "logits": out.logits[0]}


def target_rows(row):
    """(rows of the logits, the token each must predict)."""
    ids, targets, prompt, labels = row
    if labels is not None:
        return [(p, label) for p, label in enumerate(labels) if label != -100]
    stream = ids if targets is None else targets
    return [(p - 1, stream[p]) for p in range(prompt, len(stream))]


def mean_loss(model, rows, parameters=None):
    """Cross-entropy over all target tokens of all rows: sum / number. `parameters` stand in for the model's own."""
    run = model if parameters is None else lambda **inputs: functional_call(model, parameters, (), inputs)
    total, count = 0.0, 0
    for row in rows:
        pairs = target_rows(row)
        if not pairs:
            continue
        trunk_models.fresh_rotary(model)
        logits = run(**inputs_of(row)).logits[0]
        chosen = torch.log_softmax(logits[[p for p, _ in pairs]], -1)
        total = total - chosen[range(len(pairs)), [label for _, label in pairs]].sum()
        count += len(pairs)
    return total / count, count


def loss_of_library(model, rows):
    """The same by the library's own loss, float32: a check on the line above."""
    total, count = 0.0, 0
    for row in rows:
        ids, targets, prompt, labels = row
        pairs = target_rows(row)
        if not pairs:
            continue
        if labels is not None:
            inputs, wanted = inputs_of(row), labels
        elif targets is None:
            inputs, wanted = inputs_of(row), [-100] * prompt + ids[prompt:]
        else:
            inputs = inputs_of((ids, targets[:-1], prompt, None))
            wanted = ([-100] * prompt + targets[prompt:])[1:]
        with torch.no_grad():
            total += model(**inputs, labels=torch.tensor([wanted])).loss.item() * len(pairs)
        count += len(pairs)
    return total / count


def stored_names(folder):
    files = sorted(folder.glob("model*.safetensors"))
    return set().union(*(load_file(file).keys() for file in files))


def checkpoint_name(name, stored, model):
    """The model's parameter name -> the name in the file."""
    if name in stored:
        return name
    bare = name.removeprefix(model.base_model_prefix + ".")
    assert bare in stored, name
    return bare


def lora_places(model):
    """Site -> (parameter, is it stored as [in, out]?, slice of its outputs): the queries and values of every attention."""
    kind, places = model.config.model_type, {}

    def add(site, module, q="q", v="v"):
        for role, name in (("q", q), ("v", v)):
            places[f"{site}.{role}"] = (f"{module}.{name}.weight", False, slice(None))

    for prefix, blocks, _ in stacks(model):
        for i in range(len(blocks)):
            if kind == "gpt2":
                width = model.config.n_embd
                for piece, role in ((0, "q"), (2, "v")):
                    places[f"dec.{i}.attn.{role}"] = (f"transformer.h.{i}.attn.c_attn.weight", True, slice(piece * width, (piece + 1) * width))
            elif kind == "modernbert":
                width = model.config.hidden_size
                for piece, role in ((0, "q"), (2, "v")):
                    places[f"enc.{i}.attn.{role}"] = (f"model.layers.{i}.attn.Wqkv.weight", False, slice(piece * width, (piece + 1) * width))
            elif kind in ("t5", "mt5"):
                stack = "decoder" if prefix else "encoder"
                trunk = "transformer." if hasattr(model, "transformer") else ""
                add(f"{stack[:3]}.{i}.attn", f"{trunk}{stack}.block.{i}.layer.0.SelfAttention")
                if prefix:
                    add(f"dec.{i}.cross", f"{trunk}decoder.block.{i}.layer.1.EncDecAttention")
            elif kind == "bart":
                stack = "decoder" if prefix else "encoder"
                add(f"{stack[:3]}.{i}.attn", f"model.{stack}.layers.{i}.self_attn", "q_proj", "v_proj")
                if prefix:
                    add(f"dec.{i}.cross", f"model.decoder.layers.{i}.encoder_attn", "q_proj", "v_proj")
            elif kind in ("bert", "roberta"):
                add(f"enc.{i}.attn", f"{kind}.encoder.layer.{i}.attention.self", "query", "value")
            else:
                add(f"dec.{i}.attn", f"model.layers.{i}.self_attn", "q_proj", "v_proj")
    return places


def with_lora(model, places, lora):
    """The model's parameters with W + s B A in the places (Hu et al. 2021, eq. 3)."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    for site, (name, is_transposed, piece) in places.items():
        change = SCALE * lora[f"{site}.lora_b"] @ lora[f"{site}.lora_a"]   # [out, in]
        weight = parameters[name]
        full = torch.zeros_like(weight)
        rows = full.t() if is_transposed else full
        rows = torch.cat([rows[: piece.start or 0], change, rows[(piece.start or 0) + change.size(0):]])
        parameters[name] = weight + (rows.t() if is_transposed else rows)
    return parameters


def train(model, rows, stored, seed, mean_loss=mean_loss):
    """Loss and gradients of all weights, then of LoRA with the weights frozen. `stored`: names in the file; `mean_loss`: as the one above.
    Returns the tensors and the manifest's entry."""
    random = np.random.default_rng(seed)
    model.requires_grad_(True)
    loss, count = mean_loss(model, rows)
    loss.backward()
    gradients = {checkpoint_name(name, stored, model): p.grad for name, p in model.named_parameters()}
    model.requires_grad_(False)

    places, lora = lora_places(model), {}
    for site, (name, is_transposed, piece) in places.items():
        weight = dict(model.named_parameters())[name]
        weight = (weight.t() if is_transposed else weight)[piece]
        for role, shape in (("lora_a", (RANK, weight.size(1))), ("lora_b", (weight.size(0), RANK))):
            start = random.normal(0.0, 0.3, shape).astype(np.float32)   # as stored; torch would not round here
            lora[f"{site}.{role}"] = torch.from_numpy(start).to(weight.dtype).requires_grad_(True)
    lora_loss, _ = mean_loss(model, rows, with_lora(model, places, lora))
    lora_loss.backward()
    path = "0.lora/"
    tensors = {
        **{f"grad.{name}": g for name, g in gradients.items()},
        **{f"lora.{path}{name}": p for name, p in lora.items()},
        **{f"lora.grad.{path}{name}": p.grad for name, p in lora.items()},
    }
    has_cross = any(".cross." in site for site in places)
    return tensors, {
        "loss": loss.item(), "lora_loss": lora_loss.item(), "targets": count,
        "zero_gradient": sorted(name for name, g in gradients.items() if g.abs().max() < 1e-12),
        "lora": {"sites": ["attn.q", "attn.v"] + (["cross.q", "cross.v"] if has_cross else []), "rank": RANK, "alpha": RANK * SCALE},
    }


def batch_tensors(rows):
    """What went in, all rows end to end."""
    def joined(column):
        return torch.tensor([value for row in rows for value in row[column]])

    out = {"ids": joined(0), "lengths": torch.tensor([len(row[0]) for row in rows])}
    if rows[0][1] is not None:
        out.update(target_ids=joined(1), target_lengths=torch.tensor([len(row[1]) for row in rows]))
    if rows[0][3] is not None:
        out["labels"] = joined(3)
    else:
        out["prompt_lengths"] = torch.tensor([row[2] for row in rows])
    return out


def expect(folder, kind, seed, wants_gradients):
    """Writes expected.safetensors and training.safetensors. Returns the manifest's entry."""
    model = trunk_models.load(folder, kind)
    rows = make_rows(model, seed + 1)

    def run_all(model):
        results = []
        for row in rows:
            trunk_models.fresh_rotary(model)
            results.append(run_alone(model, row))
        return {name: torch.cat([result[name] for result in results]) for name in results[0]}

    single = run_all(model)
    library_loss = loss_of_library(model, rows) if wants_gradients else None
    stored, entry = stored_names(folder), {}
    with trunk_models.exactly(True):
        model = model.double()
        exact = run_all(model)
        assert all(value.dtype == torch.float64 for value in exact.values())
        if wants_gradients:
            trained, entry = train(model, rows, stored, seed + 2)
    common.write_tensors(folder / "expected.safetensors", {**batch_tensors(rows), **exact})
    deviation = {name: common.max_difference(single[name], exact[name]) for name in exact}
    share = {name: ((single[name] - exact[name]).abs() / (1e-5 + 1e-4 * exact[name].abs())).max().item() for name in exact}
    assert max(share.values()) < 0.5, (deviation, share)   # of the tolerance that float32 tests have
    if wants_gradients:
        assert abs(library_loss - entry["loss"]) < 1e-5, (library_loss, entry["loss"])
        common.write_tensors(folder / "training.safetensors", trained)
    return {
        "tensors": {name: list(value.shape) for name, value in exact.items()},
        "largest": {name: round(value.abs().max().item(), 4) for name, value in exact.items()},
        "float32_deviation": {name: float(f"{value:.2e}") for name, value in deviation.items()}, **entry,
    }


def bucket_table():
    """T5's buckets of the distances 0..150 that the library computes, in float32: key before the query, and key after it."""
    table = []
    distances = torch.arange(151)
    assert modeling_mt5.MT5Attention is not modeling_t5.T5Attention
    for buckets, farthest in BUCKETS:
        bucket = lambda sign, both: modeling_t5.T5Attention._relative_position_bucket(
            sign * distances, bidirectional=both, num_buckets=buckets, max_distance=farthest).tolist()
        entry = {"num_buckets": buckets, "max_distance": farthest}
        if buckets >= 4:
            entry.update(encoder_before=bucket(-1, True), encoder_after=bucket(1, True))
        if farthest > buckets // 2:
            entry["decoder_before"] = bucket(-1, False)
        table.append(entry)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/trunks")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "safetensors", "numpy")
    torch.set_num_threads(1)
    manifest = {
        "command": common.command_line(),
        "versions": versions,
        "values": "computed in float64 from the stored weights, each sequence alone, rounded to float32; dropout off",
        "hidden_states": "hidden.L is what leaves the last block, before the norm of the stack; `last` is that norm's output. The library's "
                         "own list hidden_states ends with `last`, not with hidden.L, in pre-norm families (no `last`: post-norm).",
        "rank_and_scale": {"rank": RANK, "scale": SCALE},
        "models": {},
    }
    shutil.rmtree(args.out, ignore_errors=True)
    for index, (name, ((kind, config), storage, wants_gradients, about)) in enumerate(trunk_models.CASES.items()):
        seed = 5000 + 10 * index
        folder = args.out / name
        folder.mkdir(parents=True)
        model = kind(config)
        random = trunk_models.randomise(model, seed)
        trunk_models.save(model, folder, storage, random)
        entry = expect(folder, kind, seed, wants_gradients)
        manifest["models"][name] = {"about": about, "class": kind.__name__, "storage": storage, "seed": seed, **entry}
        sizes = {p.name: p.stat().st_size for p in folder.iterdir()}
        print(f"{name}: {sizes}\n  {json.dumps(entry['float32_deviation'])} {json.dumps(entry['largest'])} {entry.get('loss')} {entry.get('zero_gradient')}")
    (args.out / "buckets.json").write_text(json.dumps(bucket_table(), separators=(",", ":")) + "\n")
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
