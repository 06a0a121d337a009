/* Keeps the page live. The server renders each part, here and for those without JavaScript alike;
   this asks the admin API for newer ones and changes in place what is different, so that neither the focus nor
   a reader's place is lost. */
"use strict";

const NOW_SECONDS = 2;
const BUSY_SECONDS = 1;
const FIGURES_SECONDS = 10;
// What has just come in is counted by then, for all who look.
const COUNTED_SECONDS = 4;
const PATIENCE_SECONDS = 10;
const LONGEST_PAUSE_SECONDS = 15;

const body = document.body;
const word = document.getElementById("word");
const asOf = document.getElementById("as-of");
const age = document.getElementById("age");

let failures = 0;
let lastHeard = Date.now();
let figuresDue = Date.now() + FIGURES_SECONDS * 1000;
let timer = null;
let asking = false;

/* -- changing what is there ------------------------------------------------------- */

function patch(old, fresh) {
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    // Whoever has opened something wants it to stay open.
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  patchChildren(old, fresh);
}

function sameKind(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName &&
    key(one) === key(other);
}

function key(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.dataset.key || node.id || "" : "";
}

function patchChildren(old, fresh) {
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    let found = place;
    while (found && !sameKind(found, wanted)) found = found.nextSibling;
    if (!found) {
      old.insertBefore(document.importNode(wanted, true), place);
      continue;
    }
    while (place !== found) place = dropped(place);
    place = found.nextSibling;
    if (found.nodeType === Node.ELEMENT_NODE) patch(found, wanted);
    else if (found.data !== wanted.data) found.data = wanted.data;
  }
  while (place) place = dropped(place);
}

function dropped(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

function show(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const part of fresh.body.children) {
    const old = document.getElementById(part.id);
    if (old) patch(old, part);
    if (part.dataset.title) document.title = part.dataset.title;
  }
}

/* -- asking ----------------------------------------------------------------------- */

async function ask(address) {
  const response = await fetch(address, {
    cache: "no-store",
    headers: { Accept: "text/html" },
    redirect: "error",
    signal: AbortSignal.timeout(PATIENCE_SECONDS * 1000),
  });
  if (response.status === 401) throw new SignedOut();
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response.text();
}

class SignedOut extends Error {}

function downloads() {
  return Number(document.getElementById("fills").dataset.fills || 0);
}

async function refresh() {
  const before = downloads();
  show(await ask(body.dataset.now));
  if (downloads() < before) {
    figuresDue = Math.min(figuresDue, Date.now() + COUNTED_SECONDS * 1000);
  }
  if (Date.now() >= figuresDue) {
    show(await ask(body.dataset.figures));
    figuresDue = Date.now() + FIGURES_SECONDS * 1000;
  }
}

async function turn() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  let pause = NOW_SECONDS;
  try {
    await refresh();
    heard();
    pause = downloads() ? BUSY_SECONDS : NOW_SECONDS;
  } catch (error) {
    if (error instanceof SignedOut) {
      location.reload();  // to the form
      return;
    }
    failures += 1;
    lost();
    pause = Math.min(NOW_SECONDS * 2 ** (failures - 1), LONGEST_PAUSE_SECONDS);
  } finally {
    asking = false;
  }
  if (!document.hidden) timer = setTimeout(turn, pause * 1000);
}

/* -- saying how it stands --------------------------------------------------------- */

function say(sentence) {
  // It is read aloud when it changes, so it changes only when there is something to say.
  if (word.textContent !== sentence) word.textContent = sentence;
}

function heard() {
  failures = 0;
  lastHeard = Date.now();
  asOf.dateTime = new Date(lastHeard).toISOString();
  body.classList.add("live");
  body.classList.remove("lost");
  say("Live");
  tell();
}

function lost() {
  body.classList.remove("live");
  body.classList.add("lost");
  say("Connection lost. What is shown is old,");
  tell();
}

function tell() {
  asOf.textContent = `${new Date(lastHeard).toISOString().slice(11, 19)} UTC`;
  const seconds = Math.round((Date.now() - lastHeard) / 1000);
  const long = seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
  age.textContent = failures ? `, ${long} ago` : "";
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else turn();
});
setInterval(() => {
  if (failures && !document.hidden) tell();
}, 1000);
timer = setTimeout(turn, BUSY_SECONDS * 1000);
