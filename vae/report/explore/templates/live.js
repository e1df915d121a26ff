"use strict";
// Models that run in the browser: what they make of a drawing, and of any code.
const LIVE = DATA.live;
const IMAGES = STUDIES[0].images;
const [HEIGHT, WIDTH] = IMAGES.shape.slice(-2);
const CHANNELS = IMAGES.shape.length === 3 ? IMAGES.shape[0] : 1;
const PIXELS = HEIGHT * WIDTH * CHANNELS;
const PAPER = 280;       // sides of the canvas to draw on
const DRAWS = 3;         // draws of a code that are shown
const AVERAGED = 16;     // and that losses are means of
const SPREAD = d3.range(-3, 3.1, 1);
const KEPT = 120;        // models that stay loaded

// --- Models ----------------------------------------------------------------------------------------------------------
async function inflated(base64) {
  return new Response(new Blob([bytes(base64)]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}
async function fetched(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.arrayBuffer();
}
const place = model => STUDIES.indexOf(model.study);
const packed = model => LIVE.packed?.[`${place(model)}/${model.label}.${model.seed}`];
const alike = model => String(model.study.images.shape) === String(IMAGES.shape);  // it takes the images of this page
const runnable = model => model != null && model.status === "ok" && alike(model) && (LIVE.packed ? packed(model) != null : true);
ort.env.wasm.numThreads = 1;
const started = (LIVE.packed ? inflated(LIVE.wasm) : fetched(LIVE.wasm)).then(wasm => { ort.env.wasm.wasmBinary = wasm; });
const sessions = new Map();
function session(model, side) {
  const key = `${model.key} ${side}`;
  if (!sessions.has(key)) {
    if (sessions.size >= 2 * KEPT) { const [oldest, old] = sessions.entries().next().value; sessions.delete(oldest); old.then(each => each.release()).catch(() => {}); }
    sessions.set(key, started.then(async () => {
      const graph = packed(model) ? await inflated(packed(model)[side]) : await fetched(`${LIVE.models}${place(model)}/${model.label}.${model.seed}/${side}.onnx`);
      return ort.InferenceSession.create(new Uint8Array(graph), { executionProviders: ["wasm"] });
    }));
  }
  return sessions.get(key);
}
async function encode(model, pixels) {
  const one = await session(model, "encoder");
  const found = await one.run({ [one.inputNames[0]]: new ort.Tensor("uint8", pixels, [pixels.length / PIXELS, ...IMAGES.shape]) });
  const [mean, logVariance] = one.outputNames.map(name => found[name].data);
  return { mean, logVariance };
}
async function decode(model, codes) {
  const one = await session(model, "decoder");
  const found = await one.run({ [one.inputNames[0]]: new ort.Tensor("float32", codes, [codes.length / model.latent_size, model.latent_size]) });
  return found[one.outputNames[0]].data;
}
// Standard normal numbers, the same at every visit (mulberry32, Box & Muller).
function normal(count, seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}
// -log p(x|z) of a pixel, by the likelihood that the model was trained with, as vae.training.objective has it.
function nats(model) {
  const { likelihood, sigma } = { ...model.study.objective, ...(model["objective.likelihood"] && { likelihood: model["objective.likelihood"] }), ...(model["objective.sigma"] && { sigma: model["objective.sigma"] }) };
  if (likelihood === "gaussian") return (x, mean) => ((x - mean) / sigma) ** 2 / 2 + Math.log(sigma) + Math.log(2 * Math.PI) / 2;
  return (x, probability) => {
    const p = Math.min(Math.max(probability, 1e-7), 1 - 1e-7);
    return -x * Math.log(p) - (1 - x) * Math.log(1 - p);
  };
}
async function answer(model, pixels) {
  const { mean, logVariance } = await encode(model, pixels);
  const size = model.latent_size, noise = normal(AVERAGED * size, 1);
  const codes = new Float32Array((AVERAGED + 1) * size);
  codes.set(mean);
  for (let i = 0; i < AVERAGED * size; i++) codes[size + i] = mean[i % size] + Math.exp(logVariance[i % size] / 2) * noise[i];
  const images = await decode(model, codes);
  const cost = nats(model);
  let distortion = 0;
  for (let i = PIXELS; i < images.length; i++) distortion += cost(pixels[i % PIXELS] / 255, images[i]);
  const klds = Array.from(mean, (m, i) => (m * m + Math.exp(logVariance[i]) - 1 - logVariance[i]) / 2);
  return { mean, logVariance, images, distortion: distortion / AVERAGED, klds, kld: d3.sum(klds) };
}

// --- Pictures --------------------------------------------------------------------------------------------------------
function canvas(width, height, attributes = {}) { return element("canvas", { width, height, ...attributes }); }
// Probabilities of an image as a picture.
function paint(target, values, offset = 0) {
  const context = target.getContext("2d"), picture = context.createImageData(WIDTH, HEIGHT), plane = HEIGHT * WIDTH;
  for (let i = 0; i < plane; i++) {
    for (let channel = 0; channel < 3; channel++) picture.data[4 * i + channel] = 255 * values[offset + (CHANNELS === 1 ? 0 : channel * plane) + i];
    picture.data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
  return target;
}
const image = (values, offset, attributes) => paint(canvas(WIDTH, HEIGHT, { class: "image", ...attributes }), values, offset);
function pixelsOf(source) {
  const { data } = source.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, WIDTH, HEIGHT), plane = HEIGHT * WIDTH;
  const pixels = new Uint8Array(PIXELS);
  for (let i = 0; i < plane; i++)
    if (CHANNELS === 1) {
      const grey = Math.round(0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]);
      pixels[i] = IMAGES.binarised ? (grey > 127 ? 255 : 0) : grey;
    } else for (let channel = 0; channel < CHANNELS; channel++) pixels[channel * plane + i] = data[4 * i + Math.min(channel, 2)];
  return pixels;
}

// --- Draw ------------------------------------------------------------------------------------------------------------
const paper = canvas(PAPER, PAPER, { class: "paper", "aria-label": "draw here", tabindex: 0 });
const ink = paper.getContext("2d", { willReadFrequently: true });
const seen = canvas(WIDTH, HEIGHT, { class: "image", id: "pixels", "aria-label": "what the models see" });
seen.getContext("2d", { willReadFrequently: true });  // its first context decides
const colour = element("input", { type: "color", value: "#ffffff", "aria-label": "colour" });
// MNIST's habits: the figure fills a box of 20 of 28 pixels, and its centre of mass is that of the image.
const centred = element("input", { type: "checkbox", checked: CHANNELS === 1 && IMAGES.centred, onchange: () => drawn() });
const answers = element("div", { class: "pair" });
const ofSize = element("select", { "aria-label": "latent size of the grid", onchange: () => grid() });
const cells = element("div", { class: "scroll grid", tabindex: 0 });
let pixels = new Uint8Array(PIXELS);
window.seenPixels = () => Array.from(pixels);  // for who wants to compute with them
function clear() { ink.fillStyle = "#000"; ink.fillRect(0, 0, PAPER, PAPER); }
function stroke(from, to) {
  ink.strokeStyle = CHANNELS === 1 ? "#fff" : colour.value;
  ink.lineWidth = PAPER / 13; ink.lineCap = ink.lineJoin = "round";
  ink.beginPath(); ink.moveTo(...from); ink.lineTo(...to); ink.stroke();
}
let last = null;
const at = event => { const box = paper.getBoundingClientRect(); return [(event.clientX - box.left) * PAPER / box.width, (event.clientY - box.top) * PAPER / box.height]; };
paper.addEventListener("pointerdown", event => { paper.setPointerCapture(event.pointerId); last = at(event); stroke(last, last); drawn(); });
paper.addEventListener("pointermove", event => { if (!last) return; const next = at(event); stroke(last, next); last = next; drawn(); });
for (const name of ["pointerup", "pointercancel"]) paper.addEventListener(name, () => { last = null; });
// With the keyboard: arrows move a pen from the middle; with shift it is up.
let pen = [PAPER / 2, PAPER / 2];
paper.addEventListener("keydown", event => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!step) return;
  event.preventDefault();
  const next = pen.map((value, i) => Math.max(0, Math.min(PAPER, value + 14 * step[i])));
  if (!event.shiftKey) { stroke(pen, next); drawn(); }
  pen = next;
});
function placeDrawing() {
  const context = seen.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#000"; context.fillRect(0, 0, WIDTH, HEIGHT);
  context.imageSmoothingEnabled = true; context.imageSmoothingQuality = "high";
  const box = centred.checked ? bounds() : null;
  if (!box) { context.drawImage(paper, 0, 0, WIDTH, HEIGHT); return; }
  const { left, top, width, height } = box;
  const scale = (20 / 28) * Math.min(HEIGHT, WIDTH) / Math.max(width, height);
  // The centre of mass of the figure, in its own box.
  const { data } = ink.getImageData(left, top, width, height);
  let mass = 0, across = 0, down = 0;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) { const grey = data[4 * (y * width + x)]; mass += grey; across += grey * (x + 0.5); down += grey * (y + 0.5); }
  context.drawImage(paper, left, top, width, height, WIDTH / 2 - scale * across / mass, HEIGHT / 2 - scale * down / mass, scale * width, scale * height);
}
function bounds() {
  const { data } = ink.getImageData(0, 0, PAPER, PAPER);
  let [left, top, right, bottom] = [PAPER, PAPER, -1, -1];
  for (let y = 0; y < PAPER; y++) for (let x = 0; x < PAPER; x++) if (data[4 * (y * PAPER + x)] > 64) {
    left = Math.min(left, x); right = Math.max(right, x); top = Math.min(top, y); bottom = Math.max(bottom, y);
  }
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}
function drawn() { placeDrawing(); pixels = pixelsOf(seen); respond(); }
function show(pixelsOfImage) {
  pixels = pixelsOfImage;
  paint(seen, Float32Array.from(pixels, value => value / 255));
  ink.imageSmoothingEnabled = false; ink.drawImage(seen, 0, 0, PAPER, PAPER);
  respond();
}
const sheet = new Image();
sheet.src = IMAGES.sheet;
function testImage(i) {
  const one = canvas(WIDTH, HEIGHT);
  one.getContext("2d", { willReadFrequently: true }).drawImage(sheet, (i % IMAGES.across) * WIDTH, Math.floor(i / IMAGES.across) * HEIGHT, WIDTH, HEIGHT, 0, 0, WIDTH, HEIGHT);
  return pixelsOf(one);
}
let next = 0;
async function opened(file) {
  if (!file) return;
  try {
    const picture = await createImageBitmap(file);
    const side = Math.min(picture.width, picture.height);
    ink.imageSmoothingEnabled = true;
    ink.drawImage(picture, (picture.width - side) / 2, (picture.height - side) / 2, side, side, 0, 0, PAPER, PAPER);
    drawn();
  } catch { note.textContent = "The browser cannot read this file as a picture."; }
}
const note = element("p", { class: "hint", role: "status" });

