"use strict";
// Draws the figures in the colours of the screen, again when these change, and in those of paper when printed.
(() => {
  const twins = JSON.parse(document.getElementById("twins").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 600px)");
  const hex = (red, green, blue) => "#" + [red, green, blue].map((part) => (+part).toString(16).padStart(2, "0")).join("");

  const twin = (word) => {
    if (twins[word]) return twins[word];
    const found = /^rgba\((\d+),(\d+),(\d+),([\d.]+)\)$/.exec(word);
    const other = found && twins[hex(found[1], found[2], found[3])];
    if (!other) return word;
    const parts = [1, 3, 5].map((at) => parseInt(other.slice(at, at + 2), 16));
    return `rgba(${parts.join(",")},${found[4]})`;
  };
  const darkened = (part) => {
    if (typeof part === "string") return twin(part);
    if (Array.isArray(part)) return part.map(darkened);
    if (part === null || typeof part !== "object") return part;
    return Object.fromEntries(Object.entries(part).map(([name, value]) => [name, darkened(value)]));
  };

  const draw = (place, onPaper) => {
    const text = place.querySelector("script").textContent;
    let { data, layout } = JSON.parse(text);
    if (dark.matches && !onPaper) ({ data, layout } = darkened({ data, layout }));
    layout.autosize = true;
    layout.font.family = getComputedStyle(document.body).fontFamily;
    layout.hoverlabel = { font: { family: layout.font.family } };
    if (narrow.matches) {
      layout.font.size = 11;
      layout.dragmode = false;
    }
    let target = place.querySelector(".plot");
    if (!target) {
      target = document.createElement("div");
      target.className = "plot";
      place.append(target);
    }
    return window.Plotly.react(target, data, layout, { displayModeBar: false, responsive: true, scrollZoom: false });
  };

  const places = [...document.querySelectorAll(".figure")];
  const all = (onPaper) => Promise.all(places.map((place) => draw(place, onPaper)));
  // One figure after another, so that the first card can be read while the last is drawn.
  const first = places.reduce((before, place) => before.then(() => draw(place, false)), Promise.resolve());
  first.then(() => { document.documentElement.dataset.drawn = String(places.length); });
  for (const query of [dark, narrow]) query.addEventListener("change", () => all(false));
  window.addEventListener("beforeprint", () => all(true));
  window.addEventListener("afterprint", () => all(false));
})();
