// Slides: one at a time, turned by keys, buttons or a tap; what would not fit is set smaller.
"use strict";
(() => {
  const root = document.documentElement;
  const deck = document.getElementById("deck");
  const slides = [...deck.children];
  root.classList.add("turned");

  // The accents and braces of a formula reach out of its lines: some pixels below the body are free.
  const high = box => box.scrollHeight > box.clientHeight + 8;
  const wide = box => box.scrollWidth > box.clientWidth + 1;

  // A drawing takes what room is left. Words are set smaller when they leave it too little, or do not fit themselves.
  const fit = slide => {
    const body = slide.querySelector(".body");
    const drawing = slide.querySelector(".drawing");
    const parts = [...body.children];
    const size = part => parseFloat(getComputedStyle(part).fontSize);
    const first = parts.map(size);
    const least = slide.classList.contains("beside") ? 0.45 : 0.55;
    const tight = () => high(body) || [body, ...parts].some(wide) ||
      (drawing && !slide.classList.contains("beside") && drawing.clientHeight < least * body.clientHeight);
    for (let by = 0.96; by > 0.4 && tight(); by -= 0.04) {
      parts.forEach((part, i) => { part.style.fontSize = `${first[i] * by}px`; });
    }
  };

  let now = 0;
  const turn = to => {
    now = Math.max(0, Math.min(slides.length - 1, to));
    slides.forEach((slide, i) => slide.classList.toggle("now", i === now));
    document.getElementById("place").textContent = `${now + 1} / ${slides.length}`;
    history.replaceState(null, "", `#${now + 1}`);
  };
  const scale = () => {
    const by = Math.min(innerWidth / 1280, innerHeight / 720);
    deck.style.transform = `scale(${by}) translate(-50%, -50%)`;
  };
  const asked = () => (parseInt(location.hash.slice(1), 10) || 1) - 1;

  const keys = {
    ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1,
    Home: -slides.length, End: slides.length,
  };
  addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "f" && root.requestFullscreen) root.requestFullscreen();
    if (!(event.key in keys) || (event.key === " " && event.target.closest("button, a"))) return;
    event.preventDefault();
    turn(now + (event.key === " " && event.shiftKey ? -1 : keys[event.key]));
  });
  document.getElementById("back").addEventListener("click", () => turn(now - 1));
  document.getElementById("on").addEventListener("click", () => turn(now + 1));
  let from = null;
  addEventListener("touchstart", event => { from = event.changedTouches[0].clientX; }, {passive: true});
  addEventListener("touchend", event => {
    const way = event.changedTouches[0].clientX - from;
    if (Math.abs(way) > 50) turn(now - Math.sign(way));
  }, {passive: true});
  addEventListener("resize", scale);
  addEventListener("hashchange", () => turn(asked()));
  scale();
  turn(asked());
  document.fonts.ready.then(() => {
    slides.forEach(fit);
    root.classList.add("fitted");
  });
})();
