// What is known of each turn, as the events of the server tell it. Nothing here knows the page.

import { joined, SAMPLE_RATE_HZ } from "./pcm.js";

/** A question and its answer. Times are of performance.now(), in ms. */
export class Turn {
  constructor(number) {
    this.number = number;
    this.questionItem = null;
    this.answerItem = null;
    this.response = null;
    this.question = []; // PCM16
    this.questionText = "";
    this.questionUnits = null;
    this.languages = null; // of question and answer
    this.thoughts = new Map(); // field of the chain -> text
    this.chunks = []; // { text, units, start (sample), textAt, audioAt }
    this.answer = []; // PCM16
    this.numSamples = 0;
    this.sequence = null; // all that was read and written, once the reply is over
    this.status = "asking"; // then "waiting", "answering", and the status of response.done
    this.detail = "";
    this.isStopped = false; // what still comes of it is not played
    this.heardSamples = null; // where the answer was stopped
    this.tapeFrom = 0; // where the question begins in what the microphone gave, hands-free
    this.asked = null; // the end of the question
    this.server = new Map(); // part -> ms after the end of the question, on the server's clock
    this.here = new Map(); // part -> ms after the end of the question, on this page's clock
    this.player = null; // last report of the player, of the reply as it came
  }

  get isOver() {
    return !["asking", "waiting", "answering"].includes(this.status);
  }

  get questionSec() {
    return this.question.reduce((sum, piece) => sum + piece.length, 0) / SAMPLE_RATE_HZ;
  }

  get answerSec() {
    return this.numSamples / SAMPLE_RATE_HZ;
  }

  get answerText() {
    return this.chunks.map((chunk) => chunk.text).join("");
  }

  /** What is said of an answer that has no words. */
  get emptiness() {
    if (this.status !== "completed" || this.answerText.trim()) return "";
    return this.numSamples > 0 ? "The model spoke, and wrote no words." : "The model answered nothing.";
  }

  chunk(number) {
    while (this.chunks.length <= number) this.chunks.push({ text: "", units: [], start: null, textAt: null });
    return this.chunks[number];
  }

  /** The number of the chunk that sounds at a sample; -1 where none is known. */
  chunkAt(sample) {
    let found = -1;
    this.chunks.forEach((chunk, number) => {
      if (chunk.start !== null && chunk.start <= sample) found = number;
    });
    return found;
  }

  /** When something happened here, the first time. */
  mark(part, now = performance.now()) {
    if (this.asked !== null && !this.here.has(part)) this.here.set(part, now - this.asked);
  }

  /** The fields of a saved conversation, without sound. */
  record() {
    return {
      question: this.questionText || null,
      answer: this.answerText,
      languages: this.languages,
      texts: Object.fromEntries(this.thoughts),
      chunks: this.chunks.map(({ text, units, start }) => ({ text, units, first_sample: start })),
      question_units: this.questionUnits,
      status: this.status,
      heard_samples: this.heardSamples,
      sample_rate_hz: SAMPLE_RATE_HZ,
      sequence: this.sequence,
      server_ms: Object.fromEntries(this.server),
      page_ms: Object.fromEntries(this.here),
      player: this.player && playerRecord(this.player),
    };
  }

  questionSound() {
    return joined(this.question);
  }

  answerSound() {
    return joined(this.answer);
  }
}

/** What the worklet counted, in samples; the checksum is FNV-1a over what was played, a sample at a time. */
function playerRecord({ played, starved, gaps, checksum, stopped }) {
  return { played, starved, gaps, checksum, stopped };
}

/** The turns, and which of them an event of the server belongs to. */
export class Conversation {
  constructor() {
    this.turns = [];
  }

  begin() {
    const turn = new Turn(this.turns.length + 1);
    this.turns.push(turn);
    return turn;
  }

  remove(turn) {
    this.turns = this.turns.filter((other) => other !== turn);
  }

  /** The turn that is being answered, or waits for it. */
  get active() {
    return this.turns.find((turn) => turn.status === "answering" || turn.status === "waiting");
  }

  /** Take an event in; returns the turn that it changed, if any. */
  take(event) {
    const turn = this._turnOf(event);
    if (turn === undefined) return undefined;
    HANDLERS[event.type]?.(turn, event);
    return turn;
  }

  _turnOf(event) {
    const { type, response_id: response, item_id: item } = event;
    if (type === "input_audio_buffer.committed") return this._asked(item);
    if (type === "conversation.item.added" && event.item.role === "user") return this._asked(event.item.id);
    if (type === "response.created") return this.turns.findLast((turn) => turn.status === "waiting");
    if (type === "response.done") return this.turns.find((turn) => turn.response === event.response.id);
    if (response !== undefined) return this.turns.find((turn) => turn.response === response);
    return item && this.turns.find((turn) => turn.questionItem === item || turn.answerItem === item);
  }

  /** The turn of a question's item; one that is new is that of the last question which has none. */
  _asked(item) {
    return this.turns.find((turn) => turn.questionItem === item) ?? this.turns.findLast((turn) => turn.questionItem === null);
  }
}

const HANDLERS = {
  "input_audio_buffer.committed": (turn, event) => {
    turn.questionItem = event.item_id;
  },
  "conversation.item.added": (turn, event) => {
    if (event.item.role === "user") turn.questionItem = event.item.id;
  },
  "conversation.item.deleted": (turn) => {
    if (!turn.isOver) turn.status = "replaced";
  },
  "response.created": (turn, event) => {
    turn.response = event.response.id;
    turn.status = "answering";
  },
  "response.output_item.added": (turn, event) => {
    turn.answerItem = event.item.id;
  },
  "conversation.item.input_audio_transcription.delta": (turn, event) => {
    turn.questionText += event.delta;
    turn.mark("transcript");
  },
  "conversation.item.input_audio_transcription.completed": (turn, event) => {
    turn.questionText = event.transcript.trim();
  },
  "cslm.question.heard": (turn, event) => {
    turn.questionUnits = event.units;
    turn.languages = [event.question_language, event.answer_language];
  },
  "cslm.text.delta": (turn, event) => {
    turn.thoughts.set(event.field, (turn.thoughts.get(event.field) ?? "") + event.delta);
  },
  "cslm.chunk.delta": (turn, event) => {
    const chunk = turn.chunk(event.chunk);
    chunk.text += event.delta;
    turn.mark("text");
    chunk.textAt ??= performance.now();
  },
  "cslm.units.delta": (turn, event) => {
    turn.chunk(event.chunk).units.push(...event.units);
    turn.mark("units");
  },
  "response.output_audio.delta": (turn) => turn.mark("audio"),
  "cslm.audio.borders": (turn, event) => {
    for (const [number, sample] of event.chunk_starts) turn.chunk(number).start = sample;
  },
  "cslm.reply.ids": (turn, event) => {
    turn.sequence = { prompt: event.prompt, reply: event.reply, ids: event.ids, is_whole: event.is_whole };
  },
  "cslm.latency": (turn, event) => {
    turn.server.set(event.part, event.time_ms);
  },
  "response.done": (turn, { response }) => {
    turn.mark("end");
    turn.status = response.status;
    const details = response.status_details ?? {};
    turn.detail = details.error?.message ?? details.error?.code ?? details.reason ?? "";
  },
};
