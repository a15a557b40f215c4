"use strict";
// Shows one of several moments beside what does not change: by the slider, or by a click on its picture.
(() => {
  const slider = document.querySelector(".controls .frame"), said = document.querySelector(".controls output");
  const strips = [...document.querySelectorAll(".strip")].map((strip) => [...strip.querySelectorAll("figure")]);
  const shown = [...document.querySelectorAll("figure.moment")];

  function show(number) {
    slider.value = number;
    strips.forEach((figures, run) => {
      const { src, alt } = figures[number].querySelector("img");
      Object.assign(shown[run].querySelector("img"), { src, alt });
      shown[run].querySelector("figcaption").textContent = figures[number].dataset.caption;
      figures.forEach((figure, each) => figure.setAttribute("aria-current", String(each === number)));
    });
    said.textContent = strips[0][number].dataset.caption;
    slider.setAttribute("aria-valuetext", said.textContent);
  }

  slider.addEventListener("input", () => show(Number(slider.value)));
  for (const figures of strips) figures.forEach((figure, number) => figure.addEventListener("click", () => show(number)));
  show(Number(slider.max));
})();
