// What the user chose, kept in this browser.

const KEY = "cslm.settings";
const DEFAULTS = { mode: "hold", questionLanguage: "", answerLanguage: "", processing: true, theme: "system" };

export function readSettings() {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(KEY) ?? "{}") };
  } catch {
    return { ...DEFAULTS }; // storage that is switched off, or holds something else
  }
}

export function keepSettings(settings) {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // it lasts as long as the page, then
  }
}

/** The token of `#token=...`, which leaves the address bar, or of this tab. */
export function readToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given !== null) {
    history.replaceState(null, "", location.pathname + location.search);
    keepToken(given);
    return given;
  }
  try {
    return sessionStorage.getItem("cslm.token");
  } catch {
    return null;
  }
}

export function keepToken(token) {
  try {
    sessionStorage.setItem("cslm.token", token);
  } catch {
    // asked for again after a reload
  }
}
