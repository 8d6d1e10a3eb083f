// What Python brings with it, for the functions that tools/javascript.py writes below.
"use strict";

class ValueError extends Error {}
class TypeError_ extends Error {}
class KeyError_ extends Error {}
const ValueError_ = message => new ValueError(message), Exception_ = Error;
const absent = name => { throw new Error(`${name} is not in the page`); };
class Never {}

// ---- values: a dict may have any key, so that values are compared by what they hold
const CLASS = Symbol("class"), KEY = Symbol("key"), FUNCTIONS = new Map();
const number = x => typeof x === "number" || typeof x === "boolean";
const keyOf = x => {
  if (x === null || x === undefined) return "None";
  if (typeof x === "string") return "s" + JSON.stringify(x);
  if (number(x)) return "n" + Number(x);
  if (Array.isArray(x)) return "(" + x.map(keyOf).join() + ")";
  if (x[CLASS]) return x[KEY] ??= x[CLASS].title + "(" + x[CLASS].fields.map(name => keyOf(x[name])).join() + ")";
  if (x instanceof Dict) return "{" + [...x.table].map(([k, [, v]]) => k + ":" + keyOf(v)).join() + "}";
  if (!FUNCTIONS.has(x)) FUNCTIONS.set(x, "f" + FUNCTIONS.size);
  return FUNCTIONS.get(x);
};
class Dict {
  constructor(pairs = []) { this.table = new Map(); for (const [k, v] of pairs) this.set(k, v); }
  set(k, v) { this.table.set(keyOf(k), [k, v]); }
  has(k) { return this.table.has(keyOf(k)); }
  get(k, otherwise = null) { const found = this.table.get(keyOf(k)); return found ? found[1] : otherwise; }
  keys() { return [...this.table.values()].map(pair => pair[0]); }
  values() { return [...this.table.values()].map(pair => pair[1]); }
  items() { return [...this.table.values()]; }
  get size() { return this.table.size; }
  [Symbol.iterator]() { return this.keys()[Symbol.iterator](); }
}
const dict_ = (x = []) => new Dict(x instanceof Dict ? x.items() : x);
const set_ = (x = []) => dict_([...x].map(k => [k, true]));
const counter_ = x => { const d = new Dict(); for (const k of x) d.set(k, d.get(k, 0) + 1); return d; };
const items = x => x.items();
const toObject = x => x instanceof Dict ? Object.fromEntries(x.items()) : x;

// ---- functions: parameters by place and by name
const fn = ([places, only, star, rest, optional], code) => {
  const bind = (args, named) => {
    const left = {...named}, take = name => { const v = left[name]; delete left[name]; return v; };
    const values = places.map((name, i) => i < args.length ? args[i] : take(name));
    if (star) values.push(args.slice(places.length));
    else if (args.length > places.length) throw new TypeError_(`expected at most ${places.length} arguments`);
    for (const name of only) values.push(take(name));
    if (rest) values.push(dict_(Object.entries(left)));
    else if (Object.keys(left).length) throw new TypeError_(`unexpected argument ${Object.keys(left)}`);
    const names = [...places, ...(star ? [null] : []), ...only];
    names.forEach((name, i) => {
      if (name !== null && values[i] === undefined && !optional.includes(name)) throw new TypeError_(`no ${name}`);
    });
    return code(...values);
  };
  const f = star || rest ? (...args) => bind(args, {}) : code;
  f.bind_ = bind;
  return f;
};
const bound = (f, args, named) => f.bind_ ? f.bind_(args, named) : f(...args, named);
const class_ = (title, fields, defaults, methods, getters, row) => {
  const prototype = {}, made = {title, fields, methods};
  if (row) prototype[Symbol.iterator] = function* () { for (const name of fields) yield this[name]; };
  for (const name in getters) Object.defineProperty(prototype, name, {get() { return getters[name](this); }});
  const start = (args, named) => {
    const self = Object.create(prototype);
    self[CLASS] = f;
    if (methods.__init__) { methods.__init__.bind_([self, ...args], named); return self; }
    fields.forEach((name, i) => {
      const given = i < args.length ? args[i] : name in named ? named[name] : defaults[name];
      if (given === undefined) throw new TypeError_(`${title}: no ${name}`);
      self[name] = given;
    });
    for (const name in named) if (!fields.includes(name)) throw new TypeError_(`${title}: unexpected ${name}`);
    if (methods.__post_init__) methods.__post_init__(self);
    return self;
  };
  const f = Object.assign((...args) => start(args, {}), made);
  f.bind_ = start;
  f.made_ = values => {
    const self = Object.create(prototype);
    self[CLASS] = f;
    fields.forEach((name, i) => { self[name] = values[i]; });
    return self;
  };
  return f;
};
// A property that is computed once: it takes the getter's place in the object.
const once = (name, get) => self => {
  const value = get(self);
  Object.defineProperty(self, name, {value});
  return value;
};
const replace_ = (x, changes) => x[CLASS].bind_([], {
  ...Object.fromEntries(x[CLASS].fields.map(name => [name, x[name]])), ...changes,
});

