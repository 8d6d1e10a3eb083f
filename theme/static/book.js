// Small things the theme leaves out; the pages can be read without them.
(() => {
  "use strict";

  // What scrolls inside its own box must be reachable by keyboard, and say what it is.
  const BOXES = {
    "main pre": "Code that scrolls sideways",
    "main .cell_output .output": "Output that scrolls sideways",
    "main .pst-scrollable-table-container": "Table that scrolls sideways",
    "main .formula": "Formula that scrolls sideways",
    "main span.math.long": "Formula that scrolls sideways",
    "main div.math .typeset": "Formula that scrolls sideways",
    "main .results-scroll, main .growth-chart .numbers": null, // they have a name and take the focus as they are
  };

  const scrolls = (box) =>
    box.scrollWidth > box.clientWidth + 1 && ["auto", "scroll"].includes(getComputedStyle(box).overflowX);

  // Where a box stands between its ends; the sheet lets it fade where it goes on.
  const markEnd = (box) => {
    const left = box.scrollLeft > 1;
    const right = box.scrollLeft + box.clientWidth < box.scrollWidth - 1;
    box.dataset.scrolls = left && right ? "middle" : left ? "end" : "start";
  };

  const markBoxes = () =>
    Object.entries(BOXES).forEach(([selector, label]) =>
      document.querySelectorAll(selector).forEach((box) => {
        if (scrolls(box) && !box.querySelector("[data-scrolls]")) {
          if (!("scrolls" in box.dataset)) box.addEventListener("scroll", () => markEnd(box), { passive: true });
          markEnd(box);
          if (!label) return;
          box.setAttribute("tabindex", "0");
          box.setAttribute("role", "group");
          box.setAttribute("aria-label", label);
        } else if ("scrolls" in box.dataset && !scrolls(box)) {
          delete box.dataset.scrolls;
          if (label) ["tabindex", "role", "aria-label"].forEach((name) => box.removeAttribute(name));
        }
      }),
    );

  // A link to a closed box opens it.
  const openTarget = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    const box = id && document.getElementById(id)?.closest("details");
    if (box) box.open = true;
  };

  // Code that a reader opened is open when the page is read again.
  const rememberCode = () =>
    document.querySelectorAll("div.cell details.hide").forEach((box, i) => {
      const key = `code ${location.pathname} ${i}`;
      try {
        if (localStorage.getItem(key)) box.open = true;
        box.addEventListener("toggle", () =>
          box.open ? localStorage.setItem(key, "open") : localStorage.removeItem(key),
        );
      } catch {
        // A browser that keeps nothing.
      }
    });

  // Paper is white, and has no way to open a box: print in light with every box open, then put all back.
  const boxes = () => document.querySelectorAll("details.dropdown-box, form.quiz details");
  let theme;
  const beforePrint = () => {
    theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    boxes().forEach((box) => {
      box.dataset.wasOpen = box.open;
      box.open = true;
    });
  };
  const afterPrint = () => {
    document.documentElement.dataset.theme = theme;
    boxes().forEach((box) => {
      box.open = box.dataset.wasOpen === "true";
    });
  };

  const start = () => {
    rememberCode();
    openTarget();
    markBoxes();
    // Formulas change their widths when their font has come.
    document.fonts.ready.then(markBoxes);
    document.addEventListener("toggle", markBoxes, true);
    window.addEventListener("resize", markBoxes);
    window.addEventListener("hashchange", openTarget);
    window.addEventListener("beforeprint", beforePrint);
    window.addEventListener("afterprint", afterPrint);
  };

  if (document.readyState === "complete") start();
  else window.addEventListener("load", start);
})();
