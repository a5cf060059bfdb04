// Plays one utterance at a time through the worklet, and tells how far it is.

import { SAMPLE_RATE_HZ } from "./pcm.js";

const START_AFTER = 0.04 * SAMPLE_RATE_HZ; // what the network may be late by, in samples
const SILENT_AFTER_MS = 300; // an audio clock that stands still answers nothing: not waited for longer
const NOTHING = { played: 0, starved: 0, gaps: 0, queued: 0, checksum: 0, heard: 0, firstAt: null }; // a first report

export class Player {
  /** `onReport` gets what the worklet posts, with `heard` (samples that left the speaker) and `firstAt` (ms). */
  constructor(onReport) {
    this.onReport = onReport;
    this.context = null;
    this.node = null;
    this.opening = null;
    this.id = null;
    this.last = null;
    this.stopping = null; // { promise, resolve }
  }

  /** Browsers let a page sound only after a press: call this in its handler. */
  open() {
    if (this.opening === null) {
      this.context = new AudioContext({ sampleRate: SAMPLE_RATE_HZ, latencyHint: "interactive" });
      this.opening = this.context.audioWorklet.addModule(new URL("player-worklet.js", import.meta.url)).then(() => {
        this.node = new AudioWorkletNode(this.context, "player", { numberOfInputs: 0, outputChannelCount: [1] });
        this.node.port.onmessage = ({ data }) => this._report(data);
        this.node.connect(this.context.destination);
      });
    }
    if (this.context.state === "suspended") this.context.resume();
    return this.opening;
  }

  /** Begin an utterance; one that plays ends by that. */
  begin(id) {
    if (this.id !== null) this._cutOff();
    this.id = id;
    this.last = null;
    this._post({ kind: "begin", id, startAfter: START_AFTER });
  }

  push(id, pcm) {
    this._post({ kind: "push", id, pcm: pcm.slice() });
  }

  end(id) {
    this._post({ kind: "end", id });
  }

  get isPlaying() {
    return this.id !== null;
  }

  /** Stop; resolves to the last report of the utterance, or null where none plays. */
  stop() {
    if (this.id === null) return Promise.resolve(null);
    if (this.stopping === null) {
      const stopping = {};
      stopping.promise = new Promise((resolve) => (stopping.resolve = resolve));
      this.stopping = stopping;
      this._post({ kind: "stop", id: this.id });
      setTimeout(() => this.stopping === stopping && this._cutOff(), SILENT_AFTER_MS);
    }
    return this.stopping.promise;
  }

  /** In the order of the calls, once the worklet is there. */
  _post(message) {
    this.open().then(() => this.node.port.postMessage(message));
  }

  _report(report) {
    if (report.id !== this.id) return; // its end was told
    const latency = this.context.outputLatency || this.context.baseLatency || 0;
    const heard = Math.max(0, report.played - (report.over && !report.stopped ? 0 : Math.round(latency * SAMPLE_RATE_HZ)));
    const firstAt = report.first === null ? null : this._clock(report.first) + 1000 * latency;
    const told = { ...report, heard, firstAt, latencySec: latency };
    this.last = told;
    if (report.over) this._over(told);
    else this.onReport(told);
  }

  /** The worklet says no more of the utterance: where it was last is its end. */
  _cutOff() {
    this._over({ ...NOTHING, ...this.last, id: this.id, over: true, stopped: true });
  }

  _over(report) {
    this.id = null;
    this.onReport(report);
    this.stopping?.resolve(report);
    this.stopping = null;
  }

  /** A time of the audio clock, in seconds, as performance.now() has it. */
  _clock(seconds) {
    return performance.now() + 1000 * (seconds - this.context.currentTime);
  }
}
