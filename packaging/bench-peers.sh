#!/usr/bin/env bash
# Fetches and builds what `make bench` compares with, into the cache; nothing goes into the repository.
#
#   packaging/bench-peers.sh llama-bench TARGET-DIR   prints the path of llama-bench
#   packaging/bench-peers.sh node-llama-cpp           prints a folder with node_modules (needs node 20 and npm)
#   packaging/bench-peers.sh onnxruntime              prints the path of a python that has onnxruntime
#
# llama-bench's source is in the Python package llama-cpp-python; it is compiled against the very headers and libraries
# that Satchel uses, so that both run the same CPU code and only Satchel's own share differs. The other two are what
# people would install instead.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/satchel/peers

node_llama_cpp() {
  local version=3.22.1 folder
  folder=$cache/node-llama-cpp-$version
  if [ ! -f "$folder/done" ]; then
    mkdir -p "$folder"
    echo "Fetching node-llama-cpp $version …" >&2
    (cd "$folder" && npm install --silent --no-audit --no-fund --ignore-scripts --omit=optional --prefix . \
      "node-llama-cpp@$version" "@node-llama-cpp/linux-x64@$version") >&2
    touch "$folder/done"
  fi
  echo "$folder"
}

onnxruntime() {
  local version=1.32.0 folder
  folder=$cache/onnxruntime-$version
  if [ ! -f "$folder/done" ]; then
    echo "Fetching onnxruntime $version …" >&2
    python3 -m venv --clear "$folder" >&2
    "$folder/bin/pip" install --quiet "onnxruntime==$version" onnx numpy safetensors >&2
    touch "$folder/done"
  fi
  echo "$folder/bin/python"
}

llama_bench() {
  local target=$1 version=0.3.36 bench source bin tree library
  bench=$cache/llama-bench-$version
  source=$bench/source
  bin=$bench/bin

  mkdir -p "$source" "$bin"
  if [ ! -f "$source/llama-bench.cpp" ]; then
    scratch=$(mktemp -d "$cache/fetch.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT # of the whole script, so `scratch` is no local variable
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
}

case ${1:-} in
  llama-bench) llama_bench "${2:?usage: $0 llama-bench TARGET-DIR}" ;;
  node-llama-cpp) node_llama_cpp ;;
  onnxruntime) onnxruntime ;;
  *) sed -n '2,/^set/{/^#/p}' "$0" >&2; exit 2 ;;
esac
