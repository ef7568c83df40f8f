# Everything a person does with this repository. Start with `make run`; `make help` lists the rest.
#
# Every target can be interrupted at any moment and started again: what was done is kept.
# All cargo commands take the whole workspace, one profile and the committed Cargo.lock, so that
# LanceDB and llama.cpp are compiled once and serve `run`, `test` and `bench` alike.

# Outside the clone: clones share the time that the third-party crates take, most of an hour on two cores.
# Two clones cannot mistake each other's crates: see .cargo/config.toml.
CARGO_TARGET_DIR ?= $(HOME)/.cache/satchel/target
export CARGO_TARGET_DIR
# rustup's usual place, for a shell that was opened before it was installed.
export PATH := $(PATH):$(HOME)/.cargo/bin
# With this variable set, llama.cpp's build script leaves out every SIMD instruction.
unexport SOURCE_DATE_EPOCH

SATCHEL := $(CARGO_TARGET_DIR)/debug/satchel
# `make run FEATURES=cuda` (or rocm): a driver beside Vulkan's; the maker's compiler must be installed.
FEATURES ?=
WORKSPACE := --locked --workspace $(if $(FEATURES),--features "$(addprefix satchel-app/,$(FEATURES))")

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test bench eval templates lint clean clean-all build

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  Build folder: $(CARGO_TARGET_DIR) (set CARGO_TARGET_DIR to move it)"

run: ## Set everything up and open Satchel (in the terminal where there is no display)
	@packaging/system-packages.sh run
	@$(MAKE) --no-print-directory build
	@packaging/starter-models.sh "$(SATCHEL)" || test $$? -eq 1
	@packaging/start.sh "$(SATCHEL)"

test: ## Set everything up and run every test
	@echo "==> 1/4 System packages"
	@packaging/system-packages.sh test
	@packaging/test.sh "$(SATCHEL)"

# --bins: without it cargo would also compile what only the tests use.
build: ## Build the programs, nothing else
	@packaging/cargo.sh build $(WORKSPACE) --bins

# The harness of every bench is a plain program with a main function: `make bench BENCH=inference` runs one.
# `eval` is one, too: it needs the same, and `make bench` would take three times as long with it.
EMBEDDER_SOURCE := $(CARGO_TARGET_DIR)/test-data/all-MiniLM-L6-v2
BENCH ?= import_search reindex embedding inference waiting window sync edge
bench: ## Measure speed (BENCH=name for one of them)
	@packaging/system-packages.sh test
	@$(MAKE) --no-print-directory build
	@packaging/starter-models.sh "$(SATCHEL)" "$(EMBEDDER_SOURCE)"
	@SATCHEL_BENCH_EMBEDDER_DIR="$(EMBEDDER_SOURCE)" \
	  packaging/cargo.sh bench $(WORKSPACE) --profile dev $(addprefix --bench ,$(BENCH))

eval: ## Measure how well it searches, answers and refuses (a table; see tests/EVALUATION.md)
	@$(MAKE) --no-print-directory bench BENCH=eval

# The templates belong to the makers of the models: they are fetched, never committed.
TEMPLATES := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/satchel/chat-templates
templates: ## Compare how prompts are laid out with Python's Jinja, for the templates of some 70 models
	@packaging/system-packages.sh test
	@packaging/templates.sh "$(TEMPLATES)"
	@SATCHEL_CHAT_TEMPLATES="$(TEMPLATES)/templates" SATCHEL_CHAT_GOLDEN="$(TEMPLATES)/golden.json" \
	  packaging/cargo.sh test $(WORKSPACE) --lib real_templates -- --nocapture

# Not part of `make test`: clippy and rustdoc check all 900 third-party crates once more, some ten
# minutes on two cores the first time.
lint: ## Check format, lints, documentation; spelling and licences where typos and cargo-deny are installed
	@packaging/system-packages.sh build
	cargo fmt --all --check
	packaging/cargo.sh clippy $(WORKSPACE) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" packaging/cargo.sh doc $(WORKSPACE) --no-deps --document-private-items
	@if command -v shellcheck >/dev/null; then shellcheck packaging/*.sh .ci/run; else echo "shellcheck is not installed: skipped"; fi
	@if command -v typos >/dev/null; then typos; else echo "typos is not installed: skipped"; fi
	@if command -v cargo-deny >/dev/null; then cargo deny --locked check bans licenses sources; else echo "cargo-deny is not installed: skipped ('make test' checks licences and bans too)"; fi

clean: ## Remove what was built from this repository's own code
	cargo clean --locked --workspace

clean-all: ## Remove the whole build folder, third-party crates included (most of an hour to build again)
	cargo clean
