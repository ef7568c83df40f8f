#!/usr/bin/env bash
# Fetches onnxruntime, which computes embedders three times as fast as llama.cpp does: prints NAME=VALUE lines for `env`.
#
#   packaging/onnxruntime.sh FOLDER
#
# The library is the one in its makers' Python package, checked by pip against the hashes below, and kept in FOLDER.
# Where it cannot be had, the build goes on without, and this says so: embeddings then come from llama.cpp.
set -u

folder=${1:?usage: packaging/onnxruntime.sh FOLDER}
version=1.32.0
hashes=(
  d52510bbbcc880c13b826f7d75cdf33ac5cf0bb864d960000fc29ce73f0cb83e # macOS, Apple processors
  e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054 # Linux, aarch64
  99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8 # Linux, x86-64
)

say() { printf '%s\n' "$*" >&2; }

without() {
  say "Building without onnxruntime, so embedding takes three times as long: $1"
  exit 0
}

case "$(uname -sm)" in
  'Linux x86_64') platform=manylinux_2_28_x86_64 name=libonnxruntime.so ;;
  'Linux aarch64') platform=manylinux_2_28_aarch64 name=libonnxruntime.so ;;
  'Darwin arm64') platform=macosx_14_0_arm64 name=libonnxruntime.dylib ;;
  *) without 'there is none for this machine.' ;;
esac

library=$folder/$version/$name
if [ ! -f "$library" ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/satchel-onnxruntime.XXXXXX") || without 'no folder for it can be made.'
  trap 'rm -rf "$work"' EXIT
  {
    printf 'onnxruntime==%s' "$version"
    printf ' --hash=sha256:%s' "${hashes[@]}"
    echo
  } >"$work/wanted.txt"
  say "Downloading onnxruntime $version for embeddings (20 MB)."
  # The library is the same in the packages for every version of Python.
  python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes --python-version 3.12 \
    --implementation cp --abi cp312 --platform "$platform" -d "$work" -r "$work/wanted.txt" >&2 ||
    without 'it could not be downloaded (the reason is above).'
  mkdir -p "$folder/$version"
  python3 - "$work" "$library" <<'PYTHON' || without 'its package is not as expected.'
import pathlib, re, shutil, sys, zipfile

wheel = next(pathlib.Path(sys.argv[1]).glob("onnxruntime-*.whl"))
library = pathlib.Path(sys.argv[2])
with zipfile.ZipFile(wheel) as package:
    pattern = r"onnxruntime/capi/libonnxruntime\.(so\.[0-9.]+|[0-9.]+\.dylib|dylib)"
    [name] = [name for name in package.namelist() if re.fullmatch(pattern, name)]
    fresh = library.with_suffix(".fresh")
    with package.open(name) as source, fresh.open("wb") as copy:
        shutil.copyfileobj(source, copy)
fresh.rename(library)
PYTHON
fi
echo "SATCHEL_ONNXRUNTIME=$library"
