// Checks a quiz in the page. Without this script the answers are still there, in the <details> of each quiz.
(() => {
  "use strict";

  const answerOf = (form, input) =>
    form.querySelector(`.quiz-answer[data-option="${CSS.escape(input.value)}"]`);
  const isCorrect = (form, input) => answerOf(form, input).dataset.correct === "true";
  const verdictOf = (input) => input.closest(".quiz-option").querySelector(".quiz-verdict");

  // A copy of the feedback, without ids: an id stands once in a page.
  const copy = (answer) => {
    const node = answer.cloneNode(true);
    node.querySelectorAll("[id]").forEach((element) => element.removeAttribute("id"));
    return node;
  };

  const paragraph = (text) => {
    const node = document.createElement("p");
    node.className = "quiz-summary";
    node.textContent = text;
    return node;
  };

  // What to say of the whole choice; of a single option its own feedback says it.
  const summary = (chosen, right, wrong, correct) => {
    if (chosen === 0) return ["Nothing is chosen yet."];
    if (correct === 1) return [];
    if (wrong > 0) return [`Not yet: ${right} of ${correct} found, ${wrong} chosen wrongly.`];
    return [right === correct ? "Correct: these are all of them." : `Right so far: ${right} of ${correct} found.`];
  };

  const clear = (form) => {
    form.querySelector(".quiz-status").replaceChildren();
    form.querySelectorAll(".quiz-option").forEach((option) => {
      delete option.dataset.state;
      option.querySelector(".quiz-verdict").textContent = "";
    });
  };

  const check = (form) => {
    clear(form);
    const inputs = [...form.querySelectorAll(".quiz-option input")];
    const chosen = inputs.filter((input) => input.checked);
    const right = chosen.filter((input) => isCorrect(form, input));
    const correct = inputs.filter((input) => isCorrect(form, input)).length;
    chosen.forEach((input) => {
      const good = isCorrect(form, input);
      input.closest(".quiz-option").dataset.state = good ? "right" : "wrong";
      verdictOf(input).textContent = good ? "✓ correct" : "✗ not this one";
    });
    form.querySelector(".quiz-status").append(
      ...summary(chosen.length, right.length, chosen.length - right.length, correct).map(paragraph),
      ...chosen.map((input) => copy(answerOf(form, input))),
    );
    if (chosen.length > 0) form.querySelector(".quiz-answers").hidden = false;
  };

  // ------------------------------------------------------------------ numbers: attnlib.book.questions has the same

  const near = (value, target, tolerance) =>
    Math.abs(value - target) <= Math.max(tolerance, 1e-9) * Math.abs(target);

  const two = "does a multiply-add count as one or as two here, a key alone or key and value?";
  const powers = (base, exponents, said) => exponents.map((k) => [base ** k, said]);
  const FACTORS = [
    [2, `twice what is right: ${two}`],
    [0.5, `half of what is right: ${two}`],
    ...powers(1000, [-3, -2, -1, 1, 2, 3], "off by a power of 1,000: look at the unit."),
    ...powers(1024, [-3, -2, -1, 1, 2, 3], "off by a power of 1,024: look at the unit."),
    ...powers(100, [-1, 1], "off by 100: per cent, or a share?"),
    ...powers(1000 / 1024, [-3, -2, 2, 3], "decimal and binary units are mixed: 1 GiB is 1.074 GB."),
    [-1, "right but for its sign."],
  ];

  // A number as people write it: 1,536 GiB, 1.5e9, 1.5 × 10^9, 3/4; NaN when it is none.
  const read = (typed, unit) => {
    let plain = typed.replace(/[\s\u00a0\u202f,_]/g, "");
    const end = unit.replace(/ /g, "");
    if (end && plain.endsWith(end)) plain = plain.slice(0, -end.length);
    plain = plain.replace(/−/g, "-").replace(/[×x*]10(\^|\*\*)?/g, "e");
    const found = plain.match(/^([-+]?\d*\.?\d+(?:e[-+]?\d+)?)(?:\/(\d*\.?\d+))?$/);
    return found && !(found[2] && !Number(found[2])) ? Number(found[1]) / Number(found[2] ?? 1) : NaN;
  };

  const checkNumber = (part) => {
    const input = part.querySelector("input");
    const { answer, tolerance, unit = "" } = part.dataset;
    const [target, share] = [Number(answer), Number(tolerance)];
    const value = read(input.value, unit);
    const remarks = [...part.querySelectorAll(".quiz-answers .quiz-answer")];
    const status = part.querySelector(".quiz-status");
    const say = (text, ...more) => status.replaceChildren(paragraph(text), ...more.map(copy));
    const good = near(value, target, share);
    input.setAttribute("aria-invalid", String(!good));
    if (Number.isNaN(value)) {
      say(input.value.trim() ? `Expected a number${unit && ` in ${unit}`}, such as 1536 or 1.5e9.` : "Nothing is typed yet.");
      return;
    }
    part.querySelector(".quiz-answers").hidden = false;
    if (good) return say("Correct.", remarks[0]);
    const mistake = remarks.slice(1).find((remark) => near(value, Number(remark.dataset.value), share));
    if (mistake) return say("Not this one.", mistake);
    const factor = FACTORS.find(([by]) => near(value, by * target, Math.min(share, 0.01)));
    const within = share ? `within ${Number((100 * share).toPrecision(4))} % of` : "exactly";
    say(factor ? `Not yet. That is ${factor[1]}` : `Not yet. That is not ${within} what is right.`);
  };

  const startNumbers = (form) => {
    const parts = [...form.querySelectorAll("fieldset")];
    parts.forEach((part, at) => {
      part.querySelectorAll(".quiz-check, .quiz-other").forEach((button) => (button.disabled = button.hidden = false));
      part.querySelector(".quiz-number").hidden = false;
      part.querySelector(".quiz-answers").hidden = true;
      const input = part.querySelector("input");
      input.addEventListener("input", () => {
        input.removeAttribute("aria-invalid");
        part.querySelector(".quiz-status").replaceChildren();
      });
      // Not by submitting: the form's first button, which Enter would press, may be another variant's.
      part.querySelector(".quiz-check").addEventListener("click", () => checkNumber(part));
      input.addEventListener("keydown", (event) => {
        if (event.key === "Enter") checkNumber(part);
      });
      part.querySelector(".quiz-other").addEventListener("click", () => {
        const next = parts[(at + 1) % parts.length];
        part.hidden = true;
        next.hidden = false;
        next.querySelector("input").focus();
      });
    });
    form.addEventListener("submit", (event) => event.preventDefault());
  };

  const start = () => {
    document.querySelectorAll("form.quiz-numeric").forEach(startNumbers);
    document.querySelectorAll("form.quiz:not(.quiz-numeric)").forEach((form) => {
      const button = form.querySelector(".quiz-check");
      button.hidden = button.disabled = false;
      form.querySelector(".quiz-answers").hidden = true; // shown again after a first try
      form.addEventListener("change", () => clear(form)); // a verdict on an older choice would mislead
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        check(form);
      });
    });
  };

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
