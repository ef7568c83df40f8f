#!/usr/bin/env bash
# Builds, obtains the starter models, and runs every test of the workspace. `make test` calls it.
#
#   packaging/test.sh PATH-OF-SATCHEL
#
# Needs CARGO_TARGET_DIR, which the Makefile sets. Leaves nothing behind outside the build folder,
# the folder of models and the temporary folder of whoever kills it with -9.
set -euo pipefail

satchel=$1
workspace=(--locked --workspace)

# Clones that share the build folder also share the place of the finished program, and the tests
# start that program: one `make test` at a time. The lock goes with its holder, however that ends.
if [ -z "${SATCHEL_TEST_LOCKED:-}" ] && command -v flock >/dev/null; then
  mkdir -p "$CARGO_TARGET_DIR"
  lock=$CARGO_TARGET_DIR/satchel-test.lock
  flock --nonblock "$lock" true || echo "Another 'make test' uses $CARGO_TARGET_DIR; waiting for it."
  SATCHEL_TEST_LOCKED=1 exec flock --close "$lock" "$0" "$@"
fi

# Fetches the sources of all systems, not of this one alone: the tests read every crate's licence.
echo "==> 2/4 Sources and build"
cargo fetch --locked
packaging/cargo.sh build "${workspace[@]}" --bins

echo "==> 3/4 Starter models"
embedder_source=$CARGO_TARGET_DIR/test-data/all-MiniLM-L6-v2
packaging/starter-models.sh "$satchel" "$embedder_source"
export SATCHEL_TEST_EMBEDDER_DIR=$embedder_source

# Sockets live in the runtime folder, which a service or a container does not always have.
runtime=''
if [ -z "${XDG_RUNTIME_DIR:-}" ] || [ ! -w "$XDG_RUNTIME_DIR" ]; then
  runtime=$(mktemp -d "${TMPDIR:-/tmp}/satchel-runtime.XXXXXX")
  trap 'rm -rf "$runtime"' EXIT
  export XDG_RUNTIME_DIR=$runtime
fi

echo "==> 4/4 Tests"
# The measurements are not run, but they must compile.
packaging/cargo.sh build "${workspace[@]}" --benches
packaging/cargo.sh test "${workspace[@]}" --no-fail-fast
# Time is simulated there, which takes another tokio than the programs have: see sync/Cargo.toml.
CARGO_TARGET_DIR=$CARGO_TARGET_DIR/turmoil RUSTFLAGS='--cfg satchel_turmoil' \
  cargo test --locked --package satchel-sync --test turmoil
