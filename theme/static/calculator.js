// The calculator: reads the form, lets CALCULATOR (calculator-cost.js, written from Python) answer, shows it, and
// keeps the settings in the address. Without this script the form shows the answer for its first settings.
(() => {
  "use strict";

  const PREFIX = "#calc=", WAIT = 250;
  const form = document.querySelector("form.calculator");
  if (!form) return;
  const {Dict, toObject} = CALCULATOR.python;
  const one = (selector) => form.querySelector(selector);
  const control = (key) => document.getElementById(`calc-${key}`);
  const FIELDS = CALCULATOR.FIELDS;

  const textOf = (key) => {
    const input = control(key);
    return input.type === "checkbox" ? (input.checked ? "yes" : "no") : input.value;
  };
  const write = (key, text) => {
    const input = control(key);
    if (input.type === "checkbox") input.checked = text === "yes";
    else input.value = text;
  };
  const texts = () => new Dict(FIELDS.map((field) => [field.key, textOf(field.key)]));

  // ---- what is wrong, beside its field
  const complain = (key, message) => {
    const input = control(key);
    document.getElementById(`calc-${key}-error`).textContent = message;
    if (message) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };

  // A dict of Python's for what JSON calls an object.
  const python = (value) => {
    if (Array.isArray(value)) return value.map(python);
    return value && typeof value === "object"
      ? new Dict(Object.entries(value).map(([key, inner]) => [key, python(inner)]))
      : value;
  };
  const parse = (text) => {
    if (!text.trim()) throw new Error(": config: expected the text of a config.json, got nothing");
    let found;
    try {
      found = JSON.parse(text);
    } catch (error) {
      throw new Error(`: config: expected JSON, got ${error.message}`);
    }
    if (!found || typeof found !== "object" || Array.isArray(found)) {
      throw new Error(": config: expected an object of JSON, {…}");
    }
    return python(found);
  };

  // A message says who refused what: "calculator: context: expected …". Of a config.json the field is in the file.
  const blame = (error, source) => {
    const [by, key, ...rest] = error.message.split(": ");
    const file = by === "cost.read_config" || (source === "config" && !FIELDS.some((field) => field.key === key));
    if (file) return ["config", [key, ...rest].join(": ")];
    const field = FIELDS.find((one) => one.key === key && !control(key).closest("[hidden]"));
    return field ? [key, rest.join(": ")] : [null, error.message];
  };

  const show = (now) => {
    for (const field of FIELDS) control(field.key).closest(".calc-field").hidden = !CALCULATOR.asked(field, now);
    for (const group of form.querySelectorAll("fieldset")) {
      group.hidden = !group.querySelector(".calc-field:not([hidden])");
    }
  };

  const refuse = (message) => {
    const line = document.createElement("p");
    line.className = "calc-verdict too-much";
    line.textContent = message;
    one(".calc-said").replaceChildren(line);
    one(".calc-shown").replaceChildren();
  };

  const calculate = () => {
    const now = texts(), given = new Dict(), wrong = [];
    show(now);
    for (const field of FIELDS) {
      let message = "";
      if (CALCULATOR.asked(field, now)) {
        try {
          const value = CALCULATOR.read(field, now.get(field.key));
          given.set(field.key, field.kind === "json" ? parse(value) : value);
        } catch (error) {
          message = error.message.split(": ").slice(2).join(": ");
          wrong.push(field.label);
        }
      }
      complain(field.key, message);
    }
    if (wrong.length) return refuse(`Not calculated. Look at: ${wrong.join(", ")}.`);
    try {
      const answer = CALCULATOR.calculate(given);
      one(".calc-said").innerHTML = CALCULATOR.said(answer); // every text in it is escaped
      one(".calc-shown").innerHTML = CALCULATOR.shown(answer);
    } catch (error) {
      const [key, message] = blame(error, given.get("source"));
      if (key) complain(key, message);
      const label = FIELDS.find((field) => field.key === key)?.label;
      refuse(label ? `Not calculated. Look at: ${label}.` : `Not calculated: ${message}.`);
    }
  };

  // ---- the address
  const address = () => {
    const now = texts();
    const changed = FIELDS.filter(
      (field) => CALCULATOR.asked(field, now) && now.get(field.key) !== control(field.key).dataset.start,
    );
    const pairs = changed.map((field) => `${field.key}=${encodeURIComponent(now.get(field.key))}`);
    return PREFIX + pairs.join("&");
  };
  const keep = () => history.replaceState(history.state, "", address());
  const told = (text) => (one(".calc-told").textContent = text);

  const restore = () => {
    if (!location.hash.startsWith(PREFIX)) return false;
    const given = new URLSearchParams(location.hash.slice(PREFIX.length).replaceAll("+", "%2B"));
    for (const field of FIELDS) write(field.key, given.get(field.key) ?? control(field.key).dataset.start);
    calculate();
    const strange = [...given.keys()].filter((key) => !FIELDS.some((field) => field.key === key));
    told(strange.length ? `The link has settings that are not known here: ${strange.join(", ")}.` : "");
    for (const field of FIELDS) {
      // A <select> shows nothing for a choice that it does not have.
      if (given.has(field.key) && textOf(field.key) !== given.get(field.key)) {
        complain(field.key, `the link has ${given.get(field.key)}, which is none of these`);
      }
    }
    form.scrollIntoView();
    one(".calc-answer").focus({preventScroll: true});
    return true;
  };

  let waiting = 0;
  const later = () => {
    clearTimeout(waiting);
    show(texts());
    one(".calc-answer").setAttribute("aria-busy", "true");
    waiting = setTimeout(() => {
      calculate();
      keep();
      told("");
      one(".calc-answer").removeAttribute("aria-busy");
    }, WAIT);
  };
  form.addEventListener("input", later);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    later();
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault(); // which would bring back what the browser remembers
    for (const field of FIELDS) write(field.key, control(field.key).dataset.start);
    later();
  });
  one(".calc-copy").addEventListener("click", async () => {
    clearTimeout(waiting);
    calculate();
    keep();
    try {
      await navigator.clipboard.writeText(location.href);
      told("The link is copied.");
    } catch {
      told("The browser does not allow it. The address of this page is the link.");
    }
  });
  window.addEventListener("hashchange", restore);

  one(".calc-still").hidden = true;
  one(".calc-tools").hidden = false;
  for (const field of FIELDS) control(field.key).disabled = false;
  if (!restore()) {
    // What a browser keeps of a form over a reload is none of our settings.
    for (const field of FIELDS) write(field.key, control(field.key).dataset.start);
  }
})();
