#!/usr/bin/env python3
"""Makes tests/golden/text/chat.json: conversations as transformers renders them with published chat templates.

    python tools/golden/chat.py --out tests/golden/text/chat.json --published FOLDER [--digests]

FOLDER holds MODEL.jinja for each model of PUBLISHED: the chat template as the model's tokenizer_config.json holds it, which is not copied here.

Pinned: transformers 4.57.6, Jinja2 3.1.6. Of each format: its template in every spelling that is recognised (a line end inside a literal is written
as itself or as \\n, which is the same to Jinja), and for each conversation the text with and without generation prompt, or that the template refuses
it. --digests prints what belongs in the table of src/text/chat.cpp.
"""
import argparse
import hashlib
import json
import pathlib
import re

import jinja2
import transformers
from tokenizers import Tokenizer, models

ALTERNATE = ("{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate "
             "user/assistant/user/assistant/...') }}{% endif %}")
CHATML = ("{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
MISTRAL = ("{{ bos_token }}{% for message in messages %}" + ALTERNATE + "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
           "{% elif message['role'] == 'assistant' %}{{ message['content'] + EOS }}{% else %}"
           "{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}")


def with_default(text):
    return ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n" + text +
            "<|im_end|>\n' }}{% endif %}" + CHATML)


# name: (templates, beginning and end of text)
FORMATS = {
    "chatml": (["{% for message in messages %}" + CHATML,
                "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% for message in messages %}" + CHATML],
               "<|im_start|>", "<|im_end|>"),
    "smollm2": ([with_default("You are a helpful AI assistant named SmolLM, trained by Hugging Face")], "<|im_start|>", "<|im_end|>"),
    "qwen2": ([with_default("You are a helpful assistant.")],
              None, "<|im_end|>"),
    "llama-2": (["{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
                 "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}" + ALTERNATE +
                 "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}"
                 "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
                 "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}" + system +
                 "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
                 for system in ("", "{% elif message['role'] == 'system' %}{{ '<<SYS>>\n' + content.strip() + '\n<</SYS>>\n\n' }}")], "<s>", "</s>"),
    "llama-3": (["{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + "
                 "'<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
                 "{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"],
                "<|begin_of_text|>", "<|eot_id|>"),
    "zephyr": (["{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n"
                "{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"
                "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n"
                "{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"], "<s>", "</s>"),
    "mistral": ([MISTRAL.replace("EOS", "eos_token"), MISTRAL.replace("EOS }}", "eos_token}}")], "<s>", "</s>"),
    "mistral-v0.1": ([MISTRAL.replace("EOS", "eos_token + ' '")], "<s>", "</s>"),
    "gemma": (["{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
               "{% for message in messages %}" + ALTERNATE + "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
               "{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
               "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"], "<bos>", "<eos>"),
}
# The same, with the models whose templates are read from files, and what apply_chat_template is told. Qwen3's answers come without thoughts. Llama 3.2's
# template asks for today's date; without a clock it takes the one that is given here, which is all that Llama 3.1's knows.
PUBLISHED = {
    "qwen3": (["Qwen3-8B", "Qwen3-0.6B"], None, "<|im_end|>", {"enable_thinking": False}),
    "qwen2.5": (["Qwen2.5-7B-Instruct", "Qwen2.5-Coder-1.5B-Instruct"], None, "<|im_end|>", {}),
    "llama-3.1": (["Llama-3.1-8B-Instruct", "Llama-3.2-3B-Instruct"], "<|begin_of_text|>", "<|eot_id|>", {"date_string": "26 Jul 2024"}),
}
S, U, A = "system", "user", "assistant"
CONVERSATIONS = [
    [(U, "Which river is the longest?")],
    [(U, "Which river is the longest?"), (A, "The Nile, by most accounts.")],
    [(S, "Answer in one word."), (U, "Which river?"), (A, "Nile")],
    [(S, "  Spaces stay \n"), (U, " \t\u00a0\x1c in \u3000 and out\u2003\n"), (A, "\n\nline\none  "), (U, ""), (A, " "), (U, "'quoted' {{ braces }} {% if %}")],
    [(U, "a"), (A, "b"), (U, "c"), (A, "d"), (U, "e")],
    [(U, "\u5ddd \U0001f30a e\u0301"), (A, "<|im_end|></s>[INST]")],
    [(A, "I begin."), (U, "No.")],
    [(U, "twice"), (U, "asked")],
    [(U, "a"), (A, "b"), (A, "c")],
    [(S, "one"), (S, "two"), (U, "x")],
    [(U, "a"), (S, "late"), (U, "b")],
    [(S, "x"), (A, "y")],
]
THOUGHTS = [   # of a format that knows them
    [(U, "a"), (A, "<think>\nfirst\n\nthen\n</think>\n\nb")],
    [(U, "a"), (A, "<think>\nhm\n</think>\n\nb"), (U, "c"), (A, "\n\nd")],
    [(U, "a"), (A, "<think>x</think>b</think>\nc"), (U, "d")],
    [(U, "a"), (A, "no opening</think>b"), (A, "<think>\n\n</think>\n\nc")],
    [(U, "a"), (A, "<think>x</think>b"), (U, "<tool_response>\n7\n</tool_response>"), (A, "c")],
]


def spellings(template):
    """With the line ends inside literals as they are, and as \\n."""
    escaped = re.sub(r"'[^']*'", lambda m: m.group(0).replace("\n", "\\n"), template)
    return list(dict.fromkeys([template, escaped]))


def render(template, bos, eos, turns, prompt, **settings):
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token=bos, eos_token=eos)
    try:
        return tokenizer.apply_chat_template([{"role": r, "content": c} for r, c in turns], chat_template=template, tokenize=False, add_generation_prompt=prompt,
                                             **settings)
    except jinja2.exceptions.TemplateError:
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--digests", action="store_true")
    parser.add_argument("--published", required=True, type=pathlib.Path)
    args = parser.parse_args()
    formats = {name: (list(dict.fromkeys(s for t in templates for s in spellings(t))), bos, eos, {}) for name, (templates, bos, eos) in FORMATS.items()}
    for name, (sources, bos, eos, settings) in PUBLISHED.items():
        formats[name] = ([(args.published / f"{model}.jinja").read_bytes().decode() for model in sources], bos, eos, settings)
    rows = []
    for name, (texts, bos, eos, settings) in formats.items():
        # Gemma's template refuses a system turn at the start only, and would write a turn of that name later; Graft refuses it everywhere.
        conversations = [c for c in CONVERSATIONS + (THOUGHTS if name == "qwen3" else []) if name != "gemma" or c[0][0] == S or all(r != S for r, _ in c)]
        cases = []
        for turns in conversations:
            for prompt in (False, True):
                found = {render(t, bos, eos, turns, prompt, **settings) for t in texts}
                # Two spellings that differ here: the turn is one that only some templates know, and Graft refuses it.
                text = found.pop() if len(found) == 1 else None
                cases.append({"turns": turns, "prompt": prompt, **({"refused": True} if text is None else {"text": text})})
        digests = [hashlib.sha256(t.encode()).hexdigest() for t in texts]
        rows.append({"format": name, **({"digests": digests} if name in PUBLISHED else {"templates": texts}), "cases": cases})
        if args.digests:
            print(name, json.dumps(digests))
    with open(args.out, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, ensure_ascii=True, separators=(",", ":")) for r in rows) + "\n]\n")


if __name__ == "__main__":
    main()
