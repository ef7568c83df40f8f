#!/usr/bin/env bash
# cargo, told how llama.cpp is to be built on this machine: with or without Vulkan (see vulkan.sh), with or without
# onnxruntime beside it (see onnxruntime.sh).
#
#   packaging/cargo.sh build --workspace …
#
# The Makefile calls it. Plain cargo works as well; it builds without both, and going from one to the other compiles
# llama.cpp anew.
set -eu

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/satchel/target}
settings=()
while IFS= read -r setting; do
  settings+=("$setting")
done < <(
  here=$(dirname "${BASH_SOURCE[0]}")
  "$here/vulkan.sh" "$CARGO_TARGET_DIR/vulkan-headers"
  "$here/onnxruntime.sh" "$CARGO_TARGET_DIR/onnxruntime"
)
exec env "${settings[@]}" cargo "$@"
