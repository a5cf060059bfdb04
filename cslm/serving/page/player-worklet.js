// The player on the audio thread: one utterance at a time, sample after sample, and an account of what was played.

const FADE = 240; // samples, 10 ms at 24 kHz: how a stopped utterance ends without a click
const REPORT_EVERY = 4; // blocks of 128 samples

class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this._begin(null, 0);
    this.port.onmessage = ({ data }) => {
      if (data.kind === "begin") this._begin(data.id, data.startAfter);
      else if (data.id !== this.id) return;
      else if (data.kind === "push") this._push(data.pcm);
      else if (data.kind === "end") this.ended = true;
      else if (data.kind === "stop") this.fading = this.playing && !this.over ? FADE : 0;
    };
  }

  _begin(id, startAfter) {
    this.id = id;
    this.startAfter = startAfter; // samples that must wait before the first is played, and after each gap
    this.pieces = [];
    this.place = 0; // in the first piece
    this.queued = 0;
    this.playing = false;
    this.ended = false; // nothing more will be pushed
    this.over = id === null;
    this.stopped = false;
    this.fading = null;
    this.played = 0;
    this.starved = 0; // samples of silence inside the utterance
    this.silent = 0; // of the gap that is not over yet
    this.gaps = 0;
    this.firstFrame = null; // of the audio clock
    this.checksum = 0x811c9dc5; // FNV-1a over what was played, a sample at a time
    this.blocks = 0;
  }

  _push(pcm) {
    this.pieces.push(pcm);
    this.queued += pcm.length;
  }

  process(_, [[output]]) {
    if (this.over) return true;
    if (!this.playing && this.fading === null && this.queued > 0 && (this.ended || this.queued >= this.startAfter)) {
      this._start();
    }
    const written = this.playing ? this._write(output) : 0;
    if (this.ended && this.queued === 0) this.over = true;
    else if (this.fading !== null && written < output.length) this.over = this.stopped = true;
    else if (this.firstFrame !== null && written < output.length) this._starve(output.length - written);
    this.blocks += 1;
    if (this.over || this.firstFrame === currentFrame || this.blocks % REPORT_EVERY === 0) this._report();
    return true;
  }

  /** Begin, or go on after a gap. */
  _start() {
    this.playing = true;
    if (this.firstFrame === null) this.firstFrame = currentFrame;
    if (this.silent > 0) this.gaps += 1;
    this.starved += this.silent;
    this.silent = 0;
  }

  _starve(missing) {
    this.silent += missing;
    this.playing = false;
  }

  /** How many samples there were for this block. */
  _write(output) {
    let written = 0;
    while (written < output.length && this.queued > 0 && this.fading !== 0) {
      const piece = this.pieces[0];
      const sample = piece[this.place];
      const gain = this.fading === null ? 1 : this.fading / FADE;
      output[written] = (sample / 32768) * gain;
      if (this.fading === null) this.checksum = Math.imul(this.checksum ^ (sample & 0xffff), 0x01000193) >>> 0;
      else this.fading -= 1;
      written += 1;
      this.place += 1;
      this.queued -= 1;
      if (this.place === piece.length) {
        this.pieces.shift();
        this.place = 0;
      }
    }
    this.played += written;
    return written;
  }

  _report() {
    const { id, played, starved, gaps, queued, over, stopped, firstFrame, checksum } = this;
    const first = firstFrame === null ? null : firstFrame / sampleRate;
    this.port.postMessage({ id, played, starved, gaps, queued, over, stopped, first, checksum });
  }
}

registerProcessor("player", Player);
