#!/usr/bin/env bash
# Builds the peer that `make bench` compares with: llama.cpp's own llama-bench.
#
#   packaging/bench-peers.sh TARGET-DIR
#
# Its source is in the Python package llama-cpp-python; it is compiled against the very headers and libraries
# that Satchel uses, so that both run the same CPU code and only Satchel's own share differs.
# Prints the path of llama-bench. Nothing goes into the repository.
set -euo pipefail

target=${1:?usage: $0 TARGET-DIR}
version=0.3.36
cache=${XDG_CACHE_HOME:-$HOME/.cache}/satchel/peers
bench=$cache/llama-bench-$version
source=$bench/source
bin=$bench/bin

mkdir -p "$source" "$bin"
if [ ! -f "$source/llama-bench.cpp" ]; then
  scratch=$(mktemp -d "$cache/fetch.XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
  echo "Fetching the source of llama-bench (llama-cpp-python $version, 73 MiB) …" >&2
  python3 -m pip download --quiet --no-deps --no-binary llama-cpp-python -d "$scratch" "llama-cpp-python==$version" >&2
  tar -xzf "$scratch"/llama_cpp_python-*.tar.gz -C "$scratch" --wildcards --strip-components=5 \
    '*/vendor/llama.cpp/tools/llama-bench/*.cpp'
  mv "$scratch/main.cpp" "$source/main.cpp"
  mv "$scratch/llama-bench.cpp" "$source/llama-bench.cpp"
  rm -rf "$scratch"
fi

# The headers of the llama.cpp that was built into Satchel.
tree=$(cargo metadata --locked --format-version 1 --no-deps >/dev/null &&
  cargo metadata --locked --format-version 1 |
  python3 -c 'import json,os,sys; print(next(os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"]=="llama-cpp-sys-2"))')/llama.cpp

# Libraries and CPU variants as they lie beside the program; fresh links, since a build may have replaced them.
find "$bin" -type l -delete
for library in "$target"/debug/lib*.so.0 "$target"/debug/backends/libggml-*.so; do
  [ -e "$library" ] && ln -s "$library" "$bin/"
done
if [ ! -x "$bin/llama-bench" ] || [ "$bin/libllama.so.0" -nt "$bin/llama-bench" ]; then
  echo "Compiling llama-bench …" >&2
  g++ -std=c++17 -O2 -I"$tree/common" -I"$tree/include" -I"$tree/ggml/include" -I"$tree/vendor" \
    "$source/main.cpp" "$source/llama-bench.cpp" -o "$bin/llama-bench" \
    "$bin/libllama-common.so.0" "$bin/libllama.so.0" "$bin/libggml.so.0" "$bin/libggml-base.so.0" \
    "-Wl,-rpath,\$ORIGIN" -pthread
fi
echo "$bin/llama-bench"
