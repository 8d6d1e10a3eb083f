// The steps of attnlib.book.drawings.flash: one picture and one sentence at a time, by button or arrow key.
(root) => {
  if (!root) return;
  const pictures = [...root.querySelectorAll(".step")];
  const sentences = [...root.querySelectorAll(".all li")].map(item => item.textContent);
  const said = root.querySelector(".said"), bar = root.querySelector(".bar");
  const [back, next] = bar.querySelectorAll("button");
  let now = 0;
  const show = step => {
    now = Math.max(0, Math.min(step, pictures.length - 1));
    // A page may put a button of its own into a picture, which then goes out of sight with the focus.
    if (pictures.some((picture, i) => i !== now && picture.contains(document.activeElement))) root.focus();
    pictures.forEach((picture, i) => { picture.hidden = i !== now; });
    said.textContent = `Block ${now + 1} of ${pictures.length}. ${sentences[now]}`;
    back.setAttribute("aria-disabled", now === 0); // not `disabled`: a button must not lose the focus
    next.setAttribute("aria-disabled", now === pictures.length - 1);
  };
  back.addEventListener("click", () => show(now - 1));
  next.addEventListener("click", () => show(now + 1));
  root.addEventListener("keydown", event => {
    const to = {ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: pictures.length - 1}[event.key];
    if (to === undefined || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    event.stopPropagation(); // a page may turn with the same keys
    show(to);
  });
  root.tabIndex = 0;
  said.hidden = bar.hidden = false;
  root.querySelector(".all").hidden = true; // not <noscript>: a notebook may drop the script of a page that runs others
  show(0);
}
