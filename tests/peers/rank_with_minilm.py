#!/usr/bin/env python3
"""Ranks chunks for queries with an implementation of all-MiniLM-L6-v2 that shares no code with Satchel.

    pip install numpy safetensors
    python3 rank_with_minilm.py FOLDER-WITH-MODEL < chunks.json > ranking.json

Reads {"chunks": [text, …], "queries": [text, …], "limit": n} and prints, for each query, the numbers of the
nearest chunks by cosine similarity, nearest first. The model is the recipe of models/tests/fixtures.
"""
import importlib.util
import json
import pathlib
import sys

import numpy as np
from safetensors.numpy import load_file

recipe = pathlib.Path(__file__).parents[2] / "models/tests/fixtures/minilm_vectors.py"
spec = importlib.util.spec_from_file_location("minilm", recipe)
minilm = importlib.util.module_from_spec(spec)
spec.loader.exec_module(minilm)


def main():
    folder = sys.argv[1]
    weights = {name: np.asarray(x, np.float32) for name, x in load_file(f"{folder}/model.safetensors").items()}
    with open(f"{folder}/vocab.txt", encoding="utf-8") as file:
        vocabulary = {line.rstrip("\n"): number for number, line in enumerate(file)}

    def embed(text):
        ids = minilm.token_ids(text, vocabulary)
        if len(ids) > minilm.MAX_TOKENS:  # as the model would be used: its window, closed by [SEP]
            ids = ids[: minilm.MAX_TOKENS - 1] + ids[-1:]
        vector = minilm.token_vectors(np.array(ids), weights).mean(0)
        return vector / np.linalg.norm(vector)

    task = json.load(sys.stdin)
    chunks = np.stack([embed(text) for text in task["chunks"]])
    ranking = []
    for query in task["queries"]:
        similarity = chunks @ embed(query)
        ranking.append(np.argsort(-similarity, kind="stable")[: task["limit"]].tolist())
    json.dump(ranking, sys.stdout)


main()
