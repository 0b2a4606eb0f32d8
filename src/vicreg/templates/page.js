// Puts the page to work.
const told = JSON.parse(document.getElementById("data").textContent);
const open = [];
const button = document.getElementById("theme");

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  button.setAttribute("aria-pressed", String(name === "dark"));
  for (const explorer of open) explorer.recolour();
}

const preferred = window.matchMedia("(prefers-color-scheme: dark)");
setTheme(preferred.matches ? "dark" : "light");
preferred.addEventListener("change", (event) => setTheme(event.matches ? "dark" : "light"));
button.addEventListener("click", () => setTheme(dark() ? "light" : "dark"));

for (const section of document.querySelectorAll("[data-card]")) {
  const card = told.cards[Number(section.dataset.card)];
  const place = section.querySelector(".explorer");
  if (place) open.push(new Explorer(place, card));
  section.querySelector(".charts").append(...(card.history.step.length ? historyCharts(card.history) : []),
    ...(card.spectra ? spectrumCharts(card) : []));
}
if (told.live?.history?.step.length) document.querySelector(".live-charts").append(...historyCharts(told.live.history));
document.documentElement.dataset.ready = "yes";
