"use strict";
// The explore page. One selection, models A and B, is shared by all parts and kept in the URL's fragment.
const DATA = JSON.parse(document.getElementById("data").textContent);
const STUDIES = DATA.studies;
const SEVERAL = STUDIES.length > 1;
const COLUMNS = [...(SEVERAL ? [{ name: "study_name", heading: "study", help: "the folder of its results", numeric: false, first: true }] : []), ...STUDIES[0].columns];
const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "wye", "cross"];

// Elements are made by this alone; text is text, never HTML.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter(child => child != null));
  return made;
}
const byId = id => document.getElementById(id);
const family = network => network.replace(/\d+$/, "");
const shown = value =>
  value == null ? "–" : typeof value === "boolean" ? (value ? "yes" : "no")
  : typeof value !== "number" ? value
  : Number.isInteger(value) ? value.toLocaleString("en") : Number(value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });

const MODELS = STUDIES.flatMap((study, index) => {
  const names = Object.keys(study.rows);
  return study.rows.label.map((_, place) => {
    const model = Object.fromEntries(names.map(name => [name, study.rows[name][place]]));
    Object.assign(model, { study, study_name: study.name });
    model.details = study.details[place];
    model.key = (SEVERAL ? `${index}:` : "") + `${model.label}.${model.seed}`;
    model.name = (SEVERAL ? `${study.name}: ` : "") + `${model.label}, seed ${model.seed}`;
    return model;
  });
});
const BY_KEY = new Map(MODELS.map(model => [model.key, model]));
const NUMERIC = COLUMNS.filter(column => column.numeric);
const COLUMN = Object.fromEntries(COLUMNS.map(column => [column.name, column]));
const heading = name => COLUMN[name]?.heading ?? name;
const SWEPT = COLUMN["objective.beta"] ? "objective.beta" : null;
const BETAS = SWEPT ? [...new Set(MODELS.map(model => model[SWEPT]))].sort((a, b) => a - b) : [];
const FILTERS = ["latent_size", "encoder", "decoder", "seed", "status", ...(SEVERAL ? ["study_name"] : [])]
  .filter(name => new Set(MODELS.map(model => model[name])).size > 1);
const USABLE = MODELS.filter(model => model.status === "ok");
const plain = model => model.label === `L${model.latent_size}_${model.encoder}_${model.decoder}`;  // not of a sweep
// The page opens with the least and the highest −ELBO of models whose pictures are here.
const pictured = USABLE.filter(model => plain(model) && model.details).sort((a, b) => (a.loss ?? Infinity) - (b.loss ?? Infinity));

// --- The state, and its place in the URL -----------------------------------------------------------------------------
const DEFAULTS = {
  a: pictured[0]?.key ?? "", b: pictured.at(-1)?.key ?? "", x: "kld", y: "reconstruction", search: "", sort: "rank", down: "",
  beta: "", columns: COLUMNS.filter(column => column.first).map(column => column.name).slice(0, 14).join(","),
  ...Object.fromEntries(FILTERS.map(name => [`no_${name}`, ""])),
};
let state = read();
function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  const kept = Object.fromEntries(Object.entries(DEFAULTS).map(([key, value]) => [key, given.get(key) ?? value]));
  for (const axis of ["x", "y"]) if (!NUMERIC.some(column => column.name === kept[axis])) kept[axis] = DEFAULTS[axis];
  for (const side of ["a", "b"]) if (!BY_KEY.has(kept[side])) kept[side] = DEFAULTS[side];
  if (!COLUMN[kept.sort]) kept.sort = DEFAULTS.sort;
  return kept;
}
function set(changes) {
  state = { ...state, ...changes };
  const changed = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
  history.replaceState(null, "", changed.length ? `#${new URLSearchParams(changed)}` : location.pathname + location.search);
  render(Object.keys(changes));
}
window.addEventListener("hashchange", () => { state = read(); render(); });
const hidden = name => new Set(state[`no_${name}`].split(",").filter(Boolean));
function filtered() {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  const sets = FILTERS.map(name => [name, hidden(name)]);
  return MODELS.filter(model =>
    sets.every(([name, without]) => !without.has(String(model[name])))
    && words.every(word => model.name.toLowerCase().includes(word)));
}

