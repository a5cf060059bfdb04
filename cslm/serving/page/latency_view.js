// Latency: when each part was known to the server and to this page, and a time line of writing, sound and playing.

import { drawn, element, seconds } from "./elements.js";
import { SAMPLE_RATE_HZ } from "./pcm.js";

// part of cslm.latency (or null), of the page (or null), in words
const ROWS = [
  ["admitted", null, "A place was free"],
  ["heard", null, "Question heard, as units"],
  [null, "transcript", "First word of the transcript"],
  ["first_text", "text", "First word of the answer"],
  ["first_units", "units", "First units"],
  ["first_audio", "audio", "First sound made"],
  [null, "played", "First sound played"],
  ["end", "end", "Reply written and spoken"],
  [null, "over", "Played to its end"],
];

export function renderLatency(turn, place, short) {
  const played = turn.here.get("played") ?? turn.here.get("text");
  const what = turn.here.has("played") ? "first sound" : "first word";
  short.textContent = played === undefined ? "" : `${what} after ${seconds(played)}`;
  const rows = ROWS.filter(([server, here]) => turn.server.has(server) || turn.here.has(here));
  const table = element("table", {});
  const head = element("tr", {});
  for (const name of ["After the end of the question", "server", "here"]) head.append(element("th", { scope: "col" }, name));
  table.append(element("thead", {}, head));
  const body = element("tbody");
  for (const [server, here, name] of rows) {
    body.append(element("tr", {}, element("th", { scope: "row" }, name), cell(turn.server.get(server)), cell(turn.here.get(here))));
  }
  table.append(body);
  place.replaceChildren(...timeLine(turn), element("div", { className: "wide" }, table), ...account(turn));
}

function cell(ms) {
  return element("td", {}, ms === undefined ? "" : seconds(ms));
}

/** What the player says that it did. */
function account({ player }) {
  if (player === null) return [];
  const gaps = player.gaps === 0 ? "no gap" : `${player.gaps} ${player.gaps === 1 ? "gap" : "gaps"}, ${seconds((1000 * player.starved) / SAMPLE_RATE_HZ, 3)} of silence`;
  const words = `Played ${player.played.toLocaleString("en")} samples, ${gaps}; ${Math.round(1000 * player.latencySec)} ms on the way to the speaker.`;
  return [element("p", { className: "small" }, words)];
}

const WIDTH = 600;
const LEFT = 80;
const ROW = 22;

/** Chunks as they are written, and as they are heard. */
function timeLine(turn) {
  const written = turn.chunks.filter((chunk) => chunk.textAt !== null).map((chunk) => chunk.textAt - turn.asked);
  const begun = turn.here.get("played");
  const end = Math.max(turn.here.get("over") ?? 0, turn.here.get("end") ?? 0, (begun ?? 0) + 1000 * turn.answerSec);
  if (turn.asked === null || written.length === 0 || !(end > 0)) return [];
  const x = (ms) => LEFT + (Math.max(0, ms) / end) * (WIDTH - LEFT - 8);
  const lastWritten = turn.here.get("end") ?? Math.max(...written);
  const bars = written.map((start, number) => bar("writes", number, x(start), x(written[number + 1] ?? Math.max(start, lastWritten)), 0));
  const starts = turn.chunks.map((chunk) => chunk.start).filter((start) => start !== null);
  if (begun !== undefined) {
    const at = (sample) => x(begun + (1000 * sample) / SAMPLE_RATE_HZ);
    const last = turn.heardSamples ?? turn.numSamples;
    starts.forEach((start, number) => {
      if (start < last) bars.push(bar("sounds", number, at(start), at(Math.min(last, starts[number + 1] ?? last)), 1));
    });
  }
  const label = "Time line: when each chunk was written, and when it was heard";
  const chart = drawn("svg", { viewBox: `0 0 ${WIDTH} ${2 * ROW + 26}`, role: "img", "aria-label": label });
  ["written", "heard"].forEach((name, row) => chart.append(drawn("text", { x: LEFT - 8, y: row * ROW + 16, "text-anchor": "end" }, name)));
  for (const tick of ticks(end)) {
    chart.append(drawn("line", { class: "grid", x1: x(tick), x2: x(tick), y1: 2, y2: 2 * ROW + 4 }));
    chart.append(drawn("text", { x: x(tick), y: 2 * ROW + 19, "text-anchor": "middle" }, `${tick / 1000} s`));
  }
  chart.append(...bars);
  return [element("div", { className: "line" }, chart)];
}

function bar(kind, number, from, to, row) {
  const box = { class: `${kind} ${number % 2 ? "odd" : "even"}`, x: from, y: row * ROW + 4, width: Math.max(1.5, to - from - 1), height: ROW - 6, rx: 2 };
  return drawn("rect", box, drawn("title", {}, `chunk ${number + 1}`));
}

function ticks(end) {
  const step = [100, 200, 500, 1000, 2000, 5000, 10000, 20000, 60000].find((size) => end / size <= 6) ?? 120000;
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, index) => index * step);
}
