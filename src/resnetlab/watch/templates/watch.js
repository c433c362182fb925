// Follows a study by server-sent events. When its report has changed, the page is loaded again: the
// place in it and the parts that the reader opened stay, and so does the fragment of the address.
const bar = document.getElementById("watch");
const line = bar.querySelector("span");
const pause = bar.querySelector("button");
const storageKey = "resnetlab-watch";
const idleMilliseconds = 2000;
let newest = bar.dataset.version;
let lastAction = -idleMilliseconds;

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(storageKey)) || {};
  } catch {
    return {};
  }
}

function store(values) {
  try {
    sessionStorage.setItem(storageKey, JSON.stringify({ ...stored(), ...values }));
  } catch {
    // Without storage the page begins at its top again.
  }
}

// A section may come before another one in the next report, so places are counted by section.
function sectionOf(element) {
  const heading = element.closest("section")?.querySelector("h2[id]");
  return heading ? heading.id : "";
}

function detailsByKey() {
  const counts = {};
  const all = {};
  for (const details of document.querySelectorAll("details")) {
    const section = sectionOf(details);
    counts[section] = (counts[section] || 0) + 1;
    all[section + " " + counts[section]] = details;
  }
  return all;
}

function savePlace() {
  const above = [...document.querySelectorAll("h2[id]")].filter(
    (heading) => heading.getBoundingClientRect().top < window.innerHeight / 2,
  );
  const heading = above.at(-1);
  const open = Object.entries(detailsByKey()).map(([key, details]) => [key, details.open]);
  store({
    heading: heading ? heading.id : "",
    offset: heading ? heading.getBoundingClientRect().top : 0,
    y: window.scrollY,
    open: Object.fromEntries(open),
    reloaded: true,
  });
}

function restorePlace() {
  const place = stored();
  if (!place.reloaded) return;
  store({ reloaded: false });
  const all = detailsByKey();
  for (const [key, isOpen] of Object.entries(place.open || {})) {
    if (all[key]) all[key].open = isOpen;
  }
  const heading = place.heading && document.getElementById(place.heading);
  if (heading) window.scrollBy(0, heading.getBoundingClientRect().top - place.offset);
  else window.scrollTo(0, place.y);
}

// A reader who types, clicks, scrolls or has selected a text is not interrupted.
function isBusy() {
  const selection = window.getSelection();
  const acts = performance.now() - lastAction < idleMilliseconds;
  return acts || document.hidden || (selection && !selection.isCollapsed);
}

function reloadIfNewer() {
  if (newest === bar.dataset.version || isPaused() || isBusy()) return;
  savePlace();
  window.location.reload();
}

function isPaused() {
  return pause.getAttribute("aria-pressed") === "true";
}

function connect() {
  const events = new EventSource("/events");
  events.addEventListener("update", (event) => {
    const update = JSON.parse(event.data);
    newest = update.version;
    line.textContent = update.status;
    bar.dataset.state = "";
    reloadIfNewer();
  });
  events.addEventListener("error", () => {
    line.textContent = bar.dataset.lost;
    bar.dataset.state = "lost";
    // The browser connects again by itself, except after an answer that is an error.
    if (events.readyState === EventSource.CLOSED) window.setTimeout(connect, 5000);
  });
}

if ("scrollRestoration" in history) history.scrollRestoration = "manual";
for (const name of ["keydown", "pointerdown", "input", "wheel", "touchmove"]) {
  window.addEventListener(name, () => { lastAction = performance.now(); }, { passive: true });
}
pause.setAttribute("aria-pressed", String(Boolean(stored().paused)));
pause.hidden = false;
pause.addEventListener("click", () => {
  pause.setAttribute("aria-pressed", String(!isPaused()));
  store({ paused: isPaused() });
});
restorePlace();
connect();
window.setInterval(reloadIfNewer, 1000);
