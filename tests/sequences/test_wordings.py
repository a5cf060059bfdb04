from __future__ import annotations

import pytest

from cslm.errors import UserError
from cslm.sequences.wordings import all_wordings, dialogue_request, num_wordings, worded_request, worded_tasks


@pytest.mark.parametrize("task", worded_tasks())
@pytest.mark.parametrize("language", ["en", "zh"])
def test_ten_different_wordings_a_task_and_language(task, language):
    other = "zh" if language == "en" else "en"
    assert num_wordings(task, language) == 10
    wordings = {worded_request(task, wording, language, other).before for wording in range(10)}
    assert len(wordings) == 10
    assert worded_request(task, 12, language, other) == worded_request(task, 2, language, other)
    names = {"en": ("English", "Chinese"), "zh": ("中文", "英文")}[language]
    for wording in wordings:
        assert "{" not in wording
        assert names[0] in wording and (task != "translation" or names[1] in wording)


def test_the_wrapper_is_that_of_the_paper():
    english = worded_request("asr", 0, "en")
    assert english.before.endswith(" This is input: ") and english.after == "."
    chinese = worded_request("asr", 0, "zh")
    assert chinese.before.endswith("。 这是输入: ") and chinese.after == "。"


def test_the_prompts_of_dialogues_are_those_of_the_paper():
    prompts = {pair: "...".join(vars_of(dialogue_request(*pair))) for pair in [("en", "en"), ("zh", "zh")]}
    assert prompts["en", "en"] == "Please directly answer the questions in the user's speech. This is input: ...."
    assert prompts["zh", "zh"] == "直接回答用户语音中的问题。 这是输入: ...。"
    across = {pair: "...".join(vars_of(dialogue_request(*pair))) for pair in [("zh", "en"), ("en", "zh")]}
    assert across["zh", "en"] == "Please answer the questions in the user's speech in English. This is input: ...."
    assert across["en", "zh"] == "用中文回答用户语音中的问题。 这是输入: ...。"


def vars_of(request):
    return request.before, request.after


def test_a_language_without_a_block_is_asked_for_in_english_by_name():
    assert worded_request("asr", 0, "fr").before == "Write down this French speech. This is input: "
    assert dialogue_request("fr", "fr").before.startswith("Please answer the questions in the user's speech in French.")
    assert dialogue_request("en", "fr").before.startswith("Please answer the questions in the user's speech in French.")
    assert worded_request("tts", 0, "wuu").before.startswith("Read this Wu Chinese text")


def test_other_tags_of_a_language_were_asked_for_in_english():
    for said in ("zh_CN", "cmn", "zho", "zh-Hans", "ZH"):
        assert worded_request("asr", 3, said) == worded_request("asr", 3, "zh")
        assert dialogue_request(said, "zh") == dialogue_request("zh", "zh")


def test_what_is_no_language_is_refused():
    with pytest.raises(UserError, match="'english' is"):
        worded_request("asr", 0, "english")


def test_regions_speak_their_language():
    assert worded_request("asr", 3, "en-GB") == worded_request("asr", 3, "en")
    assert dialogue_request("zh-CN", "zh") == dialogue_request("zh", "zh")


def test_all_wordings_hold_every_request():
    wordings = list(all_wordings(["en", "zh"]))
    assert len(wordings) == 2 * 30 + 4
    request = worded_request("translation", 4, "zh", "en")
    assert request.before + request.after in wordings