// One answer at a time; a stroke that comes meanwhile is answered next.
let running = false, waitingFor = false;
async function respond() {
  if (running) { waitingFor = true; return; }
  running = true;
  document.body.dataset.state = "busy";
  const begun = performance.now();
  try {
    note.textContent = "";
    await sides();
    if (cellsOpen.open) await fillGrid();
    await traverse();
  } catch (error) { note.textContent = `The models cannot answer: ${error.message ?? error}`; }
  document.body.dataset.answered = Math.round(performance.now() - begun);
  running = false;
  if (waitingFor) { waitingFor = false; return respond(); }
  document.body.dataset.state = "idle";
}
let codes = {};
async function sides() {
  codes = {};
  const parts = [];
  for (const side of ["a", "b"]) {
    const model = BY_KEY.get(state[side]);
    const holder = element("div", { class: `model ${side}` }, element("h3", {}, element("b", { class: side }, side.toUpperCase()), model?.name ?? "none"));
    parts.push(holder);
    if (!runnable(model)) { holder.append(element("p", { class: "hint" }, LIVE.packed ? "This model is not in this file." : "This model cannot run here: it diverged, or takes other images.")); continue; }
    const found = await answer(model, pixels);
    codes[side] = found.mean;
    holder.append(
      element("div", { class: "row" }, figure("what it sees", image(Float32Array.from(pixels, value => value / 255), 0)), figure("reconstruction", image(found.images, 0, { "data-side": side })),
        ...d3.range(DRAWS).map(i => figure(`draw ${i + 1}`, image(found.images, (i + 1) * PIXELS)))),
      element("dl", {}, element("dt", {}, "distortion of this image"), element("dd", { "data-distortion": found.distortion }, `${shown(found.distortion)} nats`), element("dt", {}, "its rate (KLD)"), element("dd", { "data-kld": found.kld }, `${shown(found.kld)} nats`)),
      dimensions({ klds: [...found.klds].sort((a, b) => b - a), linear: [], size: found.klds.length }));
    holder.dataset.mean = Array.from(found.mean).join(",");
    planes.find(each => each.side === side)?.holder.mark(onPlane(model, found.mean));
  }
  answers.replaceChildren(...parts);
}
const figure = (caption, picture) => element("figure", {}, picture, element("figcaption", {}, caption));
// Where a code lies in the plane of its model, and a code of a place there.
function onPlane(model, code) {
  const { centre, axes, middle, side } = model.details?.plane ?? {};
  if (!axes) return null;
  return axes.map((axis, i) => (d3.sum(axis, (value, j) => value * (code[j] - centre[j])) - middle[i]) / side + 0.5);
}
function fromPlane(model, place) {
  const { centre, axes, middle, side } = model.details.plane;
  const along = place.map((value, i) => (value - 0.5) * side + middle[i]);
  return Float32Array.from(centre, (value, j) => value + axes[0][j] * along[0] + axes[1][j] * along[1]);
}

