// One card per image: its picture, what the model says of it, where it looked.

import { Refusal, ask } from "./asking.js";
import { bar, complaint, make, percent } from "./parts.js";

const PNG = "data:image/png;base64,";
let count = 0;

/** A card that asks about one file once ``run`` is called. */
export class Card {
  #file;
  #url;
  #stop = new AbortController();
  #shown = true; // whether the browser can show the file itself
  #answer = null;
  #opacity = 0.45;
  #picture;
  #heat;
  #box;
  #body;
  #number;

  /** ``again`` is called with the card when it should be run another time. */
  constructor(file, { removed, again, news }) {
    this.#file = file;
    this.news = news;
    this.again = again;
    this.#number = count += 1;
    this.#url = URL.createObjectURL(file);
    const id = `card-${this.#number}`;
    this.#picture = make("img", { className: "picture", alt: `Preview of ${file.name}` });
    this.#picture.addEventListener("error", () => this.#hidden());
    this.#picture.src = this.#url;
    this.#box = make("div", { className: "picture-box" }, this.#picture);
    this.#body = make("div", { className: "card-body" });
    const remove = make("button", { type: "button", className: "remove", title: "Remove" }, "×");
    remove.setAttribute("aria-label", `Remove ${file.name}`);
    remove.addEventListener("click", () => removed(this));
    this.element = make("article", { className: "card", "aria-labelledby": id },
      make("div", { className: "card-picture" }, this.#box),
      make("div", { className: "card-text" },
        make("div", { className: "card-head" },
          make("h3", { id, title: file.name }, file.name), remove),
        this.#body));
    this.#say("waiting for its turn", true);
  }

  get name() {
    return this.#file.name;
  }

  /** Ends what is under way and frees the preview. */
  dispose() {
    this.#stop.abort();
    URL.revokeObjectURL(this.#url);
  }

  /** Ask the server; afterwards the card shows the answer or the error. Never throws. */
  async run(model, squashed) {
    this.#say("the model is looking at it", true);
    const form = new FormData();
    form.append("file", this.#file, this.#file.name);
    const query = new URLSearchParams({ explain: "true" });
    if (model !== null) query.set("model", model);
    const onWait = (seconds) => this.#say(
      `the server is busy: trying again in ${Math.ceil(seconds)} s`, true);
    try {
      const signal = this.#stop.signal;
      this.#answer = await ask(`predict?${query}`, { method: "POST", body: form, onWait, signal });
      this.#tell(squashed);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      if (!(error instanceof Refusal)) console.error(error); // a fault of this page
      this.#fail(error);
    }
  }

  #hidden() {
    // DICOM and TIFF: nothing to see until the server has sent the picture that the model sees.
    if (this.#picture.src !== this.#url) return;
    this.#shown = false;
    this.#picture.remove();
    if (this.#answer?.explanation) this.#show(false);
    else this.#box.append(make("p", { className: "no-preview quiet" }, "no preview"));
  }

  #say(text, busy) {
    this.element.ariaBusy = busy ? "true" : "false";
    this.#body.replaceChildren(make("p", { className: "busy quiet" }, text));
  }

  #fail(error) {
    this.element.ariaBusy = "false";
    this.element.classList.add("failed");
    const fault = error instanceof Refusal
      ? error
      : new Refusal("this page met an error that it did not expect", "load the page again");
    const retry = make("button", { type: "button" }, "Try again");
    retry.addEventListener("click", () => {
      this.element.classList.remove("failed");
      this.#say("waiting for its turn", true);
      this.again(this);
    });
    this.#body.replaceChildren(...[
      complaint(fault),
      make("p", {}, retry),
      fault.id ? make("p", { className: "quiet small mono" }, `request ${fault.id}`) : null,
    ].filter(Boolean));
    this.news(`${this.name}: not answered, ${fault.message}`);
  }

  #tell(squashed) {
    const answer = this.#answer;
    this.element.ariaBusy = "false";
    const warnings = [...new Set([answer.warning, ...(answer.warnings ?? [])])].filter(Boolean);
    const sure = make("p", { className: "verdict" },
      make("strong", {}, answer.prediction),
      make("span", { className: "confidence" }, percent(answer.confidence)),
      answer.uncertain ? make("span", { className: "tag" }, "uncertain") : null);
    const notes = [`by ${answer.model.name}`];
    if (answer.request_id) notes.push(`request ${answer.request_id}`);
    this.#body.replaceChildren(
      sure,
      ...warnings.map((text) => make("p", { className: "warning" }, text)),
      this.#bars(answer),
      ...this.#controls(squashed),
      make("p", { className: "quiet small wrap" }, notes.join(" · ")));
    this.news([`${this.name}: ${answer.prediction}, ${percent(answer.confidence)}`,
      answer.uncertain ? "uncertain" : "", ...warnings].filter(Boolean).join(". "));
  }

  #bars(answer) {
    const shares = Object.entries(answer.probabilities);
    if (shares.length !== 2) {
      const sorted = shares.sort(([, a], [, b]) => b - a);
      return make("div", { className: "bars" },
        sorted.map(([name, share]) => bar(name, share, null, name === answer.prediction)));
    }
    // With two classes the second is predicted from the threshold on, so one bar says it all.
    const [name, share] = shares[1];
    const threshold = answer.threshold ?? answer.model.threshold;
    return bar(`Probability of ${name}`, share, threshold, name === answer.prediction);
  }

  #controls(squashed) {
    const told = this.#answer.explanation;
    if (!told) return [];
    // A squashed picture is the file's own, only smaller: heat for one fits the other.
    const own = this.#shown && squashed;
    this.#show(own);
    const id = `heat-${this.#number}`;
    const slider = make("input", {
      id, type: "range", min: "0", max: "100", value: String(100 * this.#opacity),
    });
    slider.addEventListener("input", () => {
      this.#opacity = slider.valueAsNumber / 100;
      this.#heat.style.opacity = this.#opacity;
    });
    const row = make("div", { className: "slider" },
      make("label", { htmlFor: id }, `Heat map: what spoke for ${told.label}`), slider);
    if (!own) return [row];
    const tick = make("input", { type: "checkbox" });
    tick.addEventListener("change", () => this.#show(!tick.checked));
    return [row, make("label", { className: "tick" }, tick, " the picture as the model sees it")];
  }

  /** The file's own picture or the one that the model sees, and the heat over it. */
  #show(own) {
    const told = this.#answer.explanation;
    this.#box.classList.toggle("own", own);
    this.#picture.src = own ? this.#url : PNG + told.image_png;
    this.#picture.alt = own ? this.name : `${this.name}, as the model sees it`;
    this.#heat = make("img", {
      className: "heat", alt: `Heat map: what spoke for ${told.label}`, src: PNG + told.heat_png,
    });
    this.#heat.style.opacity = this.#opacity;
    this.#box.replaceChildren(this.#picture, this.#heat);
  }
}
