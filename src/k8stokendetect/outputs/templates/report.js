"use strict";
(() => {
const all = [...document.querySelectorAll(".incident")];

/* Copies what stands in an element: with the clipboard's own interface where there is one, else by selecting it. */
const copy = async (element) => {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return "Copied";
  } catch {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    if (!document.execCommand("copy")) return "Selected";
    selection.removeAllRanges();
    return "Copied";
  }
};

/* Gives what can be copied its button, once it is shown. */
const equip = (root) => {
  for (const element of root.querySelectorAll(".cmd code, .event pre")) {
    const closed = element.closest("details:not([open])");
    if (element.dataset.copy || (closed && root.contains(closed))) continue;
    element.dataset.copy = "yes";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", async () => {
      button.textContent = await copy(element);
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    element.after(button);
  }
};
document.addEventListener("toggle", (event) => { if (event.target.open) equip(event.target); }, true);
document.querySelectorAll(".incident[open]").forEach(equip);

/* Opens what a link leads to. */
const reveal = () => {
  const found = location.hash && document.getElementById(location.hash.slice(1));
  if (!found) return;
  for (let at = found; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  found.scrollIntoView();
};
addEventListener("hashchange", reveal);
reveal();

const bar = document.querySelector(".filter");
if (!bar) return;
const [actor, text, shown] = ["actor", "text", "shown"].map((id) => document.getElementById(id));
const buttons = [...document.querySelectorAll("[data-severity]")].filter((one) => one.tagName === "A");
const wanted = new Set();
const lower = (value) => value.trim().toLowerCase();
const words = new Map();
const wordsOf = (one) => {
  if (!words.has(one)) words.set(one, one.textContent.toLowerCase());
  return words.get(one);
};

const filter = () => {
  const [who, what] = [lower(actor.value), lower(text.value)];
  let count = 0;
  for (const one of all) {
    const { severity, actors } = one.dataset;
    const fits = (!wanted.size || wanted.has(severity))
      && (!who || !actors || actors.toLowerCase().includes(who))
      && (!what || wordsOf(one).includes(what));
    one.hidden = !fits;
    count += fits;
  }
  shown.textContent = count === all.length ? `${count} incidents` : `${count} of ${all.length} incidents`;
  for (const one of buttons) one.setAttribute("aria-pressed", String(wanted.has(one.dataset.severity)));
};

for (const one of buttons) {
  one.setAttribute("role", "button");
  one.addEventListener("click", (event) => {
    event.preventDefault();
    const { severity } = one.dataset;
    if (!wanted.delete(severity)) wanted.add(severity);
    filter();
  });
  one.addEventListener("keydown", (event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    one.click();
  });
}
let waiting = 0;
for (const field of [actor, text]) {
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 100);
  });
}
document.getElementById("clear").addEventListener("click", () => {
  wanted.clear();
  actor.value = text.value = "";
  filter();
});
const names = new Set(all.flatMap((one) => one.dataset.actors.split("\n")));
document.getElementById("actors").append(...[...names].filter(Boolean).sort().slice(0, 2000).map((name) => new Option(name)));
bar.hidden = false;
filter();
})();