// --- The card of a model ---------------------------------------------------------------------------------------------
const NUMBERS = ["rank", "reconstruction", "kld", "loss", "active_units", "probe_accuracy", "amortisation_gap"];
const ORDINARY = { width: 300, height: 110, marginLeft: 44, marginBottom: 26, marginTop: 16, style: { fontSize: "10px", background: "transparent" } };
function numbers(model) {
  const rows = NUMBERS.filter(name => model[name] != null)
    .flatMap(name => [element("dt", { title: COLUMN[name]?.help }, heading(name)), element("dd", {}, shown(model[name]))]);
  const list = element("dl", {}, ...rows);
  if (model.status !== "ok") return [element("p", {}, "This model diverged: it has no measures, and cannot be used.")];
  return [list, ...(model.collapsed === true ? [element("p", {}, "Collapsed: its code carries no information about the image.")] : [])];
}
const whole = (low, high) => [...new Set(d3.ticks(low, high, 4).map(Math.round))];
function curve({ history }) {
  const points = history.epoch.flatMap((epoch, i) => history.reconstruction[i] == null ? [] : [{ epoch, nats: history.reconstruction[i] + history.kld[i] }]);
  return Plot.plot({ ...ORDINARY, ariaLabel: "Training curve", x: { label: "epoch", ticks: whole(1, history.epoch.length), tickFormat: "d" }, y: { label: "−ELBO in training", ticks: 4 },
    marks: [Plot.lineY(points, { x: "epoch", y: "nats", stroke: "currentColor" }), Plot.dot(points, { x: "epoch", y: "nats", r: 2, fill: "currentColor" })] });
}
const sized = model => ({ ...model.details, size: model.latent_size });
function warmup({ study: { objective } }) {
  return objective?.kl_warmup ? `; over the first ${Math.round(100 * objective.kl_warmup)}% of the steps the weight of the KLD rises from zero` : "";
}
// The dimensions that say anything, or should by the theory, and at least ten.
function dimensions({ klds, linear, size }) {
  const among = Math.min(klds.length, Math.max(10, ...[klds, linear].map(nats => nats.filter(each => each > 0.01).length + 2)));
  [klds, linear] = [klds.slice(0, among), linear.slice(0, among)];
  const bars = klds.map((nats, i) => ({ dimension: i + 1, nats }));
  const theory = linear.map((nats, i) => ({ dimension: i + 1, nats }));
  return Plot.plot({ ...ORDINARY, ariaLabel: "KLD of every latent dimension", x: { label: among < size ? `latent dimension, sorted; the first ${among} of ${size}` : "latent dimension, sorted", domain: [0.5, klds.length + 0.5], ticks: whole(1, klds.length), tickFormat: "d" }, y: { label: "KLD, nats", ticks: 4, tickFormat: d3.max([...klds, ...linear]) < 0.01 ? ".1e" : undefined },
    marks: [Plot.ruleX(bars, { x: "dimension", y: "nats", stroke: "#0072B2", strokeWidth: Math.max(1, 180 / bars.length) }),
            Plot.line(theory, { x: "dimension", y: "nats", stroke: "currentColor", strokeDasharray: "3 2" }), Plot.ruleY([0])] });
}
// Images in a row, whose height is known before they are there.
function strip({ study: { images } }, what, source, count) {
  const [height, width] = images.shape.slice(-2);
  return source && [element("small", {}, what), element("img", { class: "strip", src: source, alt: what, style: `aspect-ratio:${count * width}/${height};max-width:${3 * count}rem` })];
}
function pictures(model) {
  const { examples, reconstructed } = model.study.images, { reconstructions, samples } = model.details;
  return [strip(model, "test images", examples, reconstructed), strip(model, "reconstructed", reconstructions, reconstructed),
    strip(model, "samples from the prior", samples, 10)].filter(Boolean).flat();
}
const card = byId("card");
let pointer = [0, 0];
for (const name of ["pointerover", "pointermove"]) window.addEventListener(name, event => { pointer = [event.clientX, event.clientY]; }, true);
function showCard(model, x, y) {
  if (!model) { card.hidden = true; return; }
  card.replaceChildren(element("h3", {}, model.name), ...numbers(model));
  if (model.details) card.append(...pictures(model).slice(0, 4), curve(model.details), dimensions(sized(model)));
  card.hidden = false;
  const { width, height } = card.getBoundingClientRect();
  card.style.left = `${Math.max(4, x + 16 + width > innerWidth ? x - width - 16 : x + 16)}px`;
  card.style.top = `${Math.max(4, Math.min(y - height / 2, innerHeight - height - 4))}px`;
}

