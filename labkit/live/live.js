// Draws the scenes that the kernel lays out (scene.py). It moves what has moved, and goes on with the
// progress of the tasks between two scenes; it knows nothing of queues and workers.
const SVG = "http://www.w3.org/2000/svg";
const STALE = 3000;      // ms without a scene after which nothing moves by itself any more
const SAY_EVERY = 4000;  // ms between two sentences for a screen reader
const RUSH = 25;         // boxes that come or go in one scene before they stop gliding

function make(name, parent, look) {
  const element = document.createElementNS(SVG, name);
  if (look) element.setAttribute("class", look);
  return parent.appendChild(element);
}

function put(element, attributes) {  // touches only what differs
  for (const [name, value] of Object.entries(attributes)) {
    if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function makeTask(parent) {
  const g = make("g", parent, "lk-task");
  return {
    g, body: make("rect", g, "lk-body"), fill: make("rect", g, "lk-fill"), notch: make("path", g, "lk-notch"),
    cross: make("path", g, "lk-cross"), text: make("text", g),
  };
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "lk-live";
  const svg = make("svg", root);
  put(svg, { role: "img", "aria-label": "The queue and the workers, live" });
  const layers = { panels: make("g", svg), boxes: make("g", svg), words: make("g", svg) };
  const clock = make("text", svg, "lk-word name end");
  const spoken = document.createElement("div");
  spoken.className = "lk-hidden";
  spoken.setAttribute("role", "status");
  spoken.setAttribute("aria-live", "polite");
  root.append(spoken);
  el.append(root);

  const panels = [], words = [], tasks = new Map();
  let scene = null, arrived = 0, saidAt = -Infinity, waiting = 0, asked = 0;
  root.dataset.frames = 0;  // scenes drawn, for tests and measurements

  function pool(items, list, name, parent) {
    while (items.length < list.length) items.push(make(name, parent));
    while (items.length > list.length) items.pop().remove();
  }

  function draw() {
    put(svg, { viewBox: `0 0 ${model.get("width")} ${scene.height}` });
    pool(panels, scene.panels, "rect", layers.panels);
    scene.panels.forEach(([x, y, width, height, look], i) =>
      put(panels[i], { x, y, width, height, rx: 4, class: `lk-panel ${look}` }));
    pool(words, scene.words, "text", layers.words);
    scene.words.forEach(([x, y, look, text], i) => {
      put(words[i], { x, y, class: `lk-word ${look}` });
      say(words[i], text);
    });
    const here = new Map();
    for (const box of scene.boxes) here.set(here.has(box[0]) ? `${box[0]} again` : box[0], box);
    const gone = [...tasks.keys()].filter((key) => !here.has(key));
    const fresh = [...here.keys()].filter((key) => !tasks.has(key)).length;
    svg.classList.toggle("lk-moves", gone.length + fresh < RUSH);
    for (const key of gone) { tasks.get(key).g.remove(); tasks.delete(key); }
    for (const [key, [, x, y, width, height, look, label]] of here) {
      if (!tasks.has(key)) tasks.set(key, makeTask(layers.boxes));
      const task = tasks.get(key);
      task.g.style.transform = `translate(${x}px, ${y}px)`;
      put(task.g, { class: `lk-task ${look}` });
      put(task.body, { width, height, rx: 3 });
      put(task.fill, { height, rx: 3, ...(look.startsWith("work") ? {} : { width: 0 }) });
      put(task.notch, { d: "M0 0H9L0 9Z" });
      put(task.cross, { d: `M2 2L${width - 2} ${height - 2}M2 ${height - 2}L${width - 2} 2` });
      put(task.text, { x: width / 2, y: height / 2 + 5 });
      say(task.text, label);
    }
    root.dataset.frames = Number(root.dataset.frames) + 1;
    speak();
  }

  function speak() {
    const left = saidAt + SAY_EVERY - performance.now();
    if (left > 0) { waiting = waiting || setTimeout(() => { waiting = 0; speak(); }, left); return; }
    saidAt = performance.now();
    say(spoken, scene.say);
  }

  function tick() {  // between two scenes: clock and progress
    const seconds = Math.min(performance.now() - arrived, STALE) / 1000;
    say(clock, `${(scene.now + scene.rate * seconds).toFixed(1)} s`);
    put(clock, { x: model.get("width") - 8, y: 20 });
    for (const [key, , , width, , , , share, rate] of scene.boxes) {
      if (share === undefined) continue;
      const fill = tasks.get(key)?.fill;
      if (fill) fill.setAttribute("width", Math.max(0, Math.min(1, share + rate * seconds)) * width);
    }
  }

  function frame() {
    asked = 0;
    if (changed) { changed = false; draw(); }
    tick();
    if (scene.rate && performance.now() - arrived < STALE) asked = requestAnimationFrame(frame);
  }

  let changed = false;
  function update() {
    if (!model.get("scene")) return;
    scene = JSON.parse(model.get("scene"));
    arrived = performance.now();
    changed = true;
    asked = asked || requestAnimationFrame(frame);
  }

  model.on("change:scene", update);
  update();
  return () => { model.off("change:scene", update); cancelAnimationFrame(asked); clearTimeout(waiting); };
}

export default { render };
