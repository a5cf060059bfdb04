// Windowed-sinc resampling of a stream: the same samples, however the stream is cut.

const ZERO_CROSSINGS = 20;
const PASS = 0.94; // of the lower Nyquist frequency
const BETA = 9.5; // of the Kaiser window: what is cut off lies below -90 dB

/** Takes samples at one rate in pieces, gives them at another. Output n lies at input n * from / to. */
export class Resampler {
  constructor(from, to) {
    this.from = from;
    this.to = to;
    this.cutoff = PASS * Math.min(1, to / from);
    this.half = from === to ? 0 : Math.ceil(ZERO_CROSSINGS / this.cutoff);
    this.kernels = new Map(); // phase -> taps
    this.kept = new Float32Array(this.half); // silence before the first sample
    this.keptFrom = -this.half; // input index of kept[0]
    this.numIn = 0;
    this.numOut = 0;
  }

  /** The output that no input to come can change. */
  push(samples) {
    this._append(samples);
    return this._make(Math.floor(((this.numIn - this.half - 1) * this.to) / this.from) + 1);
  }

  /** What is left, as if silence followed: all pieces together hold ceil(input * to / from) samples. */
  flush() {
    const numIn = this.numIn;
    this._append(new Float32Array(this.half + 1));
    return this._make(Math.ceil((numIn * this.to) / this.from));
  }

  _append(samples) {
    const joined = new Float32Array(this.kept.length + samples.length);
    joined.set(this.kept);
    joined.set(samples, this.kept.length);
    this.kept = joined;
    this.numIn += samples.length;
  }

  _make(until) {
    const made = new Float32Array(Math.max(0, until - this.numOut));
    for (let index = 0; index < made.length; index += 1) {
      const place = (this.numOut + index) * this.from;
      const taps = this._kernel(place % this.to);
      const first = Math.floor(place / this.to) - this.half - this.keptFrom;
      let sum = 0;
      for (let tap = 0; tap < taps.length; tap += 1) sum += taps[tap] * this.kept[first + tap];
      made[index] = sum;
    }
    this.numOut += made.length;
    const drop = Math.floor((this.numOut * this.from) / this.to) - this.half - this.keptFrom;
    if (drop > 0) {
      this.kept = this.kept.slice(drop);
      this.keptFrom += drop;
    }
    return made;
  }

  _kernel(phase) {
    let taps = this.kernels.get(phase);
    if (taps === undefined) {
      taps = new Float32Array(2 * this.half + 1);
      let sum = 0;
      for (let tap = 0; tap < taps.length; tap += 1) {
        const x = tap - this.half - phase / this.to;
        taps[tap] = this.half ? sinc(this.cutoff * x) * kaiser(x / (this.half + 1)) : 1;
        sum += taps[tap];
      }
      for (let tap = 0; tap < taps.length; tap += 1) taps[tap] /= sum; // a constant stays what it is
      this.kernels.set(phase, taps);
    }
    return taps;
  }
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function kaiser(x) {
  return Math.abs(x) >= 1 ? 0 : bessel(BETA * Math.sqrt(1 - x * x)) / bessel(BETA);
}

function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > 1e-12 * sum; k += 1) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
