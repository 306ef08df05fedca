#!/usr/bin/env bash
# make bench: speed and memory of Graft beside its peers, on the same real rows, in turn. Figures go to bench/results/*.json.
#
#   bench/run.sh [FOLDER]     FOLDER holds SST-2, RTE and CoLA, each with train.tsv and dev.tsv, as GLUE ships them (default: $GRAFT_GLUE_DIR)
#
# With $GRAFT_ARITHMETIC_DIR (LLM-Adapters' arithmetic sets) decoders come first; $GRAFT_COMMONSENSE_DIR and $GRAFT_NLG_DIR add their real runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
GLUE=${1:-${GRAFT_GLUE_DIR:-}}
if [[ -z $GLUE || ! -e $GLUE/SST-2/train.tsv ]]; then
  echo "bench: error: expected a folder with SST-2/train.tsv and RTE/train.tsv as GLUE ships them; give it as GRAFT_GLUE_DIR=... make bench" >&2
  exit 2
fi
cmake --build --preset release --target bench_gemm_limit gguf_dump
if [[ -n ${GRAFT_ARITHMETIC_DIR:-} ]]; then
  .venv-peers/bin/python bench/decoders.py --arithmetic "$GRAFT_ARITHMETIC_DIR" --rounds 3 --out bench/results
fi
if [[ -n ${GRAFT_COMMONSENSE_DIR:-} && -n ${GRAFT_NLG_DIR:-} ]]; then
  .venv-peers/bin/python bench/decoder_runs.py --commonsense "$GRAFT_COMMONSENSE_DIR" --nlg "$GRAFT_NLG_DIR" --out bench/results
fi
.venv-peers/bin/python bench/compare.py --glue "$GLUE" --out bench/results
exec .venv-peers/bin/python bench/methods.py --glue "$GLUE" --out bench/results   # hours; --only speed alone: half an hour
