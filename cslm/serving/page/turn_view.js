// One turn on the page: what was asked, what is answered, and what lies behind it.

import { element, languageName } from "./elements.js";
import { renderLatency } from "./latency_view.js";
import { SAMPLE_RATE_HZ } from "./pcm.js";
import { renderSequence } from "./sequence_view.js";

const NOTES = {
  cancelled: "Stopped.",
  incomplete: "Cut: the reply was longer than the server allows.",
  failed: "The reply failed.",
  replaced: "Not answered: another question came first.",
  lost: "The connection closed before the reply was whole.",
};

export class TurnView {
  /** `onReplay(turn, part)` is called for the buttons beside question and answer. */
  constructor(turn, onReplay) {
    this.turn = turn;
    this.root = document.getElementById("turn").content.firstElementChild.cloneNode(true);
    const find = (path) => this.root.querySelector(path);
    this.question = { text: find(".question .text"), thoughts: find(".thoughts"), button: find(".question .replay"), length: find(".question .length") };
    this.answer = { text: find(".answer .text"), note: find(".note"), button: find(".answer .replay"), length: find(".answer .length") };
    this.track = { root: find(".track"), made: find(".made"), played: find(".played") };
    this.times = { root: find(".times"), inside: find(".times .inside"), short: find(".times .short") };
    this.sequence = { root: find(".sequence"), inside: find(".sequence .inside"), short: find(".sequence .short") };
    this.who = { question: find(".question .who"), answer: find(".answer .who") };
    this.question.button.addEventListener("click", () => onReplay(turn, "question"));
    this.answer.button.addEventListener("click", () => onReplay(turn, "answer"));
    for (const part of [this.times, this.sequence]) part.root.addEventListener("toggle", () => this.render());
    this.root.querySelector("article").setAttribute("aria-label", `Turn ${turn.number}`);
    this.spans = [];
    this.playing = null; // which part sounds
    this.place = 0; // the sample that is heard
    this.due = false;
    this.render();
  }

  /** Once a frame at most, however many events come. */
  renderSoon() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      this.render();
    });
  }

  /** Where the player is: `part` is "question", "answer" or null when nothing of this turn sounds any more. */
  playingAt(part, sample) {
    this.playing = part;
    this.place = sample;
    this._mark();
    this._buttons();
  }

  render() {
    this._questionText();
    this._answerText();
    this._buttons();
    this._mark();
    renderOpen(this.times, () => renderLatency(this.turn, this.times.inside, this.times.short));
    renderOpen(this.sequence, () => renderSequence(this.turn, this.sequence.inside, this.sequence.short));
  }

  _questionText() {
    const { turn } = this;
    this.root.dataset.status = turn.status;
    const waiting = turn.status === "asking" ? "Listening…" : turn.isOver ? "(no transcript)" : "…";
    this.question.text.textContent = turn.questionText || waiting;
    this.question.text.classList.toggle("waiting", !turn.questionText);
    this.question.thoughts.replaceChildren(
      ...[...turn.thoughts].map(([field, text]) => element("p", { className: "thought" }, element("b", {}, field.replaceAll("_", " ")), ` ${text}`)),
    );
    if (turn.languages !== null) {
      const [asked, answered] = turn.languages;
      this.question.text.lang = asked;
      this.answer.text.lang = answered;
      this.who.question.textContent = `You, in ${languageName(asked)}`;
      this.who.answer.textContent = `Model, in ${languageName(answered)}`;
    }
  }

  _answerText() {
    const { turn, spans } = this;
    turn.chunks.forEach((chunk, number) => {
      if (spans[number] === undefined) {
        if (number === 0) this.answer.text.replaceChildren();
        spans[number] = element("span", { className: "chunk" });
        this.answer.text.append(spans[number]);
      }
      if (spans[number].textContent !== chunk.text) spans[number].textContent = chunk.text;
    });
    if (spans.length === 0) this.answer.text.textContent = { waiting: "…", answering: "…" }[turn.status] ?? "";
    const note = [NOTES[turn.status], turn.status === "failed" && turn.detail, turn.emptiness, stoppedAt(turn)].filter(Boolean).join(" ");
    this.answer.note.textContent = note;
    this.answer.note.hidden = note === "";
  }

  _buttons() {
    const { turn } = this;
    for (const part of ["question", "answer"]) {
      const { button, length } = this[part];
      const sec = part === "question" ? turn.questionSec : turn.answerSec;
      const playing = this.playing === part;
      button.disabled = sec === 0 || (part === "question" && turn.status === "asking") || (!turn.isOver && !playing && part === "answer");
      button.hidden = sec === 0;
      length.textContent = `${sec.toFixed(1)} s`;
      button.setAttribute("aria-label", `${playing ? "Stop" : "Play"} the ${part} of turn ${turn.number}, ${sec.toFixed(1)} seconds`);
      button.setAttribute("aria-pressed", String(playing));
    }
  }

  /** Which chunk sounds, which have sounded, and how far the sound is. */
  _mark() {
    const { turn, spans, place } = this;
    const playing = this.playing === "answer";
    const now = playing ? turn.chunkAt(place) : -1;
    const stopped = turn.heardSamples;
    spans.forEach((span, number) => {
      const { start } = turn.chunks[number];
      span.classList.toggle("playing", number === now);
      span.classList.toggle("heard", playing && number < now);
      span.classList.toggle("unheard", !playing && stopped !== null && (start === null || start >= stopped));
      if (number === now) span.setAttribute("aria-current", "true");
      else span.removeAttribute("aria-current");
    });
    const whole = Math.max(turn.numSamples, SAMPLE_RATE_HZ);
    this.track.root.hidden = turn.numSamples === 0;
    this.track.made.style.width = `${(100 * turn.numSamples) / whole}%`;
    this.track.played.style.width = `${(100 * (playing ? place : stopped ?? 0)) / whole}%`;
  }
}

function renderOpen({ root, inside, short }, render) {
  render();
  if (!root.open) inside.replaceChildren();
  root.hidden = short.textContent === "";
}

function stoppedAt(turn) {
  if (turn.heardSamples === null) return "";
  return `The model remembers what you heard of it: ${(turn.heardSamples / SAMPLE_RATE_HZ).toFixed(1)} s.`;
}
