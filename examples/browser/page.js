// The page: photos in, classes out. Names of files and classes are other people's text, and are
// only ever written as text.

const TOP = 5;
const THUMB = 320; // pixels on the longer side
const FEW_CLASSES = 24;
const NARROW = "\u202f"; // the space between a number and its unit

const $ = (id) => document.getElementById(id);
const model = JSON.parse($("metadata").textContent);
const results = []; // one for each photo, in the order of the page
const counts = { done: 0, failed: 0 };
let queue = Promise.resolve(); // one photo at a time

// ------------------------------------------------------------------------------------ the network

/** Bytes that bundle.py has put into the page: gzip, in base64. */
async function embedded(id) {
  const text = atob($(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  $(id).remove(); // frees its memory
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(unpacked).arrayBuffer();
}

async function loaded() {
  const source = new Blob([await embedded("runtime")], { type: "text/javascript" });
  const ort = await import(URL.createObjectURL(source));
  // More threads would need a server that isolates the page, and a worker a file of its own.
  Object.assign(ort.env.wasm, { numThreads: 1, proxy: false, wasmBinary: await embedded("wasm") });
  const bytes = new Uint8Array(await embedded("model"));
  return { ort, session: await ort.InferenceSession.create(bytes) };
}

const network = loaded().catch((error) => {
  throw new Error(`The model can't be loaded in this browser: ${error.message}`);
});

/** The probability of each class, in the order of the classes. */
async function probabilities(input) {
  const { ort, session } = await network;
  const [height, width] = model.image_size;
  const images = new ort.Tensor("uint8", input, [1, height, width, model.channels]);
  const outputs = await session.run({ images }, ["probabilities"]);
  return Array.from(outputs.probabilities.data);
}

// ------------------------------------------------------------------------------------- the photos

/** A file as pixels: upright, and without the conversion of colours that training doesn't do. */
async function decoded(file) {
  try {
    return await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    throw new Error("This file can't be read as an image. JPEG, PNG and WebP work everywhere.");
  }
}

function onWhite(bitmap) {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const rows = (top, count) => {
    [canvas.width, canvas.height] = [bitmap.width, count];
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, count);
    context.drawImage(bitmap, 0, -top);
    return context.getImageData(0, 0, canvas.width, count).data;
  };
  return { width: bitmap.width, height: bitmap.height, rows };
}

function drawThumb(canvas, bitmap) {
  const scale = Math.min(1, THUMB / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  canvas.classList.toggle("pixels", scale === 1 && Math.max(canvas.width, canvas.height) < 100);
}

async function classify(file, card) {
  const bitmap = await decoded(file);
  try {
    drawThumb(card.querySelector("canvas"), bitmap);
    const input = networkInput(onWhite(bitmap), model.image_size, model.resize, model.channels);
    return await probabilities(input);
  } finally {
    bitmap.close();
  }
}

function add(files) {
  for (const file of files) {
    const card = $("photo").content.cloneNode(true).firstElementChild;
    const name = printable(file.name);
    Object.assign(card.querySelector("h3"), { textContent: name, title: name });
    card.querySelector("canvas").setAttribute("aria-label", name);
    $("photos").append(card);
    const result = { name: file.name, ranked: [], error: "" };
    results.push(result);
    queue = queue.then(() => answer(file, card, result));
  }
  $("actions").hidden = results.length === 0;
  showProgress();
}

async function answer(file, card, result) {
  if (!results.includes(result)) return; // removed while it waited
  try {
    const shares = await classify(file, card);
    result.ranked = shares.map((share, k) => ({ share, name: model.classes[k] }));
    result.ranked.sort((one, other) => other.share - one.share);
    result.ranked.length = Math.min(TOP, result.ranked.length);
    showAnswer(card, result.ranked);
  } catch (error) {
    result.error = error.message;
    card.classList.add("failed");
    card.querySelector(".note").textContent = error.message;
  }
  if (results.includes(result)) counts[result.error ? "failed" : "done"]++;
  showProgress();
  await new Promise((resume) => setTimeout(resume)); // the page is drawn and hears clicks
}

// --------------------------------------------------------------------------------------- the page

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Text with characters shown as codes that are invisible or change what is shown. */
function printable(text) {
  return text.replace(/\p{C}|\p{Zl}|\p{Zp}|(?! )\p{Zs}/gu, (found) => {
    const code = found.codePointAt(0).toString(16);
    if (code.length <= 2) return `\\x${code.padStart(2, "0")}`;
    return code.length <= 4 ? `\\u${code.padStart(4, "0")}` : `\\U${code.padStart(8, "0")}`;
  });
}

function percent(share, decimals = 1) {
  const least = 10 ** -decimals;
  if (share > 0 && share < least / 200) return `< ${least}${NARROW}%`;
  if (share < 1 && share > 1 - least / 200) return `> ${100 - least}${NARROW}%`;
  return `${(100 * share).toFixed(decimals)}${NARROW}%`;
}

function showAnswer(card, ranked) {
  const list = card.querySelector("ol");
  for (const { name, share } of ranked) {
    const row = document.createElement("li");
    row.append(element("span", printable(name), "name"), element("span", percent(share), "share"));
    row.firstChild.title = printable(name);
    const bar = element("span", "", "bar");
    bar.append(element("span", ""));
    bar.firstChild.style.width = `${100 * share}%`;
    row.append(bar);
    list.append(row);
  }
  list.hidden = false;
  card.querySelector(".note").remove();
}

const counted = (count, noun, plural = `${noun}s`) =>
  `${count.toLocaleString("en")} ${count === 1 ? noun : plural}`;

function showProgress() {
  if ($("status").className === "warning") return; // there is no model
  const answered = counts.done + counts.failed;
  let text = "Ready.";
  if (answered < results.length) {
    text = `${answered} of ${counted(results.length, "photo")} classified…`;
  } else if (results.length) {
    text = `${counted(counts.done, "photo")} classified`;
    text += counts.failed ? `, ${counts.failed} failed.` : ".";
  }
  $("status").textContent = text;
}

function showModel() {
  const [height, width] = model.image_size;
  const kind = model.channels === 1 ? "grey images" : "images";
  document.title = `${printable(model.title)}: image classifier`;
  $("title").textContent = printable(model.title);
  const classes = counted(model.classes.length, "class", "classes");
  $("lead").textContent = `Image classifier with ${classes}, for ${kind} of ${width} × ${height} pixels.`;
  if (model.test_accuracy !== undefined) {
    const images = counted(model.test_images, "test image");
    const [low, high] = model.test_accuracy_interval.map((bound) => percent(bound));
    $("accuracy").textContent =
      `Right on ${percent(model.test_accuracy)} of ${images} (95${NARROW}% interval: ${low} to ${high}).`;
  }
  $("classes-title").textContent = "Classes";
  $("classes-summary").textContent = `All ${classes}`;
  $("classes-more").open = model.classes.length <= FEW_CLASSES;
  $("classes").append(...model.classes.map((name) => element("li", printable(name))));
  for (const [name, value] of Object.entries(model.facts)) {
    const row = document.createElement("div");
    row.append(element("dt", printable(name)), element("dd", printable(value)));
    $("about").append(row);
  }
}

/**
 * The results as a table, with the columns of `onecycle predict --format csv`. A text that a
 * spreadsheet would take for a formula gets an apostrophe.
 */
function table() {
  const places = Array.from({ length: Math.min(TOP, model.classes.length) }, (_, k) => k);
  const end = (place) => (place ? `_${place + 1}` : "");
  const head = places.flatMap((place) => [`predicted${end(place)}`, `confidence${end(place)}`]);
  const rows = results.map(({ name, ranked, error }) => {
    const cells = ranked.flatMap((one) => [text(one.name), one.share.toFixed(6)]);
    while (cells.length < head.length) cells.push("");
    return [text(name), ...cells, text(error)];
  });
  return [["path", ...head, "error"], ...rows].map((row) => row.map(cell).join(",") + "\n").join("");
}

const text = (value) => (/^[=+@-]/.test(value) ? "'" : "") + printable(value);
const cell = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
  link.download = "classes.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

function clear() {
  results.length = 0;
  Object.assign(counts, { done: 0, failed: 0 });
  $("photos").replaceChildren();
  $("actions").hidden = true;
  showProgress();
  $("files").focus();
}

// --------------------------------------------------------------------------------- what users do

$("files").addEventListener("change", () => {
  add($("files").files);
  $("files").value = ""; // choosing the same photo again is a change
});
$("save").addEventListener("click", save);
$("clear").addEventListener("click", clear);
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault(); // else the browser opens the photo in place of the page
    const leaves = name === "drop" || (name === "dragleave" && !event.relatedTarget);
    document.body.classList.toggle("dragging", !leaves);
    if (name === "drop") add(event.dataTransfer.files);
  });
}
document.addEventListener("paste", (event) => add(event.clipboardData.files));

showModel();
network.then(showProgress, (error) => {
  $("status").setAttribute("role", "alert");
  $("status").className = "warning";
  $("status").textContent = error.message;
});
