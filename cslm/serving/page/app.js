// The page: what the user does goes to the server, what the server says is shown and played.

import { Connection } from "./connection.js";
import { Conversation } from "./conversation.js";
import { element, languageName } from "./elements.js";
import { Microphone, MicrophoneError, readAudioFile } from "./microphone.js";
import { fromBase64, SAMPLE_RATE_HZ, toBase64, toPcm16 } from "./pcm.js";
import { Player } from "./player.js";
import { saveConversation } from "./saved_files.js";
import { keepSettings, keepToken, readSettings, readToken } from "./settings.js";
import { TalkButton } from "./talk_button.js";
import { Tape } from "./tape.js";
import { TurnView } from "./turn_view.js";

const SHORTEST_SEC = 0.25;
const PIECE = SAMPLE_RATE_HZ / 2; // samples of a file in one message
const CUT = "cut"; // begins the names of events that end a question before a pause does
const ENDED_BEFORE = ["input_audio_buffer_commit_empty", "conversation_already_has_active_response", "no_question"];
const CSLM_EVENTS = ["units", "borders", "texts", "ids", "latency"];
const byId = (id) => document.getElementById(id);

class App {
  constructor() {
    this.settings = readSettings();
    this.session = null;
    this.conversation = new Conversation();
    this.views = new Map();
    this.player = new Player((report) => this.played(report));
    this.microphone = new Microphone((pcm, peak) => this.heard(pcm, peak), () => this.microphoneEnded());
    this.follows = true; // the end of the conversation is kept in view
    this.tape = new Tape();
    this.detection = undefined; // of turns, as the server was told
    this.asking = null; // the turn whose question is being spoken
    this.listens = false; // hands-free, and on
    this.opening = null;
    this.connection = new Connection((...state) => this.connected(...state), (event) => this.received(event));
    this.connection.token = readToken();
    this.talk = new TalkButton(byId("talk"), {
      begin: () => this.beginTalk(),
      end: () => this.endTalk(),
      toggle: () => (this.listens ? this.stopListening() : this.startListening()),
      isFree: () => this.settings.mode === "free",
    });
    this.wire();
    this.showSettings();
    this.connection.connect();
  }

  // What the user does

