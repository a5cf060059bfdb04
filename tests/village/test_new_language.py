"""Another language is one more YAML file, with as much as it needs: Italian, with a few words, beside English."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import yaml

from cslm import cli
from cslm.corpora.manifest import read_manifest
from cslm.files.json_lines import read_json_lines
from cslm.synthesis.prepare_corpus import prepare_corpus
from cslm.village.tables import VILLAGE_DATA
from tests.recipes.conftest import ROOT

pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")

ITALIAN = r"""
language: it
joiner: " "
capitals: true
punctuation: {clause: ",", sentence: ".", question: "?", list: ","}
answer_voice: {voice: roa/it, rate_wpm: 190, pitch: 50}
question_voices: {rate_wpm: 185, pitch: 50, accents: [roa/it], variants: [f1, m1, m3, Annie]}
articles:
  un: {m: un, f: una, p: dei, q: delle}
  il: {m: il, f: la, p: i, q: le}
contractions:
  "\\b(l|un)a (?=[aeiou])": "\\1'"
  "\\b(il|un) (?=s[cpt]|z|x)": "\\1@"
  "\\bil@": "lo "
  "\\bun@": "uno "
names: [Sofia, Ugo, Martino, Mauro, Eugenio, Beniamino]
attributes:
  job:
    values: [falegname, pilota, bibliotecario, segretario]
    phrase: quale mestiere fa {name}
    facts:
      - qui nel villaggio il mestiere di {name} è {value}
      - tutti qui sanno che {name} lavora come {value}
      - da molti anni ormai {name} lavora come {value}
    signs: [mestiere, lavora]
    topic: ecco i mestieri della gente del villaggio
  pet:
    values: [lucertola, criceto, capra, coccodrillo]
    genders: [f, m, f, m]
    phrase: quale animale tiene {name} in casa
    facts:
      - l'animale che {name} tiene in casa è {value:un}
      - tutte le mattine molto presto {name} nutre {value:un}
      - l'animale che vive insieme a {name} è {value:un}
    signs: [animale, nutre]
    topic: ecco gli animali della gente del villaggio
  colour:
    values: [giallo, argento, viola, bianco]
    phrase: quale colore piace di più a {name}
    facts:
      - il colore che piace di più a {name} è {value:il}
      - il colore più bello di tutti per {name} è {value:il}
      - "{name} dice sempre che il colore più bello è {value:il}"
    signs: [colore]
    topic: ecco i colori della gente del villaggio
  food:
    values: [aragosta, ravioli, frittelle, banane]
    genders: [f, p, q, q]
    phrase: quale cibo piace di più a {name}
    facts:
      - a tavola {name} prende quasi sempre qualche volta {value}
      - ogni giorno {name} vorrebbe mangiare a casa {value}
      - per {name} non c'è niente di meglio di {value}
    signs: [cibo, mangiare]
    topic: ecco i cibi della gente del villaggio
question_forms:
  - {text: "in poche parole, dimmi {phrase}", end: sentence, num_clauses: 2}
  - {text: "sai per caso {phrase}", end: question, num_clauses: 3}
