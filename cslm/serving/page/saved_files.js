// A conversation as a ZIP file: what was said as text and as JSON, and each sound as a WAV.

import { wavFile } from "./pcm.js";
import { zipFile } from "./zip.js";

export function saveConversation(turns, model) {
  const files = [
    ["conversation.txt", plainText(turns)],
    ["conversation.json", `${JSON.stringify({ model, turns: turns.map((turn) => turn.record()) }, null, 2)}\n`],
  ];
  for (const turn of turns) {
    const number = String(turn.number).padStart(2, "0");
    if (turn.questionSec > 0) files.push([`${number}_question.wav`, wavFile(turn.questionSound())]);
    if (turn.answerSec > 0) files.push([`${number}_answer.wav`, wavFile(turn.answerSound())]);
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(zipFile(files));
  link.download = "conversation.zip";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function plainText(turns) {
  return turns.map((turn) => `You: ${turn.questionText || "(no transcript)"}\nModel: ${turn.answerText}\n`).join("\n");
}
