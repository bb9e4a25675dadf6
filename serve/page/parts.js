// Elements are made here and nowhere else: what a server answers becomes text, never markup.

/** An element with properties and children; null and undefined children are left out. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A share in [0, 1] as per cent with one decimal; never 100 or 0 unless it is. */
export function percent(share) {
  const rounded = (100 * share).toFixed(1);
  if (rounded === "100.0" && share < 1) return "> 99.9 %";
  if (rounded === "0.0" && share > 0) return "< 0.1 %";
  return `${rounded} %`;
}

/** A labelled bar for a share in [0, 1], with a mark at ``threshold`` unless it is null. */
export function bar(label, share, threshold = null, strong = true) {
  const fill = make("span", { className: strong ? "fill" : "fill faint" });
  fill.style.width = `${100 * share}%`; // through CSSOM, which the content policy allows
  const track = make("div", {
    className: "track",
    role: "meter",
    "aria-label": label,
    "aria-valuemin": "0",
    "aria-valuemax": "1",
    "aria-valuenow": share.toFixed(4),
    "aria-valuetext":
      percent(share) + (threshold === null ? "" : `, threshold ${percent(threshold)}`),
  }, fill);
  const rows = [
    make("div", { className: "bar-label" }, make("span", {}, label), make("span", {}, percent(share))),
    track,
  ];
  if (threshold !== null) {
    const mark = make("span", { className: "mark" });
    const note = make("span", { className: "mark-note" }, `threshold ${percent(threshold)}`);
    mark.style.left = note.style.left = `${100 * threshold}%`;
    if (threshold < 0.2) note.classList.add("at-start");
    if (threshold > 0.8) note.classList.add("at-end");
    track.append(mark);
    rows.push(make("div", { className: "mark-row", "aria-hidden": "true" }, note));
  }
  return make("div", { className: "bar" }, rows);
}

/** What went wrong and what to do about it. */
export function complaint(error) {
  return make("div", { className: "complaint" },
    make("p", { className: "complaint-message" }, sentence(error.message)),
    error.remedy ? make("p", {}, sentence(error.remedy)) : null);
}

function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
