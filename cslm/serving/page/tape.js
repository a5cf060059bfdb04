// What the microphone gave in one session, by the sample: the server says by its clock where a question lies in it.

import { joined, SAMPLE_RATE_HZ } from "./pcm.js";

const KEPT_SEC = 120;

export class Tape {
  constructor() {
    this.pieces = []; // [first sample, PCM16]
    this.length = 0;
  }

  append(pcm) {
    this.pieces.push([this.length, pcm]);
    this.length += pcm.length;
    while (this.length - this.pieces[0][0] > KEPT_SEC * SAMPLE_RATE_HZ) this.pieces.shift();
  }

  /** The samples from one place up to another (default: all that came after), as far as they are kept. */
  cut(from, to = this.length) {
    const found = this.pieces.map(([first, pcm]) => pcm.subarray(Math.max(0, from - first), Math.max(0, to - first)));
    return joined(found);
  }
}