// --- The grid of all encoders and decoders ---------------------------------------------------------------------------
// Of the study of A, at one latent size: that of A, until another is chosen.
let gridCells = [], gridOf = null;
function grid() {
  const { study, seed, latent_size } = BY_KEY.get(state.a);
  const ofStudy = USABLE.filter(model => model.study === study && runnable(model) && plain(model));
  if (study !== gridOf) {
    const sizes = [...new Set(ofStudy.map(model => model.latent_size))].sort((a, b) => a - b);
    ofSize.replaceChildren(...sizes.map(size => element("option", { value: size, selected: size === latent_size }, String(size))));
    gridOf = study;
  }
  const models = ofStudy.filter(model => model.latent_size === Number(ofSize.value));
  const one = (encoder, decoder) => { const both = models.filter(model => model.encoder === encoder && model.decoder === decoder); return both.find(model => model.seed === seed) ?? both[0]; };
  const deep = (x, y) => x.localeCompare(y, "en", { numeric: true });
  const encoders = [...new Set(models.map(model => model.encoder))].sort(deep), decoders = [...new Set(models.map(model => model.decoder))].sort(deep);
  gridCells = [];
  const rows = encoders.map(encoder => element("tr", {}, element("th", { class: "text" }, encoder), ...decoders.map(decoder => {
    const model = one(encoder, decoder);
    if (!model) return element("td", {}, "–");
    const picture = canvas(WIDTH, HEIGHT, { class: `image${model.collapsed === true ? " dashed" : ""}`, "data-key": model.key });
    gridCells.push({ model, picture });
    return element("td", {}, element("button", { type: "button", title: `${model.name}${model.collapsed === true ? ", collapsed" : ""}: click for A, shift-click for B`, "aria-label": model.name,
      onclick: event => set({ [event.shiftKey ? "b" : "a"]: model.key }) }, picture));
  })));
  cells.replaceChildren(element("table", {}, element("thead", {}, element("tr", {}, element("th", { class: "text" }, "encoder ↓ decoder →"), ...decoders.map(name => element("th", {}, name)))), element("tbody", {}, ...rows)));
  respond();
}
async function fillGrid() {
  for (const { model, picture } of gridCells) {
    const { mean } = await encode(model, pixels);
    paint(picture, await decode(model, mean));
  }
}
const cellsOpen = element("details", { ontoggle: () => { if (cellsOpen.open) grid(); } }, element("summary", {}, "Reconstructions by every encoder and decoder"),
  element("label", {}, "latent size: ", ofSize), element("p", { class: "hint" }, "Each picture is the reconstruction of the drawing by one model; a dashed frame: collapsed, its code carries no information about the image."), cells);

