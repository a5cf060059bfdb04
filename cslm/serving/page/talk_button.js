// The button to speak with: held (by mouse, finger, Enter or space), or tapped to begin and tapped again to end.

const TAP_MS = 350;

export class TalkButton {
  /** `begin()` and `end()` are called once each for what is said; `toggle()` where the page listens by itself. */
  constructor(button, { begin, end, toggle, isFree }) {
    this.button = button;
    this.actions = { begin, end, toggle, isFree };
    this.isDown = false;
    this.speaks = false;
    this.downAt = 0;
    button.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      button.setPointerCapture(event.pointerId);
      this._down();
    });
    button.addEventListener("pointerup", () => this._up());
    button.addEventListener("pointercancel", () => this._up());
    button.addEventListener("contextmenu", (event) => event.preventDefault()); // a long press is no menu
    button.addEventListener("click", (event) => {
      if (event.detail === 0) this._press(); // from a screen reader or a script: no pointer, no key
    });
    document.addEventListener("keydown", (event) => this._key(event, true));
    document.addEventListener("keyup", (event) => this._key(event, false));
    window.addEventListener("blur", () => this.isDown && this._up());
  }

  /** What is said is over, for whatever reason. */
  reset() {
    this.isDown = false;
    this.speaks = false;
  }

  _key(event, down) {
    const focused = document.activeElement;
    const here = focused === this.button;
    const free = focused === null || focused === document.body || focused === document.documentElement;
    const isKey = event.code === "Space" || (event.code === "Enter" && here);
    if (!isKey || event.ctrlKey || event.altKey || event.metaKey || !(here || free) || this.button.disabled) {
      if (isKey && !down && this.isDown) this._up();
      return;
    }
    event.preventDefault();
    if (event.repeat) return;
    if (down) this._down();
    else if (this.isDown) this._up();
  }

  /** Begin and end at once: a tap. */
  _press() {
    this._down();
    this._up();
  }

  _down() {
    if (this.isDown || this.button.disabled) return;
    this.isDown = true;
    if (this.actions.isFree()) this.actions.toggle();
    else if (this.speaks) this._end();
    else {
      this.speaks = true;
      this.downAt = performance.now();
      this.actions.begin();
    }
  }

  _up() {
    if (!this.isDown) return;
    this.isDown = false;
    if (!this.actions.isFree() && this.speaks && performance.now() - this.downAt >= TAP_MS) this._end();
  }

  _end() {
    this.speaks = false;
    this.actions.end();
  }
}