// --- The scatter -----------------------------------------------------------------------------------------------------
function option(name, chosen) { return element("option", { value: name, selected: name === chosen }, heading(name)); }
function axis(side) {
  const select = element("select", { "aria-label": `${side} axis`, onchange: event => set({ [side]: event.target.value }) },
    ...NUMERIC.map(column => option(column.name, state[side])));
  return element("label", { title: COLUMN[state[side]]?.help }, side === "x" ? "across: " : "up: ", select);
}
function controls() {
  const parts = [axis("x"), axis("y")];
  if (BETAS.length > 1) {
    const at = BETAS.indexOf(Number(state.beta));
    const text = at < 0 ? "β: all" : `β = ${BETAS[at]}`;
    parts.push(element("label", { title: "The weight of the rate: lines join models that differ in it alone" }, `${text} `,
      element("input", { type: "range", min: -1, max: BETAS.length - 1, value: at, "aria-label": "β", "aria-valuetext": text,
        oninput: event => set({ beta: event.target.value < 0 ? "" : String(BETAS[event.target.value]) }) })));
  }
  parts.push(element("label", {}, "search: ", element("input", { type: "search", value: state.search, placeholder: "CNN2 L50", oninput: event => set({ search: event.target.value }) })));
  replaceKeepingFocus(byId("controls"), parts);
}
function filters() {
  replaceKeepingFocus(byId("filters"), FILTERS.map(name => {
    const without = hidden(name);
    const values = [...new Set(MODELS.map(model => model[name]))].sort((a, b) => typeof a === "number" ? a - b : String(a).localeCompare(b, "en", { numeric: true }));
    return element("fieldset", {}, element("legend", {}, heading(name)), ...values.map(value =>
      element("button", { type: "button", "aria-pressed": String(!without.has(String(value))), onclick: () => {
        if (!without.delete(String(value))) without.add(String(value));
        set({ [`no_${name}`]: [...without].join(",") });
      } }, String(value))));
  }));
}
// The same controls with other values: who types in one, or has it under a finger, keeps it.
function replaceKeepingFocus(holder, children) {
  const held = holder.contains(document.activeElement) ? [...holder.querySelectorAll("button, input, select")].indexOf(document.activeElement) : -1;
  const cursor = held >= 0 ? document.activeElement.selectionStart : null;
  holder.replaceChildren(...children);
  if (held < 0) return;
  const again = holder.querySelectorAll("button, input, select")[held];
  again?.focus();
  if (cursor != null && again?.setSelectionRange) again.setSelectionRange(cursor, cursor);
}
const colourOf = model => model.study.colours.families[family(model.encoder)];
const DECODERS = [...new Set(MODELS.map(model => family(model.decoder)))].sort();
function scatter() {
  const holder = byId("scatter");
  const { x, y } = state;
  const models = filtered().filter(model => model[x] != null && model[y] != null);
  const rateAndDistortion = x === "kld" && y === "reconstruction";
  const faint = model => (state.beta !== "" && model[SWEPT] !== Number(state.beta) ? 0.12 : 0.8);
  const width = holder.clientWidth || 800;
  const marks = [Plot.frame({ stroke: "none" })];
  if (rateAndDistortion && models.length) {
    marks.push(...isoLines(models));
    const constant = STUDIES[0].constant;
    if (isNear(constant, models)) marks.push(
      Plot.dot([[0, constant]], { symbol: "times", r: 5, stroke: "currentColor" }),
      Plot.text([[0, constant]], { text: ["constant decoder"], dx: 8, textAnchor: "start", fill: "currentColor" }));
  }
  if (SWEPT && rateAndDistortion) {
    const z = model => `${model.study.name} ${model.latent_size} ${model.encoder} ${model.decoder} ${model.seed}`;
    marks.push(Plot.line([...models].sort((one, other) => one[SWEPT] - other[SWEPT]), { x, y, z, stroke: colourOf, strokeOpacity: 0.35 }));
  }
  const dots = { x, y, ariaLabel: "name", r: model => model.latent_size, symbol: model => family(model.decoder), stroke: colourOf, fill: colourOf, fillOpacity: model => faint(model) * 0.4, strokeOpacity: faint };
  marks.push(Plot.dot(models, dots));
  for (const side of ["a", "b"]) {
    const model = BY_KEY.get(state[side]);
    if (!model || !models.includes(model)) continue;
    marks.push(Plot.dot([model], { x, y, r: 11, stroke: `var(--${side})`, strokeWidth: 2.5 }),
      Plot.text([model], { x, y, text: [side.toUpperCase()], dy: -18, fill: `var(--${side})`, fontWeight: "bold", fontSize: 14 }));
  }
  marks.push(Plot.dot(models, Plot.pointer({ x, y, r: 13, stroke: "currentColor", maxRadius: 30 })));
  const plot = Plot.plot({
    width, height: Math.min(520, Math.max(320, width * 0.6)), marginLeft: 56, grid: true, ariaLabel: `${heading(y)} against ${heading(x)}, a mark for each model`,
    style: { background: "transparent", fontSize: "12px" },
    x: { label: `${heading(x)} →`, nice: true }, y: { label: `↑ ${heading(y)}`, nice: true },
    r: { type: "sqrt", domain: [0, d3.max(MODELS, model => model.latent_size)], range: [2.5, 8] },
    symbol: { domain: DECODERS, range: DECODERS.map((_, i) => SYMBOLS[i % SYMBOLS.length]) }, marks,
  });
  let pointed = null;
  plot.addEventListener("input", () => { pointed = plot.value; showCard(pointed, ...pointer); });
  plot.addEventListener("pointerleave", () => { pointed = null; showCard(null); });
  plot.addEventListener("click", event => { if (pointed) set({ [event.shiftKey ? "b" : "a"]: pointed.key }); });
  holder.replaceChildren(models.length ? plot : element("p", {}, "No model matches; remove a filter, or search for something else."));
  legend();
}
// Whether the constant decoder can be drawn without pressing the models into a corner.
function isNear(constant, models) {
  const [low, high] = d3.extent(models, model => model.reconstruction);
  return constant != null && constant - high < 2 * (high - low);
}
// Lines of equal −ELBO, which is rate plus distortion.
function isoLines(models) {
  const [low, high] = d3.extent(models, model => model.kld + model.reconstruction);
  const [left, right] = [0, d3.max(models, model => model.kld)];
  const [bottom, top] = d3.extent(models, model => model.reconstruction);
  const lines = d3.ticks(low, high, 5).flatMap(total => {
    const clip = ([across, up]) => up > top ? [total - top, top] : up < bottom ? [total - bottom, bottom] : [across, up];
    const [from, to] = [[left, total - left], [right, total - right]].map(clip);
    return from[0] > to[0] ? [] : [{ total, x1: from[0], y1: from[1], x2: to[0], y2: to[1] }];
  });
  return [Plot.link(lines, { x1: "x1", y1: "y1", x2: "x2", y2: "y2", stroke: "currentColor", strokeOpacity: 0.3, strokeDasharray: "4 3" }),
    Plot.text(lines, { x: "x2", y: "y2", text: line => `−ELBO ${line.total}`, textAnchor: "end", dy: -5, fill: "currentColor", stroke: "var(--page)", strokeWidth: 3, fontSize: 10 })];
}
function legend() {
  const parts = [], gap = () => element("span", { class: "gap" });
  for (const [name, colour] of Object.entries(STUDIES[0].colours.families))
    if (MODELS.some(model => family(model.encoder) === name)) parts.push(element("span", { style: `color:${colour}` }, `● ${name} encoder`), gap());
  const glyphs = { circle: "●", square: "■", triangle: "▲", diamond: "◆", star: "★", wye: "Y", cross: "✚" };
  DECODERS.forEach((name, i) => parts.push(`${glyphs[SYMBOLS[i % SYMBOLS.length]]} ${name} decoder`, gap()));
  if (new Set(MODELS.map(model => model.latent_size)).size > 1) parts.push("larger: larger latent size", gap());
  if (STUDIES[0].constant != null) parts.push(`constant decoder: distortion ${shown(STUDIES[0].constant)}`);
  const total = d3.sum(STUDIES, study => study.models);
  if (total > MODELS.length) parts.push(`; of ${total.toLocaleString("en")} models ${MODELS.length.toLocaleString("en")} are here, evenly from the best to the worst`);
  byId("legend").replaceChildren(...parts);
}

