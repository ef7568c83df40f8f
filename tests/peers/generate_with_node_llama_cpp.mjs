// Reads a prompt and writes an answer with node-llama-cpp's prebuilt llama.cpp, and says how fast.
//
//   npm install --ignore-scripts --omit=optional node-llama-cpp @node-llama-cpp/linux-x64
//   node generate_with_node_llama_cpp.mjs FOLDER-WITH-NODE-MODULES MODEL THREADS PROMPT-TOKENS OUTPUT-TOKENS
//
// Prints {"prompt": tokens per second, "output": tokens per second}. As `llama-bench -p 512` and `-n 128 -d 512`: the
// words are invented, the same token may come again, and nothing but computing and choosing the likeliest is counted.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, modelPath, threads, promptTokens, outputTokens] = process.argv.slice(2);
const require = createRequire(`${folder}/node_modules/`);
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(require.resolve("node-llama-cpp")));

const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath });
const context = await model.createContext({
  contextSize: 2048, batchSize: 512, threads: Number(threads), flashAttention: true,
});
const sequence = context.getSequence();
const invented = (count) => Array.from({ length: count }, (_, n) => 1000 + ((n * 7919) % 40000));

await sequence.evaluateWithoutGeneratingNewTokens(invented(8));
await sequence.clearHistory();
let begin = performance.now();
await sequence.evaluateWithoutGeneratingNewTokens(invented(Number(promptTokens)));
const promptMs = performance.now() - begin;

let written = 0;
begin = performance.now();
for await (const token of sequence.evaluate([100], { temperature: 0, yieldEogToken: true })) {
  written += 1;
  if (written === Number(outputTokens) || token === undefined) break;
}
const outputMs = performance.now() - begin;
console.log(JSON.stringify({ prompt: (promptTokens * 1000) / promptMs, output: (written * 1000) / outputMs, written }));
process.exit(0);
