"""A source is another hospital's, or it has been learnt from: which one is said before anything is scored."""

import dataclasses

import pytest

from serving.model.artefact import BUNDLED, ArtefactConfig, load_config
from trainer.evaluation.other_sources import (
    SourcePart,
    check_unseen,
    describe_doubts,
    list_learnt,
    name_protocol,
    parse_part,
)
from trainer.evaluation.scoring import EvaluationError


def make_config(dataset="tumor_ds/patient", fold=2, **data) -> ArtefactConfig:
    """The config of a model that learnt a dataset, and what else `data` says."""
    config = load_config(BUNDLED)
    training = config.raw["training"]
    raw = config.raw | {
        "dataset": config.raw["dataset"] | {"name": dataset, "fold": fold},
        "training": training | {"data": training["data"] | {"dataset": dataset, "fold": fold} | data},
    }
    return dataclasses.replace(config, raw=raw)


def test_a_part_is_a_source_or_a_fold_of_it():
    assert parse_part("lgg_tcga") == SourcePart("lgg_tcga")
    assert parse_part("tumor_ds/lgg_tcga/fold4") == SourcePart("lgg_tcga", 4)


@pytest.mark.parametrize("text", ["", "lgg_tcga/fold6", "lgg_tcga/test", "lgg_tcga/fold1/x"])
def test_anything_else_is_refused(text):
    with pytest.raises(EvaluationError, match="expected NAME or NAME/fold1 to NAME/fold5"):
        parse_part(text)


def test_the_collection_itself_is_no_other_source():
    with pytest.raises(EvaluationError, match="Use --protocol"):
        parse_part("official")


def test_what_was_mixed_in_is_refused_but_for_the_fold_that_was_held_out():
    config = make_config(mix={"tumor_ds/lgg_tcga:1.*.*": 0.2, "tumor_ds/nins": 0.1})
    for part in (SourcePart("lgg_tcga"), SourcePart("nins", 1)):
        with pytest.raises(
            EvaluationError, match=rf"has learnt from tumor_ds/{part.name}.*{part.name}/fold2"
        ):
            check_unseen(config, part)
    check_unseen(config, SourcePart("lgg_tcga", 2))
    check_unseen(config, SourcePart("feltrin44"))


def test_what_was_left_out_may_be_asked_about_wholly():
    config = make_config(mix={"tumor_ds/lgg_tcga": 0.2}, left_out={"2": ["tumor_ds/lgg_tcga"]})
    check_unseen(config, SourcePart("lgg_tcga"))
    other_fold = make_config(mix={"tumor_ds/lgg_tcga": 0.2}, left_out={"1": ["tumor_ds/lgg_tcga"]})
    with pytest.raises(EvaluationError, match="has learnt from"):
        check_unseen(other_fold, SourcePart("lgg_tcga"))


def test_a_model_without_folds_has_held_out_none():
    config = make_config("tumor_ds/official", 0, mix={"tumor_ds/lgg_tcga": 0.2})
    with pytest.raises(EvaluationError, match="Evaluate it on another source, or train one without"):
        check_unseen(config, SourcePart("lgg_tcga", 1))


def test_figshare_is_part_of_the_collection():
    check_unseen(make_config(), SourcePart("figshare", 2))
    with pytest.raises(EvaluationError, match="has learnt from tumor_ds/figshare"):
        check_unseen(make_config(), SourcePart("figshare", 1))
    assert "figshare" not in list_learnt(make_config("tumor_ds/nins", 0))


def test_sources_of_the_same_patients_are_told():
    config = make_config(mix={"tumor_ds/lgg_tcga": 0.2})
    [line] = describe_doubts(config, [SourcePart("brats_samples"), SourcePart("tcga_gbm")])
    assert "brats_samples has, or may have, patients of lgg_tcga" in line
    assert not list(describe_doubts(make_config(), [SourcePart("brats_samples")]))


def test_a_model_that_started_from_another_may_have_seen_more():
    config = make_config()
    started = dataclasses.replace(config, raw=config.raw | {"started_from": {"model": "user/repo"}})
    [line] = describe_doubts(started, [SourcePart("nins")])
    assert line.startswith("The model started from user/repo.")


def test_a_protocol_names_its_sources_and_is_a_name_of_a_file():
    assert name_protocol([SourcePart("nins"), SourcePart("lgg_tcga", 4)]) == "sources-nins+lgg_tcga-fold4"
    many = name_protocol([SourcePart("nins", fold) for fold in range(6)])
    assert many.endswith("+nins-fold3+2_more")
