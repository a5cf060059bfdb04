// One WebSocket to the server, opened again when it closes, and in words why it does not open.

const FIRST_WAIT_SEC = 0.5;
const LONGEST_WAIT_SEC = 15;
const PROTOCOL = "realtime";
const KEY = "openai-insecure-api-key."; // how the stock clients hand a token to a browser's WebSocket

const CLOSED = {
  1001: "The server is stopping.",
  1011: "The server heard nothing from this page for too long.",
  1008: "The server ended this connection",
  1009: "That was more than the server takes in one message.",
  1012: "The server is stopping.",
};

/** Seconds before the next try, after so many that failed. */
export function waitSec(numFailed) {
  return Math.min(LONGEST_WAIT_SEC, FIRST_WAIT_SEC * 2 ** numFailed);
}

export class Connection {
  /**
   * `onState(state, message, waitSec)`: "connecting", "open", "waiting" (opens again after so many seconds),
   * "token" (one is needed, or is wrong) or "refused" (trying again is up to the user). `onEvent` gets each event.
   */
  constructor(onState, onEvent) {
    this.onState = onState;
    this.onEvent = onEvent;
    this.token = null;
    this.socket = null;
    this.numFailed = 0;
    this.timer = null;
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  connect() {
    clearTimeout(this.timer);
    this.onState("connecting", "", 0);
    const address = new URL("v1/realtime", document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address, this.token === null ? [PROTOCOL] : [PROTOCOL, KEY + this.token]);
    this.socket = socket;
    let opened = false;
    socket.onopen = () => (opened = true);
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket) return;
      const event = JSON.parse(data);
      if (event.type === "session.created") {
        this.numFailed = 0;
        this.onState("open", "", 0);
      }
      this.onEvent(event);
    };
    socket.onclose = async ({ code, reason }) => {
      if (socket !== this.socket) return;
      const cause = opened ? { message: closed(code, reason) } : await this._whyRefused();
      if (socket === this.socket) this._failed(cause);
    };
  }

  /** Close for good, or until the next `connect`. */
  close() {
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  send(type, fields = {}) {
    if (this.isOpen) this.socket.send(JSON.stringify({ type, ...fields }));
  }

  _failed({ message, state = "waiting" }) {
    this.socket = null;
    const seconds = waitSec(this.numFailed);
    this.numFailed += 1;
    this.onState(state, message, seconds);
    if (state === "waiting") this.timer = setTimeout(() => this.connect(), 1000 * seconds);
  }

  /** A browser does not tell a page why a WebSocket was refused: the same question over HTTP is answered. */
  async _whyRefused() {
    const headers = this.token === null ? {} : { Authorization: `Bearer ${this.token}` };
    let response;
    try {
      response = await fetch(new URL("v1/models", document.baseURI), { headers, cache: "no-store" });
    } catch {
      return { message: "The server does not answer." };
    }
    if (response.status === 401) {
      return { state: "token", message: this.token === null ? "" : "The token is wrong." };
    }
    if (response.status === 403) {
      return { state: "refused", message: `The server does not take this page's address, ${location.origin}. ${await told(response)}` };
    }
    if (response.status === 503 || response.ok) return { message: "The server is full." };
    return { message: `The server answers with ${response.status}. ${await told(response)}` };
  }
}

function closed(code, reason) {
  return [CLOSED[code] ?? "The connection was lost", reason && `(${reason})`].filter(Boolean).join(" ").replace(/([^.)])$/, "$1.");
}

async function told(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return "";
  }
}
