// The growth chart of attnlib.widgets: redraws what Python drew, for the sizes that the sliders show.
// root: the chart's element; set: sizes, geometry and sentences; formula: name -> (n, d, h) => number, from SymPy.
(root, set, formula) => {
  if (!root) return;
  const [left, right, top, bottom] = set.box, [n0, n1, low, high] = set.span;
  const x = n => left + (right - left) * Math.log(n / n0) / Math.log(n1 / n0);
  const y = c => bottom - (bottom - top) * Math.log(c / low) / Math.log(high / low);
  const places = (v, k) => v.toLocaleString("en-US", {minimumFractionDigits: k, maximumFractionDigits: k});
  const three = v => places(v, Math.max(0, 2 - Math.floor(Math.log10(v))));
  const flops = v => {
    let power = 0;
    while (power < 4 && v >= 1000 ** (power + 1)) power++;
    return three(v / 1000 ** power) + " " + ["", "k", "M", "G", "T"][power] + "FLOP";
  };
  const fill = (template, words) => template.replace(/\{(\w+)\}/g, (_, name) => words[name]);
  const one = selector => root.querySelector(selector);
  const draw = () => {
    const size = {};
    for (const input of root.querySelectorAll("input")) {
      const name = input.dataset.size;
      size[name] = set.sizes[name][input.value];
      input.setAttribute("aria-valuetext", places(size[name], 0));
      input.nextElementSibling.textContent = places(size[name], 0);
    }
    const {n, d, h} = size, now = {}, words = {};
    for (const name in formula) {
      now[name] = formula[name](n, d, h);
      words[name] = name.endsWith("_n") ? places(now[name], 0) : flops(now[name]);
    }
    for (const name in size) words[name] = places(size[name], 0);
    words.cheaper = now.core < now.recurrent ? "the attention core" : "the recurrent layer";
    words.core_ratio = three(now.core / now.recurrent);
    words.attention_ratio = three(now.attention / now.recurrent);
    words.share = three(100 * now.softmax / now.core) + "%";
    const names = set.curves.map(curve => ({curve, end: y(formula[curve](n1, d, h))}));
    names.sort((a, b) => a.end - b.end);
    names.forEach((name, i) => {
      if (i) name.end = Math.max(name.end, names[i - 1].end + set.gap);
      one(`text.${name.curve}`).setAttribute("y", (name.end + 4).toFixed(1));
    });
    for (const curve of set.curves) {
      const points = set.sizes.n.map(m => x(m).toFixed(1) + "," + y(formula[curve](m, d, h)).toFixed(1));
      one(`path.curve.${curve}`).setAttribute("d", "M" + points.join("L"));
      const dot = one(`circle.${curve}`);
      dot.setAttribute("cx", x(n).toFixed(1));
      dot.setAttribute("cy", y(now[curve]).toFixed(1));
      one(`output.${curve}`).textContent = words[curve];
    }
    one(".now").setAttribute("d", `M${x(n).toFixed(1)},${top}V${bottom}`);
    const crossing = one(".crossing");
    crossing.setAttribute("cx", x(now.recurrent_n).toFixed(1));
    crossing.setAttribute("cy", y(formula.recurrent(now.recurrent_n, d, h)).toFixed(1));
    for (const part of [crossing, one(".ring")]) // where they meet beyond the axes there is no ring
      part.toggleAttribute("data-beyond", now.recurrent_n < n0 || now.recurrent_n > n1);
    one("desc").textContent = fill(set.description, words);
    one("output.verdict").textContent = fill(set.sentence, words);
  };
  for (const input of root.querySelectorAll("input")) {
    input.disabled = false;
    input.addEventListener("input", draw);
  }
  one(".still").remove(); // not <noscript>: a notebook may drop the script of a page that runs others
  draw();
}
