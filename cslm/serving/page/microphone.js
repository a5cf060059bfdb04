// The microphone: opened when it is needed, closed when it is not.

/** Why there is no microphone, in words for the one who pressed the button. */
export class MicrophoneError extends Error {}

export class Microphone {
  /** `onPiece` gets PCM16 at 24 kHz, 20 ms at a time, and its peak in [0, 1]; `onEnd` hears that it was taken away. */
  constructor(onPiece, onEnd) {
    this.onPiece = onPiece;
    this.onEnd = onEnd;
    this.stream = null;
    this.context = null;
    this.node = null;
    this.isOpen = false;
  }

  async open(processing) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new MicrophoneError(
        "This address may not use the microphone: browsers allow it on https and on localhost alone. " +
          "Open the page on the machine itself, through an ssh tunnel, or behind https. A file can be sent as it is.",
      );
    }
    try {
      const audio = { channelCount: 1, echoCancellation: processing, noiseSuppression: processing, autoGainControl: processing };
      this.stream = await navigator.mediaDevices.getUserMedia({ audio });
      this.context = new AudioContext({ latencyHint: "interactive" });
      await this.context.audioWorklet.addModule(new URL("capture-worklet.js", import.meta.url));
    } catch (error) {
      this._release();
      throw new MicrophoneError(reason(error));
    }
    this.node = new AudioWorkletNode(this.context, "capture", { numberOfOutputs: 0 });
    this.node.port.onmessage = ({ data }) => this._take(data);
    this.context.createMediaStreamSource(this.stream).connect(this.node);
    await this.context.resume();
    this.isOpen = true;
    for (const track of this.stream.getTracks()) track.addEventListener("ended", () => this.isOpen && this.onEnd());
  }

  /** Stop; resolves when the last piece has been given out. */
  close() {
    if (!this.isOpen) return Promise.resolve();
    this.isOpen = false;
    return new Promise((resolve) => {
      this.closed = resolve;
      this.node.port.postMessage("finish");
    });
  }

  _take({ pcm, last }) {
    if (pcm.length > 0) this.onPiece(pcm, pcm.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0) / 32768);
    if (last) {
      this._release();
      this.closed();
    }
  }

  _release() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.context?.close();
    this.stream = this.context = this.node = null;
  }
}

function reason(error) {
  if (error.name === "NotAllowedError" || error.name === "SecurityError") {
    return (
      "The microphone was refused. Allow it for this page (the icon beside the address), then press again. " +
      "A file can be sent without it."
    );
  }
  if (error.name === "NotFoundError") return "No microphone was found. Plug one in and press again, or send a file.";
  if (error.name === "NotReadableError") return "Another program holds the microphone. Close it and press again.";
  return `The microphone does not open (${error.name}: ${error.message}). A file can be sent without it.`;
}

/** The sound of a file as PCM16 at 24 kHz: whatever the browser can decode, mixed to one channel. */
export async function readAudioFile(file, sampleRateHz, toPcm16) {
  const context = new OfflineAudioContext(1, 1, sampleRateHz);
  let buffer;
  try {
    buffer = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new MicrophoneError(`${file.name}: the browser cannot read this as sound. A WAV file will do.`);
  }
  const mean = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel += 1) {
    buffer.getChannelData(channel).forEach((sample, index) => (mean[index] += sample / buffer.numberOfChannels));
  }
  return toPcm16(mean);
}