// --- Models A and B --------------------------------------------------------------------------------------------------
function bytes(base64) { return Uint8Array.from(atob(base64), letter => letter.charCodeAt(0)); }
function plane(model, side) {
  const { images, colours } = model.study;
  const numbers = new Uint16Array(bytes(model.details.plane.points).buffer);
  const points = Array.from({ length: images.count }, (_, i) => ({ i, x: numbers[2 * i], y: numbers[2 * i + 1], label: images.labels?.[i] }));
  const ofClass = new Map(images.classes.map((label, i) => [label, colours.classes[i]]));
  const plot = Plot.plot({ width: 420, height: 420, margin: 8, axis: null, ariaLabel: "Test images in two principal components of their codes", style: { background: "transparent" },
    x: { domain: [0, 65535] }, y: { domain: [0, 65535] },
    marks: [Plot.dot(points, { x: "x", y: "y", r: 3, fill: point => ofClass.get(point.label) ?? "#888", fillOpacity: 0.8 }),
            Plot.dot(points, Plot.pointer({ x: "x", y: "y", r: 7, stroke: "currentColor", maxRadius: 30 }))] });
  const at = element("div", { class: "at", hidden: true });
  const marked = element("div", { class: "mark", hidden: true }, "×");
  const [high, wide] = images.shape.slice(-2);
  const decoded = element("canvas", { class: "image decoded", width: wide, height: high, hidden: true, "aria-label": "the decoded place" });
  const holder = element("div", { class: "plane" }, plot, at, marked, decoded);
  holder.decoded = decoded;
  // Where a drawing lies; and the place under a pointer that is pressed.
  const inner = 420 - 16;
  holder.mark = place => {
    marked.hidden = !place || place.some(value => value < 0 || value > 1);
    if (!marked.hidden) [marked.style.left, marked.style.top] = [`${(100 * (8 + place[0] * inner)) / 420}%`, `${(100 * (412 - place[1] * inner)) / 420}%`];
  };
  const dragged = event => {
    if (!(event.buttons & 1)) return;
    const box = plot.getBoundingClientRect(), scale = 420 / box.width;
    const place = [((event.clientX - box.left) * scale - 8) / inner, (412 - (event.clientY - box.top) * scale) / inner];
    document.dispatchEvent(new CustomEvent("plane", { detail: { side, place, holder } }));
  };
  plot.addEventListener("pointerdown", dragged);
  plot.addEventListener("pointermove", dragged);
  plot.addEventListener("input", () => point(plot.value?.i ?? null, side));
  plot.addEventListener("pointerleave", () => point(null));
  holder.place = i => {
    at.hidden = i == null;
    if (i == null) return;
    const [height, width] = images.shape.slice(-2), scale = 48 / Math.max(height, width);
    const box = plot.getBoundingClientRect();
    at.style.backgroundImage = `url(${images.sheet})`;
    at.style.backgroundSize = `${images.across * width * scale}px auto`;
    at.style.backgroundPosition = `-${(i % images.across) * width * scale}px -${Math.floor(i / images.across) * height * scale}px`;
    at.style.left = `${(plot.scale("x").apply(points[i].x) / 420) * box.width + 8}px`;
    at.style.top = `${(plot.scale("y").apply(points[i].y) / 420) * box.height - 56}px`;
  };
  return holder;
}
// The colours of classes; of many, every so many.
function classes({ images, colours }) {
  const every = Math.ceil(images.classes.length / 20), named = (_, i) => i % every === 0;
  return Plot.legend({ color: { type: "ordinal", domain: images.class_names.filter(named), range: colours.classes.filter(named) }, label: "class", marginLeft: 4, style: { background: "transparent" } });
}
let planes = [];
// The same image in both planes, where both are of one study.
function point(i, side) {
  for (const each of planes) each.holder.place(i != null && (each.side === side || each.study === planes.find(other => other.side === side)?.study) ? i : null);
}
function chosen() {
  planes = [];
  byId("chosen").replaceChildren(...["a", "b"].map(side => {
    const model = BY_KEY.get(state[side]);
    if (!model) return element("div", { class: `model ${side}` }, element("p", {}, "No model is chosen."));
    const parts = [element("h3", {}, element("b", { class: side }, side.toUpperCase()), model.name), ...numbers(model)];
    if (model.details) {
      const holder = plane(model, side);
      planes.push({ side, holder, study: model.study });
      parts.push(...pictures(model), element("small", {}, `training curve${warmup(model)}`), curve(model.details),
        element("small", {}, "KLD of every latent dimension (dashed: the theory of linear VAEs, which does not depend on architectures)"), dimensions(sized(model)),
        element("small", {}, `${model.study.images.count} test images in two principal components of their codes${model.study.images.labels ? ", coloured by class" : ""}; point at one to see it in both planes`), holder);
      if (model.study.images.labels) parts.push(classes(model.study));
    } else if (model.status === "ok") {
      parts.push(element("p", { class: "hint" }, "Curves and pictures of this model are not on the page: of a large study they are kept of the best, the median and the worst models, and of the front."));
    }
    return element("div", { class: `model ${side}` }, ...parts);
  }));
}

