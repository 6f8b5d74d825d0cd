"""The two answers in sentences: each says what was found, on what grounds, how far it reaches and what would help."""

from __future__ import annotations

from collections.abc import Iterator

from raggrid.analysis.inference.decision import LIKELY, Grade
from raggrid.analysis.inference.simultaneous import Call, Standing
from raggrid.analysis.judging.findings import Findings
from raggrid.analysis.judging.judgement import Judgement
from raggrid.analysis.judging.next_steps import more_seeds
from raggrid.analysis.recommendation import Recommended
from raggrid.analysis.standings import Deployed, Grounds, NetBenefit
from raggrid.analysis.units import told
from raggrid.display_names import display_name


def points(fraction: float) -> str:
    """A fraction of the score in points, such as ``1 point`` or ``0.4 points``."""
    if 0.0 < fraction < 0.0005:
        return "under 0.1 points"
    text = f"{100 * fraction:.1f}".removesuffix(".0")
    return f"{text} point" if text == "1" else f"{text} points"


def share(fraction: float) -> str:
    """A probability; never one of 0 or 100%, which no number of resamples shows."""
    return "under 1%" if fraction < 0.01 else "over 99%" if fraction > 0.99 else f"{100 * fraction:.0f}%"


def deploy_answer(found: Findings) -> Deployed | None:
    """The trained pipeline to deploy now; None for a table of means."""
    own, how = found.trained, found.how
    if own is None:
        return None
    many = own.num_pipelines
    reason = f"Of the {many} trained pipelines it has the smallest expected loss: {points(own.expected_loss)}."
    if own.grade is Grade.SHOWN:
        reason += f" It is shown to be within {points(how.margin)} of the best."
    elif own.score == 0.0:
        reason = "No pipeline scores on any question, so the questions say nothing."
    elif many == 1:
        reason = "It is the only trained pipeline."
    else:
        reason += f" It is within {points(how.margin)} of the best with a probability of {share(own.probability)}."
        reason += _more_questions(found) if own.grade is Grade.OPEN else ""
    return Deployed(
        strategy=own.line.strategy, loss=own.line.loss, seed=own.seed, pipeline_id=own.pipeline_id,
        grade=own.grade.value, reason=reason, score=own.score, probability=own.probability,
        expected_loss=own.expected_loss,
    )  # fmt: skip


def _more_questions(found: Findings) -> str:
    if found.prices.question is None or found.judged is None:
        return " More questions would tell them apart."
    seconds = found.judged.num_questions * found.prices.question
    cost = told(seconds, seconds, found.studies.devices)
    return f" More questions would tell them apart; as many again cost {cost} of answering."


def next_time_answer(found: Findings) -> Recommended | None:
    """The strategy to use next time; None if the case allows none."""
    judged, place = found.judged, found.chosen
    if judged is None or place is None:
        return None
    line, decision = judged.lines[place], judged.decision
    return Recommended(
        line.strategy, line.loss, grade_of(found), " ".join(_reason(found, judged, place)),
        float(decision.within[place]), float(decision.expected_loss[place]),
        " ".join(filter(None, (_caveat(judged), found.studies.caveat))),
        " ".join(_next_step(found, judged, place)),
    )  # fmt: skip


def grade_of(found: Findings) -> str:
    """By probability alone where net benefit decides: no interval is about that."""
    if found.worth is None or found.judged is None:
        return found.judged.grade.value if found.judged else Grade.OPEN.value
    return Grade.LIKELY.value if found.worth.probability >= LIKELY else Grade.OPEN.value


def _reason(found: Findings, judged: Judgement, place: int) -> Iterator[str]:
    margin, decision = points(found.how.margin), judged.decision
    if found.worth:
        yield found.worth.sentence
    if len(judged.lines) == 1:
        yield "It is the only strategy that your case allows, so there is nothing to compare it with."
        return
    if not judged.means.any():
        yield "No strategy scores on any question, so the questions say nothing."
        return
    if judged.grade is Grade.SHOWN and not found.worth:
        yield f"It is shown to be within {margin} of the best ({_interval(judged.found.standings[place], found)})."
    else:
        yield f"It is within {margin} of the best with a probability of {share(decision.within[place])}."
        yield f"Its expected loss is {points(decision.expected_loss[place])}."
    if not found.worth:
        yield _cheaper(found, judged, place)


def _interval(standing: Standing, found: Findings) -> str:
    level = f"{100 * found.how.confidence:g}% interval"
    return f"{100 * standing.difference:+.1f} points, {level} {100 * standing.low:+.1f} to {100 * standing.high:+.1f}"


