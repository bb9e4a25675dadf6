// What the model says of itself.

import { make, percent } from "./parts.js";

const FIGURES = [
  ["auroc", "AUROC", (value) => value.toFixed(3)],
  ["sensitivity", "Sensitivity", percent],
  ["specificity", "Specificity", percent],
  ["accuracy", "Accuracy", percent],
  ["balanced_accuracy", "Balanced accuracy", percent],
];

/** Elements that describe the answer of ``GET /model``. */
export function describe(model) {
  return [
    facts([
      ["Name", model.name],
      ["Intended use", model.intended_use],
      ["Classes", model.classes.join(", ")],
      ["Trained on", data(model)],
      ["Size", `${whole(model.parameters)} parameters, ${whole(model.multiply_adds)} ` +
        `multiply-adds for one image, ${networks(model.members.length)}`],
      ["Threshold", threshold(model)],
      ["Calibration", model.calibration?.method],
      ["Genome", mono(model.genome_key)],
      ["SHA-256", mono(model.sha256)],
    ]),
    ...figures(model),
  ];
}

/** One line: the model's name and its most important figure. */
export function brief(model) {
  const test = tested(model);
  const known = typeof test?.auroc === "number";
  return known ? `${model.name}: AUROC ${test.auroc.toFixed(3)} on ${test.n} test images` : model.name;
}

/** Whether its networks see whole pictures, only smaller: then heat fits the file's own picture. */
export function squashes(model) {
  return model.members.every((member) => member.preprocessing?.resize === "squash");
}

function tested(model) {
  return model.card.test ?? model.card.evaluation ?? null;
}

function threshold(model) {
  if (model.classes.length !== 2) return "none: the most probable class is predicted";
  const text = `${model.classes[1]} from ${percent(model.threshold)} on`;
  return model.threshold_policy ? `${text}: ${model.threshold_policy}` : text;
}

function data(model) {
  const name = model.card.data?.name;
  const kind = model.synthetic ? "synthetic images, drawn by a program" : "real images";
  return name ? `${name}: ${kind}` : kind;
}

function figures(model) {
  const test = tested(model);
  if (!test) {
    return [make("p", { className: "quiet" },
      "No figures on a test split are in this model's file: how good it is was not measured.")];
  }
  const rows = FIGURES.filter(([key]) => typeof test[key] === "number").map(([key, name, word]) =>
    make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, word(test[key])),
      make("td", {}, interval(test[`${key}_interval`] ?? test.bootstrap?.[key], word))));
  const head = ["Figure", "Value", "95 % interval"].map((text) => make("th", { scope: "col" }, text));
  const warning = test.test_readings?.warning;
  return [
    make("h3", {}, `Figures on ${whole(test.n)} test images`),
    make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows)),
    warning ? make("p", { className: "warning" }, warning) : null,
    make("p", { className: "quiet small" },
      "On images of the same collection as those it was trained on. On images from another place, " +
      "device or age it may do worse."),
    ...domains(test),
  ].filter(Boolean);
}

function domains(test) {
  const rows = Object.entries(test.domains ?? {}).map(([name, one]) =>
    make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, whole(one.n)),
      make("td", {}, share(one.sensitivity)), make("td", {}, share(one.specificity))));
  if (!rows.length) return [];
  const head = ["Group", "Images", "Sensitivity", "Specificity"]
    .map((text) => make("th", { scope: "col" }, text));
  return [
    make("h3", {}, "By group of images"),
    make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows)),
  ];
}

function share(value) {
  return typeof value === "number" ? percent(value) : "–";
}

function interval(ends, word) {
  return ends ? `${word(ends[0])} to ${word(ends[1])}` : "–";
}

function facts(pairs) {
  const rows = pairs.filter(([, value]) => value)
    .map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));
  return make("dl", {}, rows);
}

function mono(text) {
  return make("span", { className: "mono" }, text);
}

function whole(number) {
  return number.toLocaleString("en");
}

function networks(n) {
  return n === 1 ? "one network" : `${n} networks averaged`;
}