// --- Where the nats go -----------------------------------------------------------------------------------------------
function bars() {
  const study = BY_KEY.get(state.a)?.study ?? STUDIES[0];
  const section = byId("parts");
  section.hidden = !study.parts.length;
  if (section.hidden) return;
  const size = BY_KEY.get(state.a)?.latent_size;
  const sizes = new Set(study.parts.map(part => part.latent_size));
  const parts = study.parts.filter(part => part.latent_size === (sizes.has(size) ? size : Math.min(...sizes)));
  const names = [...new Set(parts.map(part => part.part))];
  const holder = section.querySelector(".chart");
  const plot = Plot.plot({ width: Math.max(560, holder.clientWidth || 800), height: 320, marginLeft: 56, marginBottom: 40, ariaLabel: "Parts of the loss by encoder and decoder", style: { background: "transparent", fontSize: "12px" },
    x: { label: "decoder (encoder above)" }, fx: { label: null, domain: [...new Set(parts.map(part => part.encoder))] }, y: { label: "↑ nats per image", grid: true },
    color: { domain: names, range: names.map(name => parts.find(part => part.part === name).colour), legend: true },
    marks: [Plot.barY(parts, { x: "decoder", y: "nats", fx: "encoder", fill: "part", title: part => `${part.encoder}, ${part.decoder}: ${part.part}, ${shown(part.nats)} nats` }), Plot.ruleY([0])] });
  holder.replaceChildren(plot);
}

