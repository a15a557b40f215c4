"use strict";
// Plays the cine of a page: canvases, controls and the pictures of all frames stand in it already.
(() => {
  const FLICKER = 400;  // ms a panel
  const find = (name) => document.querySelector(name);
  const cine = find(".cine"), canvases = [...cine.querySelectorAll("canvas")], captions = [...cine.querySelectorAll("figcaption")];
  const frames = [...document.querySelectorAll(".frames > div")].map((each) => ({
    number: Number(each.dataset.number),
    milliseconds: Number(each.dataset.milliseconds),
    captions: [...each.querySelectorAll("i")].map((caption) => caption.textContent),
    pictures: [...each.querySelectorAll("img")],
  }));
  const scrub = find(".controls .frame"), play = find(".controls .play"), speed = find(".controls .speed");
  const views = [...document.querySelectorAll(".controls [data-view]")];
  let shown = 0, playing = false, view = "side", turn = 0, since = 0, turned = 0;

  function draw() {
    const frame = frames[shown];
    canvases.forEach((canvas, index) => {
      canvas.getContext("2d").drawImage(frame.pictures[index], 0, 0);
      captions[index].textContent = frame.captions[index];
    });
    scrub.value = shown;
    scrub.setAttribute("aria-valuetext", `frame ${frame.number}`);
    find(".controls .number").textContent = `frame ${frame.number} / ${frames.at(-1).number}`;
    play.firstChild.textContent = playing ? "Stop " : "Play ";
    for (const curves of document.querySelectorAll("svg.curves[data-first]")) {
      const { first, last, left, right } = curves.dataset, line = curves.querySelector(".now");
      const place = Number(left) + (frame.number - first) / Math.max(last - first, 1) * (right - left);
      line.setAttribute("x1", place);
      line.setAttribute("x2", place);
    }
  }

  function look() {
    cine.classList.toggle("one", view !== "side");
    const alone = view === "turn" ? turn : Number(view);
    cine.querySelectorAll("figure").forEach((figure, index) => figure.classList.toggle("shown", view === "side" || index === alone));
    for (const button of views) button.setAttribute("aria-pressed", String(button.dataset.view === view));
  }

  function go(to) { shown = (to + frames.length) % frames.length; since = performance.now(); draw(); }
  function stop(to) { playing = false; go(to); }
  function toggle() { playing = !playing; since = performance.now(); draw(); }
  function choose(name) { view = name; turned = performance.now(); look(); }
  function grey() {
    const filter = `brightness(${find(".brightness").value}%) contrast(${find(".contrast").value}%)`;
    for (const canvas of canvases) canvas.style.filter = filter;
  }
  function reset() { find(".brightness").value = find(".contrast").value = 100; grey(); }

  const keys = {
    " ": toggle, ArrowLeft: () => stop(shown - 1), ArrowRight: () => stop(shown + 1), ",": () => stop(shown - 1), ".": () => stop(shown + 1),
    Home: () => stop(0), End: () => stop(frames.length - 1), r: reset, R: reset,
    1: () => choose("side"), 3: () => choose("turn"), 4: () => choose("0"), 5: () => choose("1"),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    if (event.target.matches("select, input:not(.frame), summary")) return;
    if (event.key === " " && event.target.matches("button")) return;
    event.preventDefault();
    keys[event.key]();
  });
  play.addEventListener("click", toggle);
  scrub.addEventListener("input", () => stop(Number(scrub.value)));
  find(".controls .reset").addEventListener("click", reset);
  for (const name of [".brightness", ".contrast"]) find(name).addEventListener("input", grey);
  for (const button of views) button.addEventListener("click", () => choose(button.dataset.view));
  for (const curves of document.querySelectorAll("svg.curves[data-first]")) {
    curves.addEventListener("click", (event) => {
      const { first, last, left, right } = curves.dataset, box = curves.getBoundingClientRect();
      const place = (event.clientX - box.left) / box.width * curves.viewBox.baseVal.width;
      const number = Number(first) + (place - left) / (right - left) * (last - first);
      const apart = frames.map((frame) => Math.abs(frame.number - number));
      stop(apart.indexOf(Math.min(...apart)));
    });
  }

  async function start() {
    await Promise.all(frames.flatMap((frame) => frame.pictures.map((picture) => picture.decode())));
    canvases.forEach((canvas, index) => {
      canvas.width = frames[0].pictures[index].naturalWidth;
      canvas.height = frames[0].pictures[index].naturalHeight;
    });
    scrub.max = frames.length - 1;
    playing = frames.length > 1 && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    look();
    go(0);
    document.body.dataset.ready = "yes";
    requestAnimationFrame(function tick(now) {
      if (playing && now - since >= frames[shown].milliseconds / Number(speed.value)) {
        const late = now - since - frames[shown].milliseconds / Number(speed.value);
        go(shown + 1);
        since = now - Math.min(late, 40);
      }
      if (view === "turn" && now - turned >= FLICKER) { turn = 1 - turn; turned = now; look(); }
      requestAnimationFrame(tick);
    });
  }
  start();
})();
