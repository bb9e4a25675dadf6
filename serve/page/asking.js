// Asking the server: the key it may want, the waiting it may ask for, the one shape of its errors.

const MOST_TRIES = 5;
const MOST_WAIT_S = 30;

let key = null; // in memory only
let asked = null; // the dialog's promise while it is open: several requests share it

/** The server's answer was an error: ``message`` and ``remedy``, and ``id`` of the request. */
export class Refusal extends Error {
  constructor(message, remedy, id = null) {
    super(message);
    this.remedy = remedy;
    this.id = id;
  }
}

/**
 * The JSON that a path answers.
 *
 * A 401 asks for the key, a 503 or 429 with Retry-After is waited for, both a bounded number of
 * times. ``onWait(seconds)`` is told of each wait. Throws Refusal for whatever else is no success.
 */
export async function ask(path, { method = "GET", body, onWait = () => {}, signal } = {}) {
  for (let tries = 1; ; tries += 1) {
    const used = key;
    const headers = { Accept: "application/json" };
    if (used !== null) headers["X-API-Key"] = used;
    const answer = await send(path, { method, body, headers, signal, cache: "no-store" });
    if (answer.ok) return parsed(answer);
    const refusal = await refused(answer);
    if (tries === MOST_TRIES) throw refusal;
    if (answer.status === 401) {
      // Another request may have been given a key meanwhile: that one is tried first.
      if (key === used && !(await askForKey(refusal, used !== null))) throw refusal;
      continue;
    }
    const wait = answer.status === 503 || answer.status === 429 ? retryAfter(answer) : null;
    if (wait === null) throw refusal;
    onWait(wait);
    await pause(wait, signal);
  }
}

async function send(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(
      "the server could not be reached, or ended the connection",
      "see whether it is running, then try again",
    );
  }
}

async function parsed(answer) {
  try {
    return await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("the answer must be JSON, but is not", "see what lies before the server");
  }
}

async function refused(answer) {
  const id = answer.headers.get("X-Request-ID");
  try {
    const { error } = await answer.json();
    return new Refusal(error.message, error.remedy, id);
  } catch {
    // A proxy before the server words its errors in its own way.
    return new Refusal(`the server answered with status ${answer.status}`, "try again later", id);
  }
}

/** Seconds that an answer asks to wait, bounded; null where it does not say. */
function retryAfter(answer) {
  const told = answer.headers.get("Retry-After");
  if (told === null) return null;
  const seconds = /^\d+$/.test(told) ? Number(told) : (Date.parse(told) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 1), MOST_WAIT_S) : null;
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => { clearTimeout(timer); reject(signal.reason); };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, 1000 * seconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** True when a key was given, false when the dialog was cancelled. */
function askForKey(refusal, wrong) {
  asked ??= openDialog(refusal, wrong).finally(() => { asked = null; });
  return asked;
}

function openDialog(refusal, wrong) {
  const dialog = document.getElementById("key");
  const value = document.getElementById("key-value");
  const form = document.getElementById("key-form");
  const cancel = document.getElementById("key-cancel");
  document.getElementById("key-why").textContent = wrong
    ? "That key was not accepted. Give another."
    : `${refusal.message}.`;
  value.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const given = (event) => {
      event.preventDefault();
      key = value.value;
      dialog.close("given");
    };
    const cancelled = () => dialog.close("");
    form.addEventListener("submit", given);
    cancel.addEventListener("click", cancelled);
    dialog.addEventListener("close", () => {
      form.removeEventListener("submit", given);
      cancel.removeEventListener("click", cancelled);
      value.value = "";
      resolve(dialog.returnValue === "given");
    }, { once: true });
  });
}
