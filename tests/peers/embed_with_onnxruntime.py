#!/usr/bin/env python3
"""Embeds texts with all-MiniLM-L6-v2 on onnxruntime, as fast as that goes, and says how long it took.

    pip install numpy safetensors onnx onnxruntime
    python3 embed_with_onnxruntime.py FOLDER-WITH-MODEL THREADS < texts.json > seconds.json

Reads [text, …] and prints {"tokens": n, "f32": seconds, "int8": seconds, "f32_vectors": …, "int8_vectors": …}.
int8 is onnxruntime's dynamic quantisation. Each text goes alone: batches need padding and are slower on few cores.
Splitting into tokens is not counted, loading neither. Of one session with all threads and one session for each
thread the faster one is taken. The graph is the one of models/tests/fixtures/minilm_vectors.py.
"""
import concurrent.futures
import importlib.util
import json
import pathlib
import sys
import tempfile
import time

import numpy as np
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import load_file

recipe = pathlib.Path(__file__).parents[2] / "models/tests/fixtures/minilm_vectors.py"
spec = importlib.util.spec_from_file_location("minilm", recipe)
minilm = importlib.util.module_from_spec(spec)
spec.loader.exec_module(minilm)


def session(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def embed(session, ids):
    vector = session.run(None, {"ids": ids, "positions": np.arange(len(ids))})[0].mean(0)
    return vector / np.linalg.norm(vector)


def measure(model, inputs, threads):
    """Seconds for all of them, and their vectors."""
    together, alone = session(model, threads), [session(model, 1) for _ in range(threads)]

    def one_after_another():
        return [embed(together, ids) for ids in inputs]

    def side_by_side():
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            parts = pool.map(lambda n: [embed(alone[n], ids) for ids in inputs[n::threads]], range(threads))
            vectors = [None] * len(inputs)
            for n, part in enumerate(parts):
                vectors[n::threads] = part
            return vectors

    best, vectors = float("inf"), None
    for way in (one_after_another, side_by_side, one_after_another, side_by_side):
        begin = time.perf_counter()
        vectors = way()
        best = min(best, time.perf_counter() - begin)
    return best, [vector.tolist() for vector in vectors]


def main():
    folder, threads = sys.argv[1], int(sys.argv[2])
    weights = {name: np.asarray(x, np.float32) for name, x in load_file(f"{folder}/model.safetensors").items()}
    with open(f"{folder}/vocab.txt", encoding="utf-8") as file:
        vocabulary = {line.rstrip("\n"): number for number, line in enumerate(file)}
    inputs = [np.array(minilm.token_ids(text, vocabulary)) for text in json.load(sys.stdin)]
    answer = {"tokens": sum(map(len, inputs))}
    with tempfile.TemporaryDirectory() as scratch:
        whole, small = f"{scratch}/f32.onnx", f"{scratch}/int8.onnx"
        pathlib.Path(whole).write_bytes(minilm.onnx_model(weights))
        quantize_dynamic(whole, small, weight_type=QuantType.QInt8)
        for name, model in (("f32", whole), ("int8", small)):
            answer[name], answer[name + "_vectors"] = measure(model, inputs, threads)
    json.dump(answer, sys.stdout)


main()
