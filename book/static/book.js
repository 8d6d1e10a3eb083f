// Small things the theme leaves out; the pages can be read without them.
(() => {
  "use strict";

  // What scrolls inside its own box must be reachable by keyboard, and say what it is.
  const BOXES = {
    "main pre": "Code that scrolls sideways",
    "main .cell_output .output": "Output that scrolls sideways",
    "main .pst-scrollable-table-container": "Table that scrolls sideways",
    "main div.math mjx-container": "Formula that scrolls sideways",
  };

  const scrolls = (box) =>
    box.scrollWidth > box.clientWidth + 1 && ["auto", "scroll"].includes(getComputedStyle(box).overflowX);

  const markBoxes = () =>
    Object.entries(BOXES).forEach(([selector, label]) =>
      document.querySelectorAll(selector).forEach((box) => {
        if (scrolls(box) && !box.querySelector("[data-scrolls]")) {
          box.dataset.scrolls = "";
          box.setAttribute("tabindex", "0");
          box.setAttribute("role", "group");
          box.setAttribute("aria-label", label);
        } else if ("scrolls" in box.dataset && !scrolls(box)) {
          delete box.dataset.scrolls;
          ["tabindex", "role", "aria-label"].forEach((name) => box.removeAttribute(name));
        }
      }),
    );

  // A link to a closed box opens it.
  const openTarget = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    const box = id && document.getElementById(id)?.closest("details");
    if (box) box.open = true;
  };

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
    openTarget();
    markBoxes();
    // Mathematics changes widths when it is set.
    Promise.resolve(window.MathJax?.startup?.promise).then(markBoxes);
    document.addEventListener("toggle", markBoxes, true);
    window.addEventListener("resize", markBoxes);
    window.addEventListener("hashchange", openTarget);
    window.addEventListener("beforeprint", beforePrint);
    window.addEventListener("afterprint", afterPrint);
  };

  if (document.readyState === "complete") start();
  else window.addEventListener("load", start);
})();
