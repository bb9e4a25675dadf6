// The page: images come in, cards come out.

import { Refusal, ask } from "./asking.js";
import { Card } from "./card.js";
import { brief, describe, squashes } from "./model.js";
import { complaint, make } from "./parts.js";

const AT_ONCE = 2; // requests under way; the server works on two images at once

const at = (id) => document.getElementById(id);
const cards = new Set();
const queue = [];
let working = 0;
let chosen = null; // name of a model; null is the server's own choice
let squashed = false;
let loaded = Promise.resolve();

function news(text) {
  at("news").textContent = text;
}

function counted() {
  at("toolbar").hidden = cards.size === 0;
  at("count").textContent = cards.size === 1 ? "1 image" : `${cards.size} images`;
}

function add(files) {
  const fresh = [...files].map((file) => new Card(file, { removed: remove, again: enqueue, news }));
  for (const card of fresh) cards.add(card);
  at("results").prepend(...fresh.map((card) => card.element));
  counted();
  fresh.forEach(enqueue);
}

function remove(card) {
  const next = card.element.nextElementSibling ?? card.element.previousElementSibling;
  card.dispose();
  card.element.remove();
  cards.delete(card);
  counted();
  // Who uses the keyboard stays where he was.
  (next?.querySelector(".remove") ?? at("files")).focus();
  news(`${card.name} removed`);
}

function enqueue(card) {
  queue.push(card);
  work();
}

async function work() {
  if (working >= AT_ONCE) return;
  const card = queue.shift();
  if (!card) return;
  working += 1;
  try {
    await loaded; // whether pictures are squashed is known from the model
    if (cards.has(card)) await card.run(chosen, squashed);
  } finally {
    working -= 1;
    work();
  }
}

async function load() {
  const about = await ask("./");
  at("disclaimer").firstElementChild.textContent = about.disclaimer;
  at("page-warning").textContent = about.warning ?? "";
  at("page-warning").hidden = !about.warning;
  const names = about.models ?? [];
  at("choose-model").hidden = names.length < 2;
  at("model-name").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  if (names.length > 1) {
    chosen = names.includes(about.model) ? about.model : names[0];
    at("model-name").value = chosen;
  }
  await loadModel();
}

async function loadModel() {
  const model = await ask(chosen === null ? "model" : `model?${new URLSearchParams({ model: chosen })}`);
  squashed = squashes(model);
  at("model-brief").textContent = brief(model);
  at("tagline").textContent = `${model.classes.join(" or ")}? A small network that a search found.`;
  at("model-body").replaceChildren(...describe(model));
}

function start(loading) {
  loaded = loading().catch((error) => {
    if (!(error instanceof Refusal)) console.error(error); // a fault of this page
    at("model-brief").textContent = "not available";
    at("model-body").replaceChildren(complaint(error));
    at("model").open = true;
    news(`The model is not available: ${error.message}`);
  });
}

at("files").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = ""; // the same file may be chosen again
});
at("clear").addEventListener("click", () => {
  for (const card of cards) card.dispose();
  cards.clear();
  at("results").replaceChildren();
  counted();
  at("files").focus();
  news("all images removed");
});
at("model-name").addEventListener("change", (event) => {
  chosen = event.target.value;
  start(loadModel);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) {
    event.preventDefault();
    add(event.clipboardData.files);
  }
});
// The whole page takes files: one that misses a small target would replace the page.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) at("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  if (event.dataTransfer.files.length) add(event.dataTransfer.files);
});

start(load);