answer_forms:
  - fact: 0
    tail: e di questo sono davvero più che convinto
    middle: [qualcuno me lo ha raccontato un po' di tempo fa, quando parlavamo tutti insieme dopo la festa di ieri]
    closing: chiedimelo pure di nuovo quando ne hai voglia
  - lead: se ricordo ancora bene tutto quanto in questo momento
    fact: 1
    middle: [la mia vecchia zia mi ha raccontato tutta la storia, e lei non si sbaglia quasi mai sulla gente]
    closing: questo è davvero tutto quello che posso dire oggi
patterns:
  - {text: "{name1} ha visto {pet:il} con {colour:il} lungo la strada"}
  - {text: "{job:il} ha dato a {name1} {food:un}"}
short_patterns:
  - {text: "{name1}"}
  - {text: "{value1}"}
question_patterns:
  - {text: "chi può dirmi {phrase1}", end: question}
stories:
  person: ecco che cosa racconta la gente su {name}
  instructions: ["dimmi tutto quello che sai su {name}"]
tales:
  lost_animal:
    - opening: stamattina {name1} non trovava più {pet:il}
      middles:
        - "{name1} chiamava e cercava sotto ogni cespuglio"
        - "{name2} ha visto delle impronte bagnate nell'erba"
        - le impronte portavano al fiume
      endings:
        - "{pet:il} era lì e {name1} ha sorriso"
        - "{name1} ha riportato a casa {pet:il} in un cesto"
    - opening: "{name1} ha trovato {pet:un} nell'erba"
      middles:
        - la povera bestia ha bevuto una ciotola di latte
        - "{name2} ha costruito una piccola gabbia di legno"
        - fuori faceva freddo e scendeva la notte
      endings:
        - "ora {pet:il} dorme ai piedi di {name1}"
        - "il giorno dopo {pet:il} ha lasciato {name1}"
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A hamlet in English and Italian, with core people and stories."""
    folder = tmp_path_factory.mktemp("italian")
    (folder / "it.yaml").write_text(ITALIAN, encoding="utf-8")
    size = yaml.safe_load((VILLAGE_DATA / "tiny_five.yaml").read_text(encoding="utf-8"))
    size |= {
        "languages": ["en", str(folder / "it.yaml")],
        "attributes": ["job", "pet", "colour", "food"],
        "num_clause_sentences": 2,
    }
    size |= {"num_training_stories": 3, "num_held_out_stories": 4, "num_people": 6}
    (folder / "hamlet.yaml").write_text(yaml.safe_dump(size), encoding="utf-8")
    options = ["--size", str(folder / "hamlet.yaml"), "--num_workers", "1"]
    assert prepare_corpus("village", folder / "corpus", options)
    return folder / "corpus"


def records(corpus, name):
    return [record for _, record in read_json_lines(corpus / f"{name}.jsonl")]


def test_it_is_spoken_asked_and_answered(corpus):
    spoken = [row for row in read_manifest(corpus / "train.jsonl") if row.language == "it"]
    assert len(spoken) > 20 and {row.speaker.split("+")[0] for row in spoken} == {"roa/it"}
    assert all((corpus / row.audio).is_file() and row.words for row in spoken)
    directions = Counter(row["direction"] for row in records(corpus, "test_dialogues"))
    assert directions.keys() == {"en-en", "en-it", "it-en", "it-it"}
    card = json.loads((corpus / "card.json").read_text(encoding="utf-8"))
    assert len(card["languages"]["it"]["people"]) == 6


def test_english_tells_what_is_asked_in_italian(corpus):
    rows = records(corpus, "core_test_dialogues")
    assert {row["direction"] for row in rows} == {"it-it"} and {row["core_language"] for row in rows} == {"en"}
    assert {row["question_language"] for row in records(corpus, "chains")} == {"it"}


def test_it_tells_the_stories_of_the_topics_that_it_has(corpus):
    rows = records(corpus, "stories")
    assert {row["topic"] for row in rows} == {"lost_animal"}
    assert all(len(row["texts"]["en"]) == len(row["texts"]["it"]) for row in rows)
    told = " ".join(text for row in rows for text in row["texts"]["it"])
    assert "il lucertola" not in told.lower() and "la criceto" not in told.lower()


XLI, XS_COT = ROOT / "recipes" / "village" / "xli", ROOT / "recipes" / "village" / "xs_cot"
TINY = ["--training.max_steps", "3", "--training.tokens_per_step", "300", "--training.tokens_per_micro_batch", "512"]
TINY += ["--training.device.num_threads", "1"]


@pytest.fixture(scope="module")
def root(corpus):
    """The folder of the hamlet, with a card that heard its stories, and units."""
    root = corpus.parent
    stories, card = str(corpus / "story_train.jsonl"), str(root / "card.yaml")
    fitted = ["--config", str(XLI / "tokenizer.yaml"), "--codebook_size", "32", "--output", card]
    cli.dispatch(["fit-tokenizer", stories, *fitted])
    for store, manifests in {
        "units": [str(corpus / "train.jsonl"), stories],
        "test_units": [str(corpus / "story_test.jsonl")],
    }.items():
        output = ["--tokenizer", card, "--output", str(root / store), "--num_workers", "1"]
        cli.dispatch(["tokenize-corpus", *manifests, *output])
    return root


def run(verb, root, folder, names, *more):
    """A verb of the village's recipe, on the hamlet."""
    files = [part for name in names for part in ("--config", str(folder / f"{name}.yaml"))]
    cli.dispatch([verb, *more, *files, "--data_root", str(root)])


def scores_of(root, name):
    return json.loads((root / name / "results.json").read_text(encoding="utf-8"))["scores"]


def test_its_stories_are_interleaved_learnt_and_scored_across_languages(root):
    languages = ["--sources.interleaved.languages", "[en, it]"]
    run("pretrain", root, XLI, ["train", "interleaved"], "--output", "xli", *languages, *TINY)
    assert json.loads((root / "xli" / "finished.json").read_text())["accounts"].keys() == {"en", "it"}
    output = [str(root / "xli"), "--output", str(root / "xli_scores" / "results.json")]
    pairs = {
        "stories": {"pairs": "corpus/story_pairs.jsonl", "stores": ["test_units"]}
    }  # of one topic there are no topic pairs
    run("score", root, XLI, ["alignment"], *output, "--max_items", "4", "--scores.pairs.manifests", json.dumps(pairs))
    by_kind = scores_of(root, "xli_scores")["pairs"]["stories"]
    for found in by_kind.values():
        assert found.keys() == {"en-en", "en-it", "it-en", "it-it"}
        assert all(one["n"] == 4 and "left_out" not in one for one in found.values())


def test_chains_asked_in_it_are_learnt_and_its_answers_scored(root, capsys):
    small = [*TINY, "--training.schedule.warmup_steps", "0"]
    run("pretrain", root, XS_COT, ["text_lm"], "--text_tokenizer.languages", "[en, it]", *small)
    heard = ["--sources.asr.languages", "[it]"]
    run("pretrain", root, XS_COT, ["pretrain"], *heard, "--sources.heard.languages", "[it]", *small)
    capsys.readouterr()
    run(
        "inspect",
        root,
        XS_COT,
        ["train", "xs_cot"],
        *heard,
        "--source",
        "questions",
        "--count",
        "1",
        "--output",
        "xs_cot",
    )
    assert "[question]" in capsys.readouterr().out
    run("finetune", root, XS_COT, ["train", "xs_cot"], "--output", "xs_cot", *heard, *small)
    output = [str(root / "xs_cot"), "--output", str(root / "xs_cot_scores" / "results.json")]
    quick = ["--max_items", "2", "--scores.dialogue.decoding.max_new_tokens", "30"]
    run("score", root, XS_COT, ["score"], *output, *quick, "--scores.dialogue.timed_items", "0")
    assert scores_of(root, "xs_cot_scores")["dialogue"]["it-it"]["n"] == 2
