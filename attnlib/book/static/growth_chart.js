// The growth chart of attnlib.book.widgets: redraws what Python drew, for the sizes that the sliders show.
// root: the chart's element; set: sizes, geometry and words; formula: name -> (n, d) => number, from SymPy.
(root, set, formula) => {
  if (!root) return;
  const [left, right, top, bottom] = set.box, [n0, n1, low, high] = set.span;
  const x = n => left + (right - left) * Math.log(n / n0) / Math.log(n1 / n0);
  const y = c => bottom - (bottom - top) * Math.log(c / low) / Math.log(high / low);
  const whole = v => v.toLocaleString("en-US", {maximumFractionDigits: 0});
  const flops = v => {
    let power = 0;
    while (power < set.units.length - 1 && v >= 999.5 * 1000 ** power) power++;
    return (v / 1000 ** power).toPrecision(3) + " " + set.units[power] + "FLOP";
  };
  const share = v => v < 0.01 ? "under 1 %" : v > 0.99 ? "over 99 %" : (100 * v).toFixed(0) + " %";
  const fill = (template, words) => template.replace(/\{(\w+)\}/g, (_, name) => words[name]);
  const one = selector => root.querySelector(selector);
  const place = (element, places) => {
    for (const name in places) element.setAttribute(name, places[name].toFixed(1));
  };
  const slider = name => one(`input[data-size=${name}]`);
  const draw = () => {
    const size = {};
    for (const name in set.sizes) {
      const input = slider(name);
      size[name] = set.sizes[name][input.value];
      input.setAttribute("aria-valuetext", whole(size[name]));
      input.nextElementSibling.textContent = whole(size[name]);
    }
    const {n, d} = size, now = {}, words = {...set.written, n: whole(n), d: whole(d)};
    for (const name in formula) now[name] = formula[name](n, d);
    for (const curve of set.curves) words[curve] = flops(now[curve]);
    words.equal_n = whole(now.equal_n);
    words.share = share(now.share);
    words.doubled = now.doubled.toFixed(1);
    const names = set.curves.map(curve => ({curve, end: y(formula[curve](n1, d))}));
    names.sort((a, b) => a.end - b.end);
    names.forEach((name, i) => {
      if (i) name.end = Math.max(name.end, names[i - 1].end + set.gap);
      place(one(`text.name.${name.curve}`), {y: name.end + 4});
    });
    for (const curve of set.curves) {
      const points = set.sizes.n.map(m => x(m).toFixed(1) + "," + y(formula[curve](m, d)).toFixed(1));
      one(`path.curve.${curve}`).setAttribute("d", "M" + points.join("L"));
      place(one(`circle.dot.${curve}`), {cx: x(n), cy: y(now[curve])});
      one(`.cost.${curve}`).textContent = words[curve];
    }
    one(".now").setAttribute("d", `M${x(n).toFixed(1)},${top + set.room[1]}V${bottom}`);
    const meet = x(now.equal_n), ring = y(formula.core(now.equal_n, d));
    place(one(".crossing"), {cx: meet, cy: ring});
    place(one(".meets"), {x: meet + 9, y: ring + 17});
    place(one(".region.projections"), {width: meet - left});
    place(one(".region.core"), {x: meet, width: right - meet});
    for (const [curve, at, width] of [["projections", meet - 6, meet - left], ["core", meet + 6, right - meet]]) {
      const where = one(`.where.${curve}`);
      for (const line of where.children) place(line, {x: at});
      where.toggleAttribute("data-narrow", width < set.room[0] + 6);
    }
    one("desc").textContent = fill(set.description, words);
    one(".numbers").textContent = fill(set.numbers, words);
  };
  // The length under the pointer, and of those that the slider has the one next to it.
  const picture = one("svg.picture");
  const follow = event => {
    const frame = picture.getBoundingClientRect();
    const at = (event.clientX - frame.left) / frame.width * picture.viewBox.baseVal.width;
    const distances = set.sizes.n.map(n => Math.abs(x(n) - at));
    slider("n").value = distances.indexOf(Math.min(...distances));
    draw();
  };
  picture.addEventListener("pointerdown", event => {
    if (event.button) return;
    picture.setPointerCapture(event.pointerId);
    follow(event);
  });
  picture.addEventListener("pointermove", event => {
    if (picture.hasPointerCapture(event.pointerId)) follow(event);
  });
  for (const input of root.querySelectorAll("input")) {
    input.disabled = false;
    input.addEventListener("input", draw);
  }
  one(".still").remove(); // not <noscript>: a notebook may drop the script of a page that runs others
  root.classList.add("live");
  draw();
}
