"""What Prometheus reads."""

from __future__ import annotations

from cslm.serving.metrics import Metrics


def test_a_counter_seemed_to_stand_still_beyond_six_digits() -> None:
    metrics = Metrics()
    metrics.count("cslm_ids_written_total", by=1_234_567)
    metrics.count("cslm_audio_sent_seconds_total", by=1_234_567.25)
    assert "\ncslm_ids_written_total 1234567\n" in metrics.text({})
    metrics.count("cslm_ids_written_total")
    told = metrics.text({"cslm_replies_open": 1_000_001})
    assert "\ncslm_ids_written_total 1234568\n" in told and "\ncslm_audio_sent_seconds_total 1234567.25\n" in told
    assert told.endswith("\ncslm_replies_open 1000001\n")
