// Runs an ONNX file in onnxruntime-web, as a browser would: node run.mjs MODEL TYPE DIMENSIONS INPUT OUTPUT...
// INPUT and each OUTPUT are files of plain numbers; the outputs are float32, in the order of the model's.
import { readFile, writeFile } from "node:fs/promises";
import * as ort from "onnxruntime-web/wasm";

const [model, type, dimensions, input, ...outputs] = process.argv.slice(2);
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(await readFile(model), { executionProviders: ["wasm"] });
const bytes = new Uint8Array(await readFile(input));
const values = type === "float32" ? new Float32Array(bytes.buffer) : bytes;
const given = new ort.Tensor(type, values, dimensions.split(",").map(Number));
const found = await session.run({ [session.inputNames[0]]: given });
for (const [i, path] of outputs.entries()) await writeFile(path, await found[session.outputNames[i]].getData());