  wire() {
    const settings = document.querySelector(".settings");
    const closeSettings = () => {
      if (settings.open && settings.contains(document.activeElement)) settings.querySelector("summary").focus();
      settings.open = false;
    };
    byId("stop").addEventListener("click", () => this.stop());
    byId("save").addEventListener("click", () => saveConversation(this.conversation.turns, this.session?.model ?? ""));
    byId("fresh").addEventListener("click", () => this.startOver());
    byId("alert-close").addEventListener("click", () => this.alert(null));
    byId("file").addEventListener("change", ({ target }) => {
      if (target.files.length > 0) this.sendFile(target.files[0]);
      target.value = "";
    });
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files.length > 0) this.sendFile(event.dataTransfer.files[0]);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      closeSettings();
      if (!byId("stop").disabled) this.stop();
    });
    document.addEventListener("pointerdown", ({ target }) => {
      if (!settings.contains(target)) settings.open = false;
    });
    this.followTurns();
    byId("token").addEventListener("cancel", (event) => event.preventDefault());
    byId("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.connection.token = byId("token-value").value.trim();
      keepToken(this.connection.token);
      byId("token").close();
      this.connection.connect();
    });
    this.setting("question-language", "questionLanguage");
    this.setting("answer-language", "answerLanguage");
    this.setting("theme", "theme");
    this.setting("processing", "processing");
    for (const input of document.querySelectorAll("input[name=mode]")) {
      input.addEventListener("change", () => this.setMode(input.value));
    }
  }

  /** What grows at the end is kept in view, until the user looks at something above it. */
  followTurns() {
    const page = document.documentElement;
    let last = 0;
    window.addEventListener("scroll", () => {
      if (page.scrollTop < last - 2) this.follows = false;
      if (page.scrollTop + page.clientHeight >= page.scrollHeight - 8) this.follows = true;
      last = page.scrollTop;
    }, { passive: true });
    byId("turns").addEventListener("click", ({ target }) => {
      if (target.closest("summary")) this.follows = false; // what opens is looked at from its beginning
    });
    const observer = new ResizeObserver(() => {
      if (this.follows) page.scrollTop = page.scrollHeight;
    });
    for (const id of ["turns", "composer"]) observer.observe(byId(id));
  }

  setting(id, name) {
    byId(id).addEventListener("change", ({ target }) => {
      this.settings[name] = target.type === "checkbox" ? target.checked : target.value;
      keepSettings(this.settings);
      this.showSettings();
      this.updateSession();
    });
  }

  showSettings() {
    const { mode, questionLanguage, answerLanguage, theme, processing } = this.settings;
    document.documentElement.dataset.theme = theme;
    document.querySelector(`input[name=mode][value=${mode}]`).checked = true;
    byId("question-language").value = questionLanguage;
    byId("answer-language").value = answerLanguage;
    byId("theme").value = theme;
    byId("processing").checked = processing;
    this.show();
  }

  async setMode(mode) {
    if (this.listens) await this.stopListening();
    if (this.asking !== null) await this.endTalk();
    this.settings.mode = mode;
    keepSettings(this.settings);
    this.updateSession();
    this.show();
  }

  /** Tell the server the settings; its clock of what it hears begins anew with the detection of turns. */
  updateSession(turnDetection = this.settings.mode === "free" ? { type: "server_vad" } : null) {
    if ((turnDetection === null) !== (this.detection === null)) this.tape = new Tape();
    this.detection = turnDetection;
    const session = {
      type: "realtime",
      audio: { input: { turn_detection: turnDetection } },
      cslm: {
        question_language: this.settings.questionLanguage || null,
        answer_language: this.settings.answerLanguage || null,
        events: CSLM_EVENTS,
      },
    };
    this.connection.send("session.update", { session });
  }

  /** Open the microphone, and say why where it does not open. */
  async openMicrophone() {
    this.player.open();
    this.opening = this.microphone.open(this.settings.processing);
    this.show();
    try {
      await this.opening;
      this.alert(null);
      return true;
    } catch (error) {
      if (!(error instanceof MicrophoneError)) throw error;
      this.alert(error.message);
      return false;
    } finally {
      this.opening = null;
      this.show();
    }
  }

  async beginTalk() {
    const turn = this.newTurn();
    this.asking = turn;
    const stopped = this.stop();
    const opened = await this.openMicrophone();
    await stopped;
    if (!opened) {
      this.drop(turn);
      this.talk.reset();
    }
    this.show();
  }

  async endTalk() {
    const turn = this.asking;
    if (turn === null) return;
    await this.opening?.catch(() => {});
    await this.microphone.close();
    this.talk.reset();
    if (this.asking !== turn) return; // the connection was lost meanwhile, or there was no microphone
    if (turn.questionSec < SHORTEST_SEC) {
      this.connection.send("input_audio_buffer.clear");
      this.drop(turn);
      this.alert("That was too short. Hold the button while you speak, or tap it, speak, and tap again.");
      return;
    }
    this.connection.send("input_audio_buffer.commit", { event_id: `commit_${turn.number}` });
    this.ask(turn);
  }

  async sendFile(file) {
    if (!this.connection.isOpen) return;
    this.player.open();
    try {
      const pcm = await readAudioFile(file, SAMPLE_RATE_HZ, toPcm16);
      const longest = this.session.cslm.max_audio_sec;
      if (pcm.length > longest * SAMPLE_RATE_HZ) {
        throw new MicrophoneError(`${file.name} lasts ${(pcm.length / SAMPLE_RATE_HZ).toFixed(0)} s: the server hears ${longest} s at most.`);
      }
      if (this.listens) await this.stopListening();
      if (this.asking !== null) await this.endTalk();
      await this.stop();
      this.alert(null);
      this.askBy(pcm);
    } catch (error) {
      if (!(error instanceof MicrophoneError)) throw error;
      this.alert(error.message);
    }
  }

  /** Ask by a sound that is there already: as if it were spoken, and it alone. */
  askBy(pcm) {
    const turn = this.newTurn();
    turn.question.push(pcm);
    this.updateSession(null);
    for (let start = 0; start < pcm.length; start += PIECE) {
      this.connection.send("input_audio_buffer.append", { audio: toBase64(pcm.subarray(start, start + PIECE)) });
    }
    this.connection.send("input_audio_buffer.commit", { event_id: `commit_${turn.number}` });
    this.ask(turn);
    if (this.settings.mode === "free") this.updateSession();
  }

  /** The question is over, and the answer is asked for. */
  ask(turn) {
    this.questionOver(turn);
    this.connection.send("response.create", { event_id: `response_${turn.number}` });
  }

  questionOver(turn) {
    turn.asked = performance.now();
    turn.status = "waiting";
    this.asking = null;
    this.views.get(turn).renderSoon();
    this.show();
  }

  async startListening() {
    if (this.opening !== null) return; // the browser still asks whether it may
    if (!(await this.openMicrophone())) return;
    if (this.settings.mode === "free" && this.session !== null) this.listens = true;
    else await this.microphone.close(); // the mode was changed meanwhile, or the connection lost
    this.show();
  }

  async stopListening() {
    await this.microphone.close();
    this.listens = false;
    if (this.asking === null) this.connection.send("input_audio_buffer.clear");
    else {
      const fields = { event_id: `${CUT}_${this.asking.number}` };
      this.connection.send("input_audio_buffer.commit", fields);
      this.connection.send("response.create", fields);
    }
    this.show();
  }

  /** It was unplugged, or taken away in the browser: what was said until then is the question. */
  async microphoneEnded() {
    if (this.listens) await this.stopListening();
    else await this.endTalk();
    this.alert("The microphone went away. What it had heard was sent. Plug it in, or allow it, and press again.");
  }

  /** Stop what sounds and what is written; the server keeps what was heard. */
  async stop(cancel = true) {
    const active = this.conversation.active;
    if (active !== undefined) {
      active.isStopped = true;
      if (cancel) this.connection.send("response.cancel", active.response === null ? {} : { response_id: active.response });
    }
    const report = await this.player.stop();
    if (report === null) {
      if (active !== undefined && active.numSamples === 0) this.truncate(active, 0);
    } else if (report.id.startsWith("reply") && !(report.over && !report.stopped)) {
      this.truncate(this.turnOf(report), report.heard);
    }
    this.show();
  }

  /** Tell the server how much of an answer was heard. */
  truncate(turn, heard) {
    if (turn.answerItem === null || !this.session?.cslm.speaks) return;
    turn.heardSamples = Math.min(heard, turn.numSamples);
    const heardMs = Math.floor((1000 * turn.heardSamples) / SAMPLE_RATE_HZ);
    this.connection.send("conversation.item.truncate", { item_id: turn.answerItem, content_index: 0, audio_end_ms: heardMs });
    this.views.get(turn)?.renderSoon();
  }

  async replay(turn, part) {
    const id = `${part}:${turn.number}`;
    const again = this.player.id === id;
    if (this.player.isPlaying) await this.stop();
    if (again) return;
    this.player.begin(id);
    this.player.push(id, part === "question" ? turn.questionSound() : turn.answerSound());
    this.player.end(id);
    this.show();
  }

  async startOver() {
    await this.stop();
    if (this.listens) await this.stopListening();
    this.conversation = new Conversation();
    this.views.clear();
    byId("turns").replaceChildren();
    this.alert(null);
    this.connection.close();
    this.connection.connect();
  }

  // What the microphone, the player and the server say

  heard(pcm, peak) {
    byId("talk").style.setProperty("--level", Math.min(1, Math.sqrt(peak) * 1.2).toFixed(3));
    this.connection.send("input_audio_buffer.append", { audio: toBase64(pcm) });
    if (this.settings.mode === "free") this.tape.append(pcm);
    if (this.asking === null || this.settings.mode === "free") return;
    this.asking.question.push(pcm);
    if (this.asking.questionSec >= (this.session?.cslm.max_audio_sec ?? Infinity)) this.endTalk();
  }

  played(report) {
    const turn = this.turnOf(report);
    const view = this.views.get(turn);
    if (view === undefined) return;
    const part = report.id.startsWith("question") ? "question" : "answer";
    if (report.id.startsWith("reply")) {
      turn.player = report;
      if (report.firstAt !== null) turn.mark("played", report.firstAt);
      if (report.over && !report.stopped && report.firstAt !== null) {
        turn.mark("over", report.firstAt + (1000 * (report.played + report.starved)) / SAMPLE_RATE_HZ);
      }
    }
    view.playingAt(report.over ? null : part, report.heard);
    if (report.over) {
      view.renderSoon();
      this.show();
    }
  }

  turnOf({ id }) {
    return this.conversation.turns.find((turn) => turn.number === Number(id.split(":")[1]));
  }

  connected(state, message, waitSec) {
    const words = { connecting: "Connecting", open: "Connected", waiting: "Not connected", token: "Token needed", refused: "Refused" };
    byId("connection").dataset.state = state;
    byId("connection-text").textContent = words[state];
    if (state === "open") {
      if (this.alertIsOfConnection) this.alert(null);
    } else if (state !== "connecting") {
      this.lost();
      if (state === "waiting") byId("connection-text").textContent = `Again in ${Math.ceil(waitSec)} s`;
      if (state !== "token") this.alert(message, "Connect now", () => this.connection.connect());
      this.alertIsOfConnection = true;
    }
    if (state === "token") this.askForToken(message);
    this.show();
  }

  askForToken(message) {
    byId("token-text").textContent = [message, "It was printed where the server was started. It stays in this tab."].filter(Boolean).join(" ");
    byId("token-value").value = "";
    if (!byId("token").open) byId("token").showModal();
  }

  /** The connection is gone, and with it what the server knew. */
  async lost() {
    this.session = null;
    const asking = this.asking;
    this.asking = null;
    this.listens = false;
    this.talk.reset();
    for (const turn of this.conversation.turns) {
      if (turn.isOver) continue;
      if (turn.response !== null) this.player.end(`reply:${turn.number}`);
      turn.status = "lost";
      this.views.get(turn).renderSoon();
    }
    if (asking !== null && asking.questionSec < SHORTEST_SEC) this.drop(asking);
    await this.opening?.catch(() => {});
    await this.microphone.close();
  }

  received(event) {
    if (event.type === "session.created" || event.type === "session.updated") this.sessionIs(event);
    else if (event.type === "error") this.failed(event.error);
    else if (event.type === "input_audio_buffer.speech_started") this.speechStarted(event);
    else if (event.type === "input_audio_buffer.speech_stopped") this.speechStopped(event);
    else {
      const turn = this.conversation.take(event);
      if (turn === undefined) return;
      this.react(turn, event);
      this.views.get(turn).renderSoon();
    }
  }

  react(turn, event) {
    const id = `reply:${turn.number}`;
    if (event.type === "response.output_audio.delta" && !turn.isStopped) {
      const pcm = fromBase64(event.delta);
      if (turn.numSamples === 0) this.player.begin(id);
      turn.answer.push(pcm);
      turn.numSamples += pcm.length;
      this.player.push(id, pcm);
    } else if (event.type === "response.output_audio.done" || event.type === "response.done") {
      if (turn.numSamples > 0) this.player.end(id);
    }
    if (event.type === "response.output_item.added" && turn.isStopped) this.truncate(turn, 0);
    if (event.type === "input_audio_buffer.committed" && this.asking === turn) this.speechStopped(event);
    if (event.type === "conversation.item.input_audio_transcription.completed") this.announce(`Heard: ${turn.questionText}`);
    if (event.type === "response.done" && turn.numSamples === 0) this.announce(`Answer: ${turn.answerText || turn.detail || turn.emptiness}`);
    if (event.type === "response.created" || event.type === "response.done") this.show();
  }

  sessionIs({ type, session }) {
    const first = type === "session.created";
    this.session = session;
    if (!first) return;
    this.detection = undefined;
    this.tape = new Tape(); // the server's clock begins anew
    byId("model").textContent = session.model;
    document.title = `Talk to ${session.model}`;
    this.fill("question-language", session.cslm.languages);
    this.fill("answer-language", session.cslm.voices.length ? session.cslm.voices : session.cslm.languages);
    if (this.conversation.turns.length > 0) {
      byId("turns").append(element("li", { className: "divider" }, "Connected again. The model has forgotten what was said above."));
    }
    this.updateSession();
    this.show();
  }

  fill(id, languages) {
    const select = byId(id);
    const chosen = select.value;
    select.replaceChildren(select.options[0], ...languages.map((tag) => element("option", { value: tag }, languageName(tag))));
    const name = id === "question-language" ? "questionLanguage" : "answerLanguage";
    if (!languages.includes(this.settings[name])) this.settings[name] = "";
    select.value = this.settings[name] || (languages.includes(chosen) ? chosen : "");
  }

  speechStarted(event) {
    const turn = this.newTurn();
    turn.questionItem = event.item_id;
    turn.tapeFrom = Math.round((event.audio_start_ms * SAMPLE_RATE_HZ) / 1000);
    this.asking = turn;
    this.stop(false); // the server has cancelled what it wrote
    this.show();
  }

  speechStopped(event) {
    const turn = this.asking;
    if (turn === null) return;
    const end = Math.round(((event.audio_end_ms ?? 0) * SAMPLE_RATE_HZ) / 1000);
    turn.question = [this.tape.cut(turn.tapeFrom, end > turn.tapeFrom ? end : undefined)];
    this.questionOver(turn);
  }

  failed({ message, code, event_id: cause }) {
    if (code === "response_cancel_not_active") return; // it ended just before it was stopped
    if (cause?.startsWith(CUT) && ENDED_BEFORE.includes(code)) return; // a pause ended the question just before
    const { turns } = this.conversation;
    // hands-free, the server answers by itself, and what it refuses names no event of the page
    const turn = cause
      ? turns.find(({ number }) => cause.endsWith(`_${number}`))
      : turns.findLast((one) => one.status === "waiting" && one.response === null);
    if (turn !== undefined && !turn.isOver) {
      turn.status = "failed";
      turn.detail = message;
      this.views.get(turn).renderSoon();
      this.show();
    }
    this.alert(message);
  }

  // What is shown

  newTurn() {
    const turn = this.conversation.begin();
    const view = new TurnView(turn, (...what) => this.replay(...what));
    this.views.set(turn, view);
    byId("turns").append(view.root);
    this.follows = true;
    view.root.scrollIntoView({ block: "end", behavior: "smooth" });
    this.show();
    return turn;
  }

  drop(turn) {
    this.views.get(turn)?.root.remove();
    this.views.delete(turn);
    this.conversation.remove(turn);
    if (this.asking === turn) this.asking = null;
    this.show();
  }

  show() {
    const { mode } = this.settings;
    const open = this.session !== null;
    const replies = this.conversation.active !== undefined;
    const [state, label, hint] = this.words(mode, open, replies);
    const talk = byId("talk");
    talk.dataset.state = state;
    talk.disabled = !open;
    talk.setAttribute("aria-pressed", String(state === "on" || state === "opening"));
    byId("talk-text").textContent = label;
    byId("hint").textContent = hint;
    byId("file").disabled = !open;
    byId("stop").disabled = !replies && !this.player.isPlaying;
    byId("save").disabled = !this.conversation.turns.some((turn) => turn.isOver);
    byId("fresh").disabled = this.conversation.turns.length === 0;
    byId("welcome").hidden = this.conversation.turns.length > 0;
    if (state !== "on") talk.style.setProperty("--level", "0");
  }

  words(mode, open, replies) {
    const speaks = replies ? "The answer comes. Esc stops it." : "";
    if (!open) return ["idle", mode === "free" ? "Start listening" : "Hold to speak", "Waiting for the server."];
    if (this.opening !== null) return ["opening", "Opening…", "Opening the microphone."];
    if (mode === "free") {
      if (!this.listens) return ["idle", "Start listening", speaks || "or press the space bar"];
      return ["on", "Stop listening", this.asking ? "You are speaking. A pause ends your question." : speaks || "Listening. Speak whenever you like."];
    }
    if (this.asking !== null) return ["on", "Release to send", "Listening. Release, or tap again, to send."];
    return ["idle", "Hold to speak", speaks || "or hold the space bar"];
  }

  alert(text, action = null, act = null) {
    this.alertIsOfConnection = false;
    byId("alert").hidden = text === null;
    if (byId("alert-text").textContent !== text) byId("alert-text").textContent = text ?? ""; // what is said once is enough
    byId("alert-act").hidden = action === null;
    byId("alert-act").textContent = action ?? "";
    byId("alert-act").onclick = act;
  }

  announce(text) {
    byId("announce").textContent = text;
  }
}

const app = new App();
window.addEventListener("unhandledrejection", ({ reason }) => app.alert(`Something went wrong in this page: ${reason}`));
window.addEventListener("error", ({ message }) => app.alert(`Something went wrong in this page: ${message}`));
