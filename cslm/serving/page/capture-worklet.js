// The microphone on the audio thread: mixed to one channel, resampled to 24 kHz, PCM16 in pieces of 20 ms.

import { SAMPLE_RATE_HZ, toPcm16 } from "./pcm.js";
import { Resampler } from "./resampler.js";

const PIECE = SAMPLE_RATE_HZ / 50;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, SAMPLE_RATE_HZ);
    this.waiting = [];
    this.numWaiting = 0;
    this.over = false;
    this.port.onmessage = () => this._finish();
  }

  process([input]) {
    if (this.over) return false;
    if (input.length > 0) this._take(this.resampler.push(mixed(input)));
    return true;
  }

  _take(samples) {
    this.waiting.push(samples);
    this.numWaiting += samples.length;
    if (this.numWaiting >= PIECE) this._post(false);
  }

  _finish() {
    this.over = true;
    this.waiting.push(this.resampler.flush());
    this._post(true);
  }

  _post(last) {
    const pcm = new Int16Array(this.waiting.reduce((sum, piece) => sum + piece.length, 0));
    let place = 0;
    for (const piece of this.waiting) {
      pcm.set(toPcm16(piece), place);
      place += piece.length;
    }
    this.waiting = [];
    this.numWaiting = 0;
    this.port.postMessage({ pcm, last }, [pcm.buffer]);
  }
}

function mixed(channels) {
  const mean = new Float32Array(channels[0].length);
  for (const channel of channels) {
    for (let index = 0; index < mean.length; index += 1) mean[index] += channel[index] / channels.length;
  }
  return mean;
}

registerProcessor("capture", Capture);
