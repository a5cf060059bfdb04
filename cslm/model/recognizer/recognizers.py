"""The families of recognizers that can be trained."""

from __future__ import annotations

# Section of RecognizerConfig -> "module:Class", made from its settings, transcripts and languages. Imported when used.
RECOGNIZERS = {
    "whisper": "cslm.model.recognizer.whisper_recognizer:WhisperRecognizer",
    "ctc": "cslm.model.recognizer.ctc_recognizer:CtcRecognizer",
}
