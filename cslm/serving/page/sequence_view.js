// The sequence: what the model read and wrote, text, units and markers told apart.

import { element } from "./elements.js";

const UNIT = /((?:<(?:\d+:)?\d+>)+)/;
const MARKER = /(<[a-z]+>|\[[a-z_]+\])/;

const KINDS = [
  ["prompt", "request"],
  ["question", "before the answer"],
  ["text", "answer"],
  ["units", "speech units"],
  ["marker", "markers"],
];

export function renderSequence(turn, place, short) {
  const { user, assistant } = turn.sequence === null ? soFar(turn) : whole(turn.sequence);
  const legend = element("ul", { className: "legend" });
  for (const [kind, name] of KINDS) legend.append(element("li", {}, element("span", { className: kind }, name)));
  place.replaceChildren(
    legend,
    block("Reads", user),
    block("Writes", assistant),
  );
  short.textContent = summary(turn);
}

function summary(turn) {
  const numUnits = turn.chunks.reduce((sum, chunk) => sum + chunk.units.length, 0);
  const known = [
    turn.sequence && `${turn.sequence.ids.length} ids`,
    turn.chunks.length && `${turn.chunks.length} ${turn.chunks.length === 1 ? "chunk" : "chunks"}`,
    numUnits && `${numUnits} units`,
  ];
  return known.filter(Boolean).join(" · ");
}

function block(name, spans) {
  const line = element("p", { className: "ids", tabindex: "0", "aria-label": name, role: "group" }, element("b", {}, name), " ");
  for (const [kind, text] of spans) line.append(span(kind, text));
  return line;
}

/** Lines may break after each unit: a stretch of them has no spaces. */
function span(kind, text) {
  const made = element("span", { className: kind });
  const parts = kind === "units" ? text.split(/(?<=>)/) : [text];
  for (const part of parts) made.append(part, ...(kind === "units" ? [element("wbr")] : []));
  return made;
}

function spell(units) {
  return units.map((frame) => (Array.isArray(frame) ? frame.map((unit, book) => (book ? `<${book}:${unit}>` : `<${unit}>`)).join("") : `<${frame}>`)).join("");
}

function spoken(units) {
  return [["marker", "<sosp>"], ["units", spell(units)], ["marker", "<eosp>"]];
}

/** While it is written: from the events. */
function soFar(turn) {
  const user = turn.questionUnits === null ? [["prompt", "…"]] : spoken(turn.questionUnits);
  const assistant = [];
  if (turn.questionText) assistant.push(["question", turn.questionText], ["text", " "]);
  for (const [field, text] of turn.thoughts) assistant.push(["marker", `[${field}]`], ["question", ` ${text} `]);
  for (const chunk of turn.chunks) {
    assistant.push(["text", chunk.text], ...(chunk.units.length ? spoken(chunk.units) : []));
  }
  return { user, assistant: assistant.length ? assistant : [["prompt", "…"]] };
}

/** At its end: all that was read and written, as it stands. */
function whole({ prompt, reply }) {
  return { user: parts(prompt, "prompt", "prompt"), assistant: parts(reply, "question", "text") };
}

/** Spans of a text with markers. What stands before the marker of the answer is of the kind `before`. */
function parts(text, before, after) {
  const spans = [];
  let kind = text.includes("[answer]") ? before : after;
  for (const stretch of text.split(UNIT)) {
    if (UNIT.test(stretch)) spans.push(["units", stretch]);
    else {
      for (const piece of stretch.split(MARKER)) {
        if (piece === "[answer]") kind = after;
        if (piece) spans.push([MARKER.test(piece) ? "marker" : kind, piece]);
      }
    }
  }
  return spans;
}