// ---- operators
const truth = x => x instanceof Dict ? x.size > 0 : Array.isArray(x) ? x.length > 0 : Boolean(x);
const and_ = (x, ...more) => more.reduce((found, next) => truth(found) ? next() : found, x);
const or_ = (x, ...more) => more.reduce((found, next) => truth(found) ? found : next(), x);
const same = (a, b) => (a ?? null) === (b ?? null);
const simple = x => x === null || typeof x !== "object" && typeof x !== "function";
const equal = (a, b) => simple(a) && simple(b) ? a === b || number(a) && number(b) && Number(a) === Number(b)
  : keyOf(a) === keyOf(b);
const add = (a, b) => {
  if (number(a) && number(b)) return Number(a) + Number(b);
  if (typeof a === "string" && typeof b === "string") return a + b;
  if (Array.isArray(a) && Array.isArray(b)) return [...a, ...b];
  throw new TypeError_(`+ of ${typename(a)} and ${typename(b)}`);
};
const sub = (a, b) => a instanceof Dict ? set_(a.keys().filter(k => !b.has(k))) : a - b;
const mul = (a, b) => {
  if (number(a) && number(b)) return a * b;
  for (const [x, y, name] of [[a, b, "__mul__"], [b, a, "__rmul__"]]) {
    if (x?.[CLASS]?.methods[name]) return x[CLASS].methods[name](x, y);
    if (Array.isArray(x) && number(y)) return Array(Number(y)).fill(x).flat();
    if (typeof x === "string" && number(y)) return x.repeat(y);
  }
  throw new TypeError_(`* of ${typename(a)} and ${typename(b)}`);
};
const floordiv = (a, b) => Math.floor(a / b);
const mod = (a, b) => ((a % b) + b) % b;
const pow = (a, b) => a ** b;
const union = (a, b) => a instanceof Dict ? dict_([...a.items(), ...b.items()]) : [a, b].flat();
const less = (a, b) => {
  if (!Array.isArray(a)) return a < b;
  const i = a.findIndex((x, k) => k >= b.length || !equal(x, b[k]));
  return i < 0 ? a.length < b.length : i < b.length && less(a[i], b[i]);
};
const within = (x, box) => typeof box === "string" ? box.includes(x)
  : box instanceof Dict ? box.has(x) : [...box].some(y => equal(x, y));
const at = (x, i) => {
  if (x instanceof Dict) { if (!x.has(i)) throw new KeyError_(repr_(i)); return x.get(i); }
  if (x[CLASS]) return x[CLASS].methods.__getitem__(x, i);
  const found = x[i < 0 ? x.length + i : Number(i)];
  if (found === undefined) throw new Error("index out of range");
  return found;
};
const slot = (x, i) => ({set value(v) { if (x instanceof Dict) x.set(i, v); else x[i < 0 ? x.length + i : i] = v; }});
const slice = (x, a, b, step) => {
  const part = x.slice(a ?? 0, b ?? undefined);
  return step === null ? part : part.filter((_, i) => i % step === 0);
};

