
"use strict";
// Fields that hide what doesn't have all of their words. Without scripts they stay hidden, and everything is shown.
for (const field of document.querySelectorAll("[data-filters]")) {
  const items = [...document.getElementById(field.dataset.filters).querySelectorAll("[data-item]")];
  const texts = items.map((item) => item.textContent.toLowerCase());
  const [input, told] = [field.querySelector("input"), field.querySelector("output")];
  field.hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = texts.filter((text, index) => {
      const has = words.every((word) => text.includes(word));
      items[index].hidden = !has;
      return has;
    });
    told.textContent = words.length ? `${shown.length} of ${items.length}` : "";
  });
}
// A link to a rule opens it.
addEventListener("hashchange", () => {
  const details = document.getElementById(location.hash.slice(1))?.querySelector(":scope > details");
  if (details) details.open = true;
});