// --- Traverse --------------------------------------------------------------------------------------------------------
const whose = element("select", { "aria-label": "model to traverse", onchange: () => traverse() }, element("option", { value: "a" }, "A"), element("option", { value: "b" }, "B"));
const strips = element("div", { class: "strips" }), large = canvas(WIDTH, HEIGHT, { class: "image large", id: "traversed" });
const between = element("div", { class: "row" }), prior = element("div", { class: "row" });
let code = null, sliders = [], other = 0, priors = 0;
const traversedModel = () => BY_KEY.get(state[whose.value]);
async function traverse() {
  const model = traversedModel();
  traversal.hidden = !runnable(model);
  if (traversal.hidden) return;
  code = Float32Array.from(codes[whose.value] ?? new Float32Array(model.latent_size));
  const order = model.details?.order ?? d3.range(Math.min(10, model.latent_size));
  sliders = order.map((dimension, i) => {
    const input = element("input", { type: "range", min: -4, max: 4, step: 0.05, value: code[dimension], "aria-label": `latent dimension ${dimension + 1}`, oninput: event => { code[dimension] = Number(event.target.value); moved(); } });
    return { dimension, input, pictures: SPREAD.map(() => canvas(WIDTH, HEIGHT, { class: "image small" })), nats: model.details?.klds[i] };
  });
  strips.replaceChildren(...sliders.map(({ dimension, input, pictures, nats }) => element("div", { class: "row" },
    element("label", {}, element("small", {}, `dimension ${dimension + 1}${nats == null ? "" : `, ${shown(nats)} nats`}`), element("br"), input), ...pictures)));
  await moved();
  await interpolate();
}
async function moved() {
  const model = traversedModel(), size = model.latent_size;
  const all = new Float32Array((1 + sliders.length * SPREAD.length) * size);
  all.set(code);
  sliders.forEach(({ dimension }, i) => SPREAD.forEach((value, j) => { const start = (1 + i * SPREAD.length + j) * size; all.set(code, start); all[start + dimension] = value; }));
  const images = await decode(model, all);
  paint(large, images);
  sliders.forEach(({ pictures }, i) => pictures.forEach((picture, j) => paint(picture, images, (1 + i * SPREAD.length + j) * PIXELS)));
}
async function interpolate() {
  const model = traversedModel(), size = model.latent_size, steps = d3.range(0, 1.01, 0.125);
  const { mean } = await encode(model, testImage(other % IMAGES.count));
  const all = Float32Array.from({ length: steps.length * size }, (_, i) => { const t = steps[Math.floor(i / size)]; return (1 - t) * code[i % size] + t * mean[i % size]; });
  const images = await decode(model, all);
  between.replaceChildren(...steps.map((_, i) => image(images, i * PIXELS, {})));
}
async function fromPrior() {
  const model = traversedModel(), count = 9;
  const images = await decode(model, normal(count * model.latent_size, 7 + priors++));
  prior.replaceChildren(...d3.range(count).map(i => image(images, i * PIXELS, {})));
}

