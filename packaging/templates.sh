#!/usr/bin/env bash
# Fetches the chat templates of the common models, and has Python's Jinja render them.
#
#   packaging/templates.sh FOLDER
#
# FOLDER/templates and FOLDER/golden.json lie there afterwards, for the test that `make templates` runs.
# The templates are in the Python package llama-cpp-python, as source; jinja2 comes as a package, too, and is put
# into FOLDER where the machine has none of its own. Nothing goes into the repository.
set -euo pipefail

folder=${1:?usage: $0 FOLDER}
version=0.3.36
jinja=3.1.6
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

mkdir -p "$folder"
scratch=''
trap '[ -z "$scratch" ] || rm -rf "$scratch"' EXIT
templates=$folder/templates-$version
if [ ! -d "$templates" ]; then
  scratch=$(mktemp -d "$folder/fetch.XXXXXX")
  echo "Fetching chat templates (llama-cpp-python $version, 73 MiB) …"
  python3 -m pip download --quiet --no-deps --no-binary llama-cpp-python -d "$scratch" "llama-cpp-python==$version"
  mkdir "$scratch/templates"
  tar -xzf "$scratch"/llama_cpp_python-*.tar.gz -C "$scratch/templates" --wildcards --strip-components=5 \
    '*/vendor/llama.cpp/models/templates/*.jinja'
  mv "$scratch/templates" "$templates"
fi
ln -sfn "templates-$version" "$folder/templates"

export PYTHONPATH=$folder/python-$jinja${PYTHONPATH:+:$PYTHONPATH}
if ! python3 -c 'import jinja2' 2>/dev/null; then
  echo "Fetching jinja2 $jinja …"
  python3 -m pip install --quiet --target "$folder/python-$jinja" "jinja2==$jinja"
fi
python3 "$here/golden_templates.py" "$folder/templates" "$folder/golden.json"
