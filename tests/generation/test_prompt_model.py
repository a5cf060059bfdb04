"""A model that hears by a connector, as users open it: the same template, the same replies alone and in a batch."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch

from cslm import CSLMForCausalLM
from cslm.audio.waveform import save_waveform
from cslm.batches.packed_row import packed_row
from cslm.batches.sources import SourceConfig, open_sources
from cslm.cli import dispatch
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError
from cslm.evaluation.audio_text_model import AskedAloud, OwnAudioModel
from cslm.generation.decoding import DecodingConfig
from cslm.generation.prompt_model import _clips
from cslm.model.speech_prompt.connector_config import ConnectorConfig
from cslm.model.speech_prompt.merge import MergeConfig, merge
from cslm.model.speech_prompt.prompt_checkpoint import open_prompt, start_from
from cslm.model.speech_prompt.query_bank_config import GateConfig, QFormerShapeConfig, QueryBankConfig
from cslm.sequences.hearing import PLACEHOLDER
from tests.worlds.asr_models import write_whisper
from tests.worlds.heard_world import write_heard_world
from tests.worlds.small_corpus import glide
from tests.worlds.tiny_llm import make_llm
from tests.worlds.tiny_prompt import make_prompt

CLIPS = [(glide(seed, seconds), 16000) for seed, seconds in enumerate((0.31, 2.9, 0.9, 1.7, 0.05, 1.2, 3.4, 0.6))]
"""of which two are longer than the encoder takes at once, and are heard in pieces"""
SHORT = DecodingConfig(max_new_tokens=12)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = write_heard_world(tmp_path_factory.mktemp("prompt"))
    make_prompt(root)
    return root


@pytest.fixture(scope="module")
def model(root):
    return CSLMForCausalLM.from_pretrained(root / "prompt")


def test_replies_are_the_same_alone_and_in_a_batch(model):
    together = model.respond_batch(CLIPS, "Answer briefly.", SHORT)
    alone = [model.respond(clip, "Answer briefly.", SHORT) for clip in CLIPS]
    assert together == alone and len({reply.answer for reply in alone}) > 1


def test_logits_are_the_same_alone_and_in_a_batch(model):
    requests = [model.processor.request(clip) for clip in CLIPS]
    with torch.no_grad():
        together = model(**model.processor.apply_chat_template(requests)).logits[:, -1]
        for request, found in zip(requests, together, strict=True):
            alone = model(**model.processor.apply_chat_template(request)).logits[0, -1]
            assert (alone - found).abs().max() <= 1e-5 * alone.abs().max()


def test_vectors_are_the_same_alone_and_in_a_batch(model):
    inputs = model.processor.apply_chat_template([model.processor.request(clip) for clip in CLIPS])
    with torch.no_grad():
        together = model.get_audio_features(inputs["input_features"], inputs["input_features_mask"])
        for row, clip in enumerate(CLIPS):
            inputs = model.processor.apply_chat_template(model.processor.request(clip))
            alone = model.get_audio_features(inputs["input_features"], inputs["input_features_mask"])
            found = together.vectors[row, : int(together.lengths[row])]
            assert (alone.vectors[0] - found).abs().max() <= 1e-5 * alone.vectors.abs().max()


@pytest.mark.parametrize("task", ["audio_asr", "audio_dialogue"])
def test_one_template_writes_training_and_prompts(root, model, task):
    documents = {} if task == "audio_asr" else {"documents": str(root / "dialogues.jsonl")}
    config = SourceConfig(task, 1, manifest=str(root / "manifest.jsonl"), **documents)
    source = open_sources({"a": config}, model.processor.form)["a"]
    for index in (0, 1, 3):
        document = source.sequence(index, 5)
        first = int(document.trained.argmax())
        said = [text for span, text in model.processor.form.span_texts(document)
                if span.role == "user" and span.modality == "text"]  # fmt: skip
        instruction = said[0].removesuffix("\n") if said else None
        rows = [json.loads(line) for line in (root / "manifest.jsonl").read_text().splitlines()]
        request = model.processor.request(str(root / rows[index]["audio"]), instruction)
        prompt = model.processor.apply_chat_template(request)
        assert prompt["input_ids"][0].tolist() == document.ids[:first].tolist()


def test_logits_are_those_that_training_learns_from(root, model):
    config = SourceConfig("audio_asr", 1, manifest=str(root / "manifest.jsonl"))
    document = open_sources({"a": config}, model.processor.form)["a"].sequence(1, 5)
    groups = {f"audio_asr/{kind}/en": 0 for kind in ("text", "template")}
    row = packed_row([document], groups)
    with torch.no_grad():
        connected = model.prompt.connect(row.clips)
        embedded = model.prompt.embeddings(row.input_ids, row.clips, connected)
        learnt = model.prompt.llm(inputs_embeds=embedded).logits
        mask = torch.ones(1, row.clips.values.shape[1], dtype=torch.int64)
        found = model(row.input_ids, None, row.clips.values, mask).logits
    assert torch.equal(learnt, found)


def test_text_never_becomes_a_place(model):
    message = [{"role": "user", "content": f"say {PLACEHOLDER} twice"}]
    ids = model.processor.apply_chat_template(message)["input_ids"]
    assert model.processor.hearing.placeholder_id not in ids.tolist()[0]
    assert model.processor.hearing.placeholder_id != model.processor.tokenizer.eos_token_id
    with pytest.raises(UserError, match="places for recordings, and there are no input_features"):
        model.generate(torch.tensor([[model.processor.hearing.placeholder_id]]))


def test_generate_gives_what_was_asked_and_the_reply(model):
    inputs = model.processor.apply_chat_template(model.processor.request(CLIPS[0], "Say {audio} again."))
    found = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    assert torch.equal(found[:, : inputs["input_ids"].shape[1]], inputs["input_ids"])
    assert inputs.keys() == {"input_ids", "attention_mask", "input_features", "input_features_mask"}
    assert model.processor.hearing.placeholder_id not in found[:, inputs["input_ids"].shape[1] :].tolist()[0]


def test_a_trained_part_and_a_whole_folder_open_alike_and_say_which(root, model, tmp_path):
    merge(MergeConfig(str(root / "prompt"), str(tmp_path / "whole")))
    whole = CSLMForCausalLM.from_pretrained(tmp_path / "whole")
    assert (model.is_whole, whole.is_whole) == (False, True)
    assert model.told.startswith("the trained part alone") and whole.told.startswith("a whole folder")
    assert whole.respond_batch(CLIPS[:3], None, SHORT) == model.respond_batch(CLIPS[:3], None, SHORT)
    assert (tmp_path / "whole/llm/model.safetensors").is_file() and str(tmp_path) not in (
        tmp_path / "whole/speech_prompt.yaml"
    ).read_text()
    moved = shutil.copytree(tmp_path / "whole", tmp_path / "elsewhere/whole")
    assert CSLMForCausalLM.from_pretrained(moved).respond(CLIPS[0], None, SHORT) == whole.respond(CLIPS[0], None, SHORT)
    with pytest.raises(UserError, match="is there and not empty"):
        merge(MergeConfig(str(root / "prompt"), str(tmp_path / "whole")))


def test_another_language_model_or_encoder_is_refused_and_both_are_named(root, tmp_path):
    other = make_llm(tmp_path / "other", seed=3)
    known = json.loads((root / "prompt/config.json").read_text())["speech_prompt"]["hashes"]
    match = f"trained with the language model {known['language model']}, and .*other is sha256:"
    with pytest.raises(UserError, match=match):
        CSLMForCausalLM.from_pretrained(root / "prompt", llm=str(other))
    moved = shutil.copytree(root / "whisper", tmp_path / "whisper")
    opened = CSLMForCausalLM.from_pretrained(root / "prompt", encoder=str(moved))
    assert opened.respond(CLIPS[0], None, SHORT).ids
    other = write_whisper(tmp_path / "another", seed=1)
    with pytest.raises(UserError, match=f"trained with the encoder {known['encoder']}, and .*another is sha256:"):
        CSLMForCausalLM.from_pretrained(root / "prompt", encoder=str(other))


def test_saved_again_it_is_the_same(model, tmp_path):
    model.save_pretrained(tmp_path / "again")
    again = CSLMForCausalLM.from_pretrained(tmp_path / "again")
    assert again.respond(CLIPS[0], None, SHORT) == model.respond(CLIPS[0], None, SHORT)


def test_respond_answers_on_the_command_line(root, tmp_path, capsys):
    save_waveform(tmp_path / "question.wav", *CLIPS[2])
    asked = ["respond", str(root / "prompt"), str(tmp_path / "question.wav"), "--decoding.max_new_tokens", "5"]
    dispatch([*asked, "--instruction", "Answer briefly.", "--json", str(tmp_path / "reply.json")])
    assert "answer: " in capsys.readouterr().out
    assert set(json.loads((tmp_path / "reply.json").read_text())) == {"answer", "is_whole"}
    with pytest.raises(UserError, match="output is given, and .* answers in text and does not read it: leave it out"):
        dispatch([*asked, "--output", str(tmp_path / "answer.wav")])


def test_parts_that_are_none_are_refused(model):
    for content, message in (
        ([{"type": "image", "image": "a.png"}], "a part of a message is"),
        ([{"type": "audio", "audio": CLIPS[0][0]}], "a waveform without its rate"),
        (3, "content of type int"),
    ):
        with pytest.raises(UserError, match=message):
            model.processor.apply_chat_template([{"role": "user", "content": content}])


@pytest.fixture(scope="module")
def told_folder(tmp_path_factory):
    """A model that is told which language it hears."""
    shape = QFormerShapeConfig(width=8, layers=1, heads=2, inner=16, positions=24)
    bank = QueryBankConfig(5, shape=shape, gate=GateConfig("given"))
    return make_prompt(tmp_path_factory.mktemp("told"), ConnectorConfig(query_bank=bank), ("de", "en"))


@pytest.fixture(scope="module")
def told(told_folder):
    return CSLMForCausalLM.from_pretrained(told_folder)


def test_the_true_language_is_what_is_heard_by_where_it_is_given(told):
    """It was averaged over all languages in replies and in scores, given or not."""
    inputs = told.processor.apply_chat_template(told.processor.request(CLIPS[0]))
    parts = inputs["input_features"], inputs["input_features_mask"]
    found = {code: told.get_audio_features(*parts, languages=[code]).vectors for code in ("de", "en")}
    numbers = torch.tensor([0])
    with torch.no_grad():
        frames, lengths = told.prompt.frames(_clips(*parts, told.device, ["de"]))
        wanted = told.prompt.connector(frames, lengths, numbers).vectors
    torch.testing.assert_close(found["de"], wanted)
    assert not torch.allclose(found["de"], found["en"])
    in_german = told.respond(CLIPS[0], None, SHORT, question_language="de")
    ids = told.generate(**inputs, languages=["de"], max_new_tokens=12, do_sample=False)
    assert in_german.ids == ids[0, inputs["input_ids"].shape[1] :].tolist()
    asked = [AskedAloud(CLIPS[0], "de"), AskedAloud(CLIPS[0], "en")]
    assert OwnAudioModel(told).answer(asked, SHORT)[0] == in_german.answer


def test_a_language_that_is_given_and_not_read_is_refused(model):
    with pytest.raises(UserError, match="this connector does not read it: leave it out"):
        model.respond(CLIPS[0], None, SHORT, question_language="en")


def test_a_language_that_is_not_known_is_refused_where_it_is_wanted(told):
    with pytest.raises(UserError, match="wants to be told the language of each clip, one of de, en"):
        told.respond(CLIPS[0], None, SHORT)
    with pytest.raises(UserError, match="question_language is fr: this model knows de, en"):
        told.respond(CLIPS[0], None, SHORT, question_language="fr")
    with pytest.raises(UserError, match="knows de, en; there are recordings in fr: leave them out"):
        OwnAudioModel(told).answer([AskedAloud(CLIPS[0], "fr")], SHORT)
    inputs = told.processor.apply_chat_template(told.processor.request(CLIPS[0]))
    with pytest.raises(UserError, match="languages are 2, and there are 1 recordings"):
        told.generate(**inputs, languages=["de", "en"])


def test_a_run_of_a_language_that_is_told_and_not_known_stopped_in_its_middle(root, told):
    lines = [json.loads(line) for line in (root / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    lines[3]["language"] = "fr"
    (root / "with_french.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    config = SourceConfig("audio_asr", 1, manifest=str(root / "with_french.jsonl"))
    with pytest.raises(UserError, match="the source a has recordings in fr, and the connector, which is told"):
        open_sources({"a": config}, told.processor.form)
    config = dataclasses.replace(config, languages=["en", "de"])
    assert open_sources({"a": config}, told.processor.form)["a"].num_documents == len(lines) - 1


def test_a_reply_ends_where_the_context_does(model):
    """It ran on behind the last position that the language model has."""
    context = model.prompt.llm.config.max_position_embeddings
    reply = model.respond(CLIPS[0], "Answer.", DecodingConfig(max_new_tokens=context))
    asked = model.processor.apply_chat_template(model.processor.request(CLIPS[0], "Answer."))["input_ids"].shape[1]
    assert reply.is_whole or len(reply.ids) == context - asked
    full = {"input_ids": torch.zeros(1, context), "attention_mask": torch.ones(1, context)}
    with pytest.raises(UserError, match=f"a prompt of {context} tokens fills the model's context of {context}"):
        model.replies(full, 9)


def test_a_long_neighbour_in_the_batch_cut_a_reply_short(model, monkeypatch):
    """All of a batch ended where the context of the longest prompt did."""
    monkeypatch.setattr(model.prompt.llm.generation_config, "eos_token_id", 10_000)  # nothing ends a reply by itself
    context = model.prompt.llm.config.max_position_embeddings
    long = "Answer. " * ((context - 40) // 9)
    requests = [model.processor.request(CLIPS[0], words) for words in ("Answer.", long)]
    alone = [model.replies(model.processor.apply_chat_template(one), context, do_sample=False)[0] for one in requests]
    together = model.replies(model.processor.apply_chat_template(requests), context, do_sample=False)
    assert together == alone
    assert len(alone[1]) < len(alone[0]) < context


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"device_map": "cpu"}, "device_map: a checkpoint of train-prompt is not opened with this; it takes llm"),
        ({"tokenizer_card": "card.yaml"}, "tokenizer_card: a checkpoint of train-prompt is not opened with this"),
        ({"dtype": torch.float16}, "dtype is torch.float16: choose one of float32, bfloat16, or auto"),
        ({"device": "cuda:7"}, "device 'cuda:7': this machine has"),
    ],
)
def test_an_option_that_is_not_read_was_a_traceback(root, options, told):
    with pytest.raises(UserError, match=told):
        CSLMForCausalLM.from_pretrained(root / "prompt", **options)


def test_types_of_torch_and_revisions_are_read(root):
    opened = CSLMForCausalLM.from_pretrained(root / "prompt", dtype=torch.bfloat16, device="cpu", revision="main")
    assert opened.prompt.llm.dtype == torch.bfloat16
    assert CSLMForCausalLM.from_pretrained(root / "prompt", dtype="auto").prompt.llm.dtype == torch.float32


def test_waveforms_that_are_none_are_refused(model):
    for samples, told in (
        (torch.zeros(2, 8000).numpy(), "give mono samples"),
        (CLIPS[0][0] * float("nan"), "not numbers"),
    ):
        with pytest.raises(UserError, match=told):
            model.respond((samples, 16000), None, SHORT)
    with pytest.raises(UserError, match="sample rate"):
        model.respond((CLIPS[0][0], 0), None, SHORT)


def test_a_checkpoint_that_is_cut_short_was_a_traceback(root, tmp_path):
    shutil.copytree(root / "prompt", tmp_path / "prompt")
    settings = tmp_path / "prompt" / "config.json"
    settings.write_text(settings.read_text()[:20])
    with pytest.raises(UserError, match=r"config\.json"):
        CSLMForCausalLM.from_pretrained(tmp_path / "prompt")
    shutil.copytree(root / "llm", tmp_path / "llm")
    weights = tmp_path / "llm" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(UserError, match="llm: a file of tensors is cut short or damaged"):
        CSLMForCausalLM.from_pretrained(root / "prompt", llm=str(tmp_path / "llm"))
    shutil.copytree(root / "whisper", tmp_path / "whisper")
    weights = tmp_path / "whisper" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(UserError, match="whisper cannot be read"):
        CSLMForCausalLM.from_pretrained(root / "prompt", encoder=str(tmp_path / "whisper"))


def test_verbs_for_other_models_name_the_one_for_this(root, tmp_path):
    save_waveform(tmp_path / "a.wav", *CLIPS[0])
    given = [str(root / "prompt"), str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    with pytest.raises(UserError, match="answers in text, and does not go on speaking: ask it by cslm respond"):
        dispatch(["continue-speech", *given])
    given = ["--manifests", str([str(root / "manifest.jsonl")]), "--output", str(tmp_path / "gate.json")]
    with pytest.raises(UserError, match="llm is no checkpoint of train-prompt"):
        dispatch(["gate-report", str(root / "llm"), *given])
    with pytest.raises(UserError, match="output is .*, which is a folder"):
        dispatch(["gate-report", str(root / "prompt"), *given[:3], str(tmp_path)])
    with pytest.raises(UserError, match="edges_sec is .*: give rising numbers"):
        dispatch(["gate-report", str(root / "prompt"), *given, "--edges_sec", "[]"])


def test_a_frozen_part_that_has_moved_is_named_with_what_to_do(root, tmp_path):
    """It was looked for from where the command ran, or taken for an id of the Hub."""
    for name in ("llm", "whisper", "prompt"):
        shutil.copytree(root / name, tmp_path / name)
    for name in ("llm", "whisper"):
        (tmp_path / name).rename(tmp_path / f"{name}_elsewhere")
        with pytest.raises(UserError, match=f"was trained before {tmp_path}/{name}, and there is nothing now: put it"):
            CSLMForCausalLM.from_pretrained(tmp_path / "prompt")
        (tmp_path / f"{name}_elsewhere").rename(tmp_path / name)
    shutil.move(tmp_path / "llm", tmp_path / "elsewhere")
    dispatch(["merge", str(tmp_path / "prompt"), str(tmp_path / "whole"), "--llm", str(tmp_path / "elsewhere")])
    opened = CSLMForCausalLM.from_pretrained(tmp_path / "prompt", llm=str(tmp_path / "elsewhere"))
    whole = CSLMForCausalLM.from_pretrained(tmp_path / "whole")
    assert opened.respond(CLIPS[0], None, SHORT).ids == whole.respond(CLIPS[0], None, SHORT).ids != []


def test_a_start_of_other_languages_or_another_connector_is_told_as_that(root, told_folder):
    parts, settings = open_prompt(told_folder, Runtime())
    turned = dataclasses.replace(settings, languages=settings.languages[::-1])
    with pytest.raises(UserError, match="tells apart the languages .*, and this run .*: give the same ones"):
        start_from(parts, turned, told_folder)
    with pytest.raises(UserError, match="has the connector stacked, and this run query_bank: give the same one"):
        start_from(parts, settings, root / "prompt")


def test_a_start_of_another_size_blamed_the_file_that_was_sound(root):
    parts, settings = open_prompt(root / "prompt", Runtime())
    with torch.no_grad():
        name, parameter = next(iter(parts.prompt.connector.named_parameters()))
        parameter.data = torch.zeros(3)
    with pytest.raises(
        UserError, match=rf"start: connector.{name} is of the size .* and of the size \(3,\) in this run"
    ):
        start_from(parts, settings, root / "prompt")


@pytest.mark.parametrize("part", ["llm", "encoder"])
def test_a_merged_folder_without_a_part_was_looked_for_elsewhere(root, tmp_path, part):
    merge(MergeConfig(str(root / "prompt"), str(tmp_path / "whole")))
    shutil.rmtree(tmp_path / "whole" / part)
    with pytest.raises(UserError, match=f"whole is not whole: {part} is missing in it; copy it again"):
        CSLMForCausalLM.from_pretrained(tmp_path / "whole")


def test_no_message_at_all_was_an_index_error(model):
    for nothing in ([], [[]]):
        with pytest.raises(UserError, match="conversation holds no message"):
            model.processor.apply_chat_template(nothing)


def test_an_instruction_has_one_place_for_the_recording(model):
    with pytest.raises(UserError, match=r"holds \{audio\} 2 times"):
        model.respond(CLIPS[0], "{audio} and {audio}", SHORT)


def test_a_whole_folder_below_a_file_was_a_traceback(root, tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(UserError, match="which cannot be made: .*file is a file"):
        merge(MergeConfig(str(root / "prompt"), str(tmp_path / "file" / "whole")))
