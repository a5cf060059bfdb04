// PCM16: from and to samples in [-1, 1], base64, and WAV files.

export const SAMPLE_RATE_HZ = 24000;

export function toPcm16(samples) {
  const pcm = new Int16Array(samples.length);
  for (let index = 0; index < pcm.length; index += 1) {
    pcm[index] = Math.max(-32768, Math.min(32767, Math.round(samples[index] * 32768)));
  }
  return pcm;
}

/** Little-endian, as the protocol has it. */
export function toBase64(pcm) {
  const bytes = new Uint8Array(pcm.buffer, pcm.byteOffset, pcm.byteLength);
  let text = "";
  for (let start = 0; start < bytes.length; start += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(text);
}

export function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Int16Array(bytes.buffer, 0, bytes.length >> 1);
}

/** One array of many. */
export function joined(pieces) {
  const whole = new Int16Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let place = 0;
  for (const piece of pieces) {
    whole.set(piece, place);
    place += piece.length;
  }
  return whole;
}

/** The bytes of a mono WAV file. */
export function wavFile(pcm, sampleRateHz = SAMPLE_RATE_HZ) {
  const file = new DataView(new ArrayBuffer(44 + 2 * pcm.length));
  const ascii = (place, text) => [...text].forEach((letter, index) => file.setUint8(place + index, letter.charCodeAt(0)));
  ascii(0, "RIFF");
  file.setUint32(4, 36 + 2 * pcm.length, true);
  ascii(8, "WAVEfmt ");
  file.setUint32(16, 16, true);
  file.setUint16(20, 1, true); // PCM
  file.setUint16(22, 1, true); // mono
  file.setUint32(24, sampleRateHz, true);
  file.setUint32(28, 2 * sampleRateHz, true);
  file.setUint16(32, 2, true);
  file.setUint16(34, 16, true);
  ascii(36, "data");
  file.setUint32(40, 2 * pcm.length, true);
  pcm.forEach((sample, index) => file.setInt16(44 + 2 * index, sample, true));
  return new Uint8Array(file.buffer);
}