// ---- functions that Python has
const abs_ = Math.abs, len_ = x => x.size ?? x.length, list_ = (x = []) => [...x], tuple_ = list_;
const all_ = xs => { for (const x of xs) if (!truth(x)) return false; return true; };
const any_ = xs => { for (const x of xs) if (truth(x)) return true; return false; };
const bool_ = truth, float_ = Number, int_ = x => Math.trunc(Number(x)), str_ = x => x instanceof Error ? x.message : format(x, "");
const index_ = x => { if (!Number.isInteger(x)) throw new TypeError_("no integer"); return x; };
const enumerate_ = xs => [...xs].map((x, i) => [i, x]);
const zip_ = (...all) => {
  const lists = all.filter(x => Symbol.iterator in Object(x)).map(x => [...x]);
  return Array.from({length: Math.min(...lists.map(x => x.length))}, (_, i) => lists.map(x => x[i]));
};
const map_ = (f, xs) => [...xs].map(x => f(x));
const getattr_ = (x, name, otherwise = null) => x?.[name] === undefined ? otherwise : x[name];
const hasattr_ = (x, name) => x !== null && typeof x === "object" && name in x;
const vars_ = x => dict_(x[CLASS].fields.map(name => [name, x[name]]));
const range_ = (a, b) => { const [low, high] = b === undefined ? [0, a] : [a, b]; return Array.from({length: Math.max(0, high - low)}, (_, i) => low + i); };
const reversed_ = xs => [...xs].reverse();
const sum_ = (xs, start = 0) => { let total = start?.start ?? start; for (const x of xs) total = add(total, x); return total; };
const best = better => (...given) => {
  const last = given.at(-1);
  const named = given.length > 1 && last && Object.getPrototypeOf(last) === Object.prototype ? given.pop() : {};
  const xs = given.length === 1 ? [...given[0]] : given, key = named.key ?? (x => x);
  if (!xs.length) { if ("default" in named) return named.default; throw new ValueError("of nothing"); }
  return xs.reduce((a, b) => better(key(b), key(a)) ? b : a);
};
const min_ = best(less), max_ = best((a, b) => less(b, a));
const sorted_ = (xs, {key = x => x} = {}) => [...xs].sort((a, b) => less(key(a), key(b)) ? -1 : less(key(b), key(a)) ? 1 : 0);
const typename = x => x === null ? "NoneType" : x?.[CLASS]?.title ?? x?.title
  ?? {string: "str", boolean: "bool", number: Number.isInteger(x) ? "int" : "float"}[typeof x]
  ?? (Array.isArray(x) ? "list" : x instanceof Dict ? "dict" : "object");
const type_ = x => x;
const isinstance_ = (x, kind) => {
  if (Array.isArray(kind)) return kind.some(one => isinstance_(x, one));
  switch (kind) {
    case bool_: return typeof x === "boolean";
    case int_: return typeof x === "boolean" || Number.isInteger(x);
    case float_: return typeof x === "number";
    case str_: return typeof x === "string";
    case list_: return Array.isArray(x);
    case dict_: case Dict: return x instanceof Dict;
    case ValueError_: return x instanceof ValueError;
    case Never: return false;
  }
  if (kind === TypeError_ || kind === KeyError_ || kind === Exception_) return x instanceof kind;
  return x?.[CLASS] === kind;
};
const repr_ = x => typeof x === "string" ? `'${x}'` : Array.isArray(x) ? `[${x.map(repr_).join(", ")}]`
  : x?.[CLASS] ? `${x[CLASS].title}(${x[CLASS].fields.map(name => `${name}=${repr_(x[name])}`).join(", ")})`
  : x instanceof Dict ? `{${x.items().map(([k, v]) => `${repr_(k)}: ${repr_(v)}`).join(", ")}}` : format(x, "");