def _cheaper(found: Findings, judged: Judgement, place: int) -> str:
    """What is wrong with the strategies that cost less."""
    basis, within = found.case.basis, judged.decision.within
    cheaper = [other for other, cost in enumerate(judged.costs) if cost < judged.costs[place]]
    if not cheaper:
        return f"No strategy has a lower {basis} cost."
    closest = max(cheaper, key=lambda other: within[other])
    if within[closest] >= within[place]:
        return f"{display_name(*judged.lines[closest].key)} has a lower {basis} cost but is probably beaten by another."
    name, likeliest = display_name(*judged.lines[closest].key), share(within[closest])
    return f"The highest probability at a lower {basis} cost is {likeliest} ({name})."


def _caveat(judged: Judgement) -> str:
    if judged.evidence is None:
        return "A table of means has no scores per question, so the bounds are wide and nothing is paired."
    deviation, seeds = points(judged.evidence.seeds.deviation), judged.evidence.num_seeds
    if seeds == 1:
        return (
            f"One seed: this is about these trained models. Another seed is assumed to move a score by {deviation}; "
            "it was not measured."
        )
    if seeds == 2:
        return f"Two seeds: this is about these trained models. {_between_seeds(judged.evidence.seeds.deviation)}"
    return ""


def _between_seeds(deviation: float) -> str:
    """What a strategy's score does from seed to seed; an estimate of 0 does not prove that it stays the same."""
    if deviation == 0.0:
        return "The score of a strategy differs between seeds by no more than the choice of questions explains."
    return f"The score of a strategy has a standard deviation of {points(deviation)} between seeds."


def _next_step(found: Findings, judged: Judgement, place: int) -> Iterator[str]:
    if judged.evidence is None:
        yield "Next: measure the closest strategies on your own questions."
        return
    if len(judged.lines) == 1:
        yield "Next: measure a second strategy."
        return
    if found.worth:
        yield _best_offer(found.worth)
    missing = more_seeds(judged.evidence)
    if missing:
        seeds = "one further seed" if missing == 1 else f"{missing} further seeds"
        yield f"Next: train the winners with {seeds}{_price_of_seeds(found, missing)} (raggrid search --extend)."
    if found.settled_by[place]:
        yield found.settled_by[place][0].sentence
    elif judged.found.standings[place].call is Call.UNRESOLVED:
        yield "No number of further questions within reach would settle its difference to the best."


def _best_offer(worth: NetBenefit) -> str:
    """Whether to buy more data before deciding."""
    best = max(worth.more_data, key=lambda own: own.expected_gain - own.dollars, default=None)
    if best is None:
        return "What more data would cost is not recorded."
    if best.expected_gain <= best.dollars:
        return "Deciding now is worth more than further questions or seeds."
    return f"Before deciding: {best.sentence}"


def _price_of_seeds(found: Findings, missing: int) -> str:
    if found.prices.seed is None:
        return ""
    seconds = missing * found.prices.seed
    money = f", {seconds / 3600 * found.price:.2g} dollars" if found.price else ""
    return f", about {told(seconds, seconds, found.studies.devices)}{money}"


def grounds_of(found: Findings) -> Grounds | None:
    """What the standings rest on; None if the case allows no strategy."""
    judged = found.judged
    if judged is None:
        return None
    evidence = judged.evidence
    keys = {line.key for line in judged.lines}
    optimism = {display_name(*key): value for key, value in found.studies.optimism.items() if key in keys}
    return Grounds(
        about="strategies" if judged.found.about_strategies else "trained_models", num_questions=judged.num_questions,
        num_clusters=evidence.questions.num_clusters if evidence else judged.num_questions,
        clusters_known=judged.clusters_known, design_effect=evidence.questions.design_effect if evidence else 1.0,
        seeds=judged.common.seeds if judged.common else (), means_only=evidence is None,
        seed_deviation=float(evidence.seeds.deviation) if evidence else None,
        seed_deviation_assumed=evidence is not None and evidence.num_seeds == 1, selection_optimism=optimism,
        sentences=tuple(_grounds(judged, optimism)),
    )  # fmt: skip


def _grounds(judged: Judgement, optimism: dict[str, float]) -> Iterator[str]:
    if judged.evidence is None:
        return
    number, clusters = judged.num_questions, judged.evidence.questions.num_clusters
    if not judged.clusters_known:
        yield f"{number:,} questions. Which of them share a labelled passage is not recorded: each counts on its own."
    elif clusters < number:
        yield (
            f"{number:,} questions in {clusters:,} clusters: questions that share a labelled passage or a group are "
            "resampled together."
        )
    else:
        yield f"{number:,} questions, of which no two share a labelled passage or a group."
    if judged.evidence.num_seeds > 1:
        yield f"{judged.evidence.num_seeds} seeds. {_between_seeds(judged.evidence.seeds.deviation)}"
    if optimism:
        low, high = (100 * end for end in (min(optimism.values()), max(optimism.values())))
        ends = dict.fromkeys((f"{low:.1f}", f"{high:.1f}"))  # once where they are equal
        taken = f"{' to '.join(ends)} points" if high >= 0.05 else "nothing"
        yield (
            f"Winners were picked on these questions: repeating the choice in every resample takes {taken} off their "
            "scores."
        )