// --- The table -------------------------------------------------------------------------------------------------------
const listed = () => state.columns.split(",").filter(name => COLUMN[name]);
function sorted() {
  const { sort, down } = state;
  return filtered().sort((one, other) => {
    const [x, y] = [one[sort], other[sort]];
    if (x == null || y == null) return (x == null) - (y == null);  // what is missing stays last
    const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
    return down ? -order : order;
  });
}
function tableControls(count) {
  const names = listed();
  const open = byId("table-controls").querySelector("details")?.open;
  const choices = element("details", { open }, element("summary", {}, "columns"), element("div", {}, ...COLUMNS.map(column =>
    element("label", { title: column.help }, element("input", { type: "checkbox", checked: names.includes(column.name), onchange: event =>
      set({ columns: COLUMNS.map(each => each.name).filter(name => name === column.name ? event.target.checked : names.includes(name)).join(",") }) }), ` ${column.heading}`))));
  replaceKeepingFocus(byId("table-controls"), [element("span", {}, `${count.toLocaleString("en")} models`),
    element("button", { type: "button", onclick: saveCsv }, "save as CSV"), choices]);
}
function rows() {
  const models = sorted(), names = listed();
  tableControls(models.length);
  const head = element("tr", {}, element("th", { class: "text" }, "choose"), ...names.map(name =>
    element("th", { class: COLUMN[name].numeric ? "" : "text", "aria-sort": state.sort === name ? (state.down ? "descending" : "ascending") : null, title: COLUMN[name].help },
      element("button", { type: "button", "data-sort": name, onclick: () => { set({ sort: name, down: state.sort === name && !state.down ? "1" : "" }); byId("table").querySelector(`[data-sort="${name}"]`).focus(); } },
        heading(name) + (state.sort === name ? (state.down ? " ▼" : " ▲") : "")))));
  const body = models.map(model => element("tr", { class: model.status !== "ok" ? "diverged" : model.collapsed === true ? "collapsed" : "", "data-key": model.key },
    element("td", { class: "text" }, choice(model, "a"), " ", choice(model, "b")),
    ...names.map(name => element("td", { class: COLUMN[name].numeric ? "" : "text" }, shown(model[name])))));
  byId("table").replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
}
function choice(model, side) {
  return element("button", { type: "button", class: side, "data-side": side, "aria-pressed": String(state[side] === model.key), "aria-label": `choose ${model.name} as ${side.toUpperCase()}`,
    onclick: () => set({ [side]: model.key }),
    onfocus: event => { if (event.target.matches(":focus-visible")) { const box = event.target.getBoundingClientRect(); showCard(model, box.right + 40, box.top); } },
    onblur: () => showCard(null) }, side.toUpperCase());
}
function pressed() {
  for (const row of byId("table").querySelectorAll("tr[data-key]"))
    for (const button of row.querySelectorAll("button")) button.setAttribute("aria-pressed", String(state[button.dataset.side] === row.dataset.key));
}
function csv() {
  const names = listed();
  const quoted = value => value == null ? "" : /[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value);
  return [names, ...sorted().map(model => names.map(name => model[name]))].map(line => line.map(quoted).join(",")).join("\n") + "\n";
}
function saveCsv() {
  const link = element("a", { href: URL.createObjectURL(new Blob([csv()], { type: "text/csv" })), download: "models.csv" });
  link.click();
  URL.revokeObjectURL(link.href);
}

// Told of what has changed: the part of the page in which models run, where there is one.
const listeners = [];

// --- What changes with what ------------------------------------------------------------------------------------------
function render(keys = Object.keys(DEFAULTS)) {
  const touched = names => keys.some(key => names.some(name => key === name || key.startsWith(name)));
  if (touched(["x", "y", "beta", "search", "no_"])) { controls(); filters(); }
  if (touched(["a", "b", "x", "y", "search", "no_"])) scatter();
  if (touched(["a", "b"]) && keys.some(key => key === "a" || key === "b")) { chosen(); bars(); }
  if (touched(["sort", "down", "columns", "search", "no_"])) rows(); else pressed();
  for (const listener of listeners) listener(keys);
}
let waiting;
window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => { scatter(); bars(); }, 150); });
window.addEventListener("keydown", event => { if (event.key === "Escape") showCard(null); });
render();
