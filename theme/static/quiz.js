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

  const start = () =>
    document.querySelectorAll("form.quiz").forEach((form) => {
      const button = form.querySelector(".quiz-check");
      button.hidden = button.disabled = false;
      form.querySelector(".quiz-answers").hidden = true; // shown again after a first try
      form.addEventListener("change", () => clear(form)); // a verdict on an older choice would mislead
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        check(form);
      });
    });

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