// Rounds as Python does: what lies half-way goes to the even digit. toFixed has all digits that a number has.
const fixed = (x, places) => {
  const short = x.toFixed(places), long = Math.abs(x).toFixed(Math.min(100, places + 40));
  const end = long.length - (Math.min(100, places + 40) - places) - (places ? 0 : 1);
  const cut = long.slice(0, end), rest = long.slice(end).replace(".", "");
  return /^50*$/.test(rest) && "02468".includes(cut.at(-1)) ? (x < 0 ? "-" : "") + cut : short;
};
const general = (x, digits) => {
  if (x === 0) return "0";
  const [mantissa, power] = x.toExponential(Math.max(1, digits) - 1).split("e");
  const bare = text => text.includes(".") ? text.replace(/\.?0+$/, "") : text;
  if (power < -4 || power >= digits) return `${bare(mantissa)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  return bare(fixed(x, Math.max(0, digits - 1 - power)));
};
const format = (x, spec) => {
  if (x === null || x === undefined) return "None";
  if (typeof x === "boolean" && !spec) return x ? "True" : "False";
  if (typeof x === "string") { if (spec) absent(`the format ${spec}`); return x; }
  if (!spec && x[CLASS]?.methods.__str__) return x[CLASS].methods.__str__(x);
  if (typeof x === "object" && !spec) return repr_(x);
  if (!spec) return String(x);
  const [, comma, digits, kind] = /^(,)?(?:\.(\d+))?([fg])?$/.exec(spec) ?? absent(`the format ${spec}`);
  if (kind === "g") return general(x, Number(digits ?? 6));
  if (kind !== "f" && !Number.isInteger(x)) absent(`the format ${spec} of ${x}`);
  const [whole, part] = fixed(x, kind === "f" ? Number(digits ?? 6) : 0).split(".");
  const grouped = comma ? whole.replace(/\B(?=(\d{3})+$)/g, ",") : whole;
  return part === undefined ? grouped : `${grouped}.${part}`;
};
const METHODS = {
  number: {is_integer: Number.isInteger},
  string: {
    startswith: (x, y) => [y].flat().some(z => x.startsWith(z)), endswith: (x, y) => [y].flat().some(z => x.endsWith(z)), lower: x => x.toLowerCase(),
    isascii: x => /^[\x00-\x7f]*$/.test(x), isdecimal: x => /^\p{Nd}+$/u.test(x),
    join: (x, xs) => [...xs].join(x), strip: x => x.trim(), replace: (x, a, b) => x.split(a).join(b),
    split: (x, by, most = Infinity) => {
      const parts = x.split(by);
      return parts.length <= most + 1 ? parts : [...parts.slice(0, most), parts.slice(most).join(by)];
    },
    partition: (x, by) => { const i = x.indexOf(by); return i < 0 ? [x, "", ""] : [x.slice(0, i), by, x.slice(i + by.length)]; },
  },
  list: {
    append: (x, y) => { x.push(y); return null; },
    index: (x, y) => x.findIndex(z => equal(z, y)), count: (x, y) => x.filter(z => equal(z, y)).length,
  },
  dict: {
    pop: (x, k, otherwise) => {
      const found = otherwise === undefined ? at(x, k) : x.get(k, otherwise);
      x.table.delete(keyOf(k));
      return found;
    },
    get: (x, k, otherwise = null) => x.get(k, otherwise), items: x => x.items(), keys: x => x.keys(), values: x => x.values(),
  },
};
const method = (x, name, args, named) => {
  const own = x?.[CLASS]?.methods[name];
  if (own) return named ? own.bind_([x, ...args], named) : own(x, ...args);
  if (x === dict_ && name === "fromkeys") return dict_([...args[0]].map(k => [k, args[1] ?? null]));
  const found = METHODS[["string", "number"].includes(typeof x) ? typeof x : Array.isArray(x) ? "list" : x instanceof Dict ? "dict" : ""]?.[name];
  if (found) return found(x, ...args);
  if (typeof x?.[name] === "function") return x[name](...args);
  return absent(`${typename(x)}.${name}`);
};
const escape_ = x => x.replace(/[&<>"']/g, c => ({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})[c]);
// Names that are a few letters away, or hold what was given; Python's own measure is another, its purpose the same.
const near_ = (word, names) => {
  const apart = (a, b) => {
    let row = Array.from({length: b.length + 1}, (_, i) => i);
    for (let i = 1; i <= a.length; i++) {
      const next = [i];
      for (let k = 1; k <= b.length; k++) next[k] = Math.min(next[k - 1] + 1, row[k] + 1, row[k - 1] + (a[i - 1] !== b[k - 1]));
      row = next;
    }
    return row[b.length];
  };
  const all = [...names].map(name => [apart(word, name) / Math.max(word.length, name.length), name]);
  return all.filter(([d]) => d <= 0.4).sort((a, b) => a[0] - b[0]).slice(0, 4).map(([, name]) => name);
};