// --- On the page -----------------------------------------------------------------------------------------------------
const button = (text, onclick) => element("button", { type: "button", onclick }, text);
const drawing = byId("drawing"), traversal = byId("traversal");
drawing.hidden = false;
drawing.append(element("h2", { id: "of-drawing" }, "Draw, and see the reconstructions by models A and B"),
  element("div", { class: "draw" }, paper, element("div", {},
    element("div", { class: "tools" }, button("clear", () => { clear(); drawn(); }), button("a test image", () => show(testImage(next++ % IMAGES.count))),
      element("label", {}, "a picture: ", element("input", { type: "file", accept: "image/*", onchange: event => opened(event.target.files[0]) })),
      ...(CHANNELS === 1 ? [element("label", { title: "The figure is scaled to 20 of 28 pixels, and its centre of mass put in the middle, as in MNIST" }, centred, " centre it as MNIST does")] : [element("label", {}, "colour: ", colour)])),
    element("p", { class: "hint" }, `Draw with the pointer, or with the arrow keys (shift lifts the pen). The models see ${WIDTH} × ${HEIGHT} pixels${IMAGES.binarised ? ", black and white" : ""}:`), seen, note)),
  answers, cellsOpen);
paper.addEventListener("dragover", event => event.preventDefault());
paper.addEventListener("drop", event => { event.preventDefault(); opened(event.dataTransfer.files[0]); });
traversal.append(element("h2", { id: "of-traversal" }, "Move through the code"), element("p", { class: "hint" }, "Each row changes one latent dimension from −3 to 3, those of most KLD first; the slider sets it."),
  element("label", {}, "of model ", whose), large, strips,
  element("h3", {}, "From the drawing to a test image"), button("another test image", () => { other++; interpolate(); }), between,
  element("h3", {}, "Draws from the prior"), button("draw", fromPrior), prior);
// Drag in a plane to decode the place.
document.addEventListener("plane", async event => {
  const { side, place, holder } = event.detail, model = BY_KEY.get(state[side]);
  if (!runnable(model) || !model.details?.plane.axes) return;
  paint(holder.decoded, await decode(model, fromPlane(model, place)));
  holder.decoded.hidden = false;
});
listeners.push(keys => {
  if (keys.includes("a") && cellsOpen.open && BY_KEY.get(state.a).study !== gridOf) grid();
  else if (keys.includes("a") || keys.includes("b")) respond();
});
document.body.classList.add("live");
clear();
sheet.decode().then(() => show(testImage(next++)));
