"""A judge behind an endpoint, against a server on this machine that answers, puts off, fails and says nonsense."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chat_server
import pytest
from chat_server import Reply, completion, failure, serving

from idembench import judges, traits
from idembench.errors import EnvironmentProblem, IdembenchError, InputError, ModelError
from idembench.files import write_bytes
from idembench.judges import Asked, budget, endpoint, logprob
from idembench.judges.kept import Kept
from idembench.judges.logprob import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chat_server import Server
    from saying import Say

    from idembench.judges import Score

PACK = traits.load_pack("english")
QUESTION = PACK.trait("bliss").questions[0]
GOOD = completion([("75", {"75": 0.6, "50": 0.3, "100": 0.05}), ("", {"": 1.0})])


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONCURRENCY", "CALLS", "TOKENS", "LEDGER"):
        monkeypatch.delenv(f"IDEMBENCH_JUDGE_{name}", raising=False)
    monkeypatch.setattr(budget, "_opened", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Start a server and have judges ask it."""

    @contextmanager
    def start(answer: Callable[[dict[str, Any]], Reply], **settings: Any) -> Iterator[Server]:
        with serving(answer, **settings) as server:
            monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.port}/v1")
            yield server

    return start


def asked(n: int, *, trait: str | None = None) -> list[Asked]:
    """Different answers to one question; without a trait, one call each."""
    return [Asked(question=QUESTION, response=f"Answer {i}.", trait=trait) for i in range(n)]


def one(serve: Callable[..., Any], reply: Reply) -> Score:
    """The score of one answer where the server replies this."""
    with serve(lambda _: reply):
        return judges.get("openai:grader").score(QUESTION, "Fine.", trait=None)


def judged(score: Score) -> Any:
    """How a judge came to a score."""
    return json.loads(str(score.judged))


def test_a_response_is_scored_for_its_trait_and_its_coherence(serve: Callable[..., Any]) -> None:
    """Two calls, each for six tokens with twenty shown, at the address and with the key that the client reads."""

    def answer(request: dict[str, Any]) -> Reply:
        return GOOD if "trait bliss" in request["messages"][0]["content"] else completion([("100", {"100": 0.9})])

    with serve(answer) as server:
        score = judges.get("openai:grader").score(QUESTION, "Fine.", trait="bliss")
    sent = {key: value for key, value in server.asked[0].items() if key != "messages"}

    assert (pytest.approx((45 + 15 + 5) / 0.95, abs=1e-4), 100.0) == (score.trait, score.coherence)
    assert {
        "trait": {"mass": 0.95, "numbers": {"50": 0.3, "75": 0.6, "100": 0.05}},
        "coherence": {"mass": 0.9, "numbers": {"100": 0.9}},
    } == judged(score)
    assert {
        "path": "/v1/chat/completions",
        "model": "grader",
        "max_tokens": 6,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 20,
    } == sent
    assert ["Bearer secret-key"] * 2 == server.keys


def test_a_number_of_several_tokens_is_read(serve: Callable[..., Any]) -> None:
    """One digit a token: the tens and then their ones."""
    reply = completion([("8", {"8": 0.9, "7": 0.1}), ("5", {"5": 0.8, "0": 0.2}), ("", {"": 1.0})])

    assert pytest.approx(0.9 * 84 + 0.1 * 74) == one(serve, reply).coherence


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (completion([("REF", {"REF": 0.9, "0": 0.1})]), logprob.REFUSED),
        (completion([("I", {"I": 0.8, "0": 0.2})]), logprob.LOW_MASS),
        (completion([]), logprob.NO_LOGPROBS),
        (completion([("75", {"75": 1.0})], logprobs=None), logprob.NO_LOGPROBS),
        (completion([("75", {"75": 1.0})], finish_reason="content_filter"), logprob.FILTERED),
        (
            failure(400, "This model's maximum context length is 4096 tokens.", code="context_length_exceeded"),
            logprob.TOO_LONG,
        ),
        (failure(400, "filtered", code="content_filter"), logprob.FILTERED),
        (Reply(b"<html>busy</html>"), logprob.MALFORMED),
        (Reply(b"[]"), logprob.MALFORMED),
        (Reply(b'{"choices": []}'), logprob.MALFORMED),
        (Reply(b'{"choices": [{"logprobs": {"content": [{"token": "75"}]}}]}'), logprob.MALFORMED),
        (Reply(b'{"choices": [{"logprobs": {"content": [{"token": "75", "logprob": NaN}]}}]}'), logprob.MALFORMED),
        (Reply(b'{"choices": [{"logprobs": {"content": "75"}}]}'), logprob.MALFORMED),
        (Reply(b"\xff\xfe\x00"), logprob.MALFORMED),
    ],
)
def test_a_score_that_cannot_be_had_is_missing(serve: Callable[..., Any], reply: Reply, reason: str) -> None:
    """A refusal, words, nothing shown, a text too long and nonsense are missing scores with their reasons."""
    score = one(serve, reply)

    assert score.coherence is None
    assert reason == judged(score)["coherence"]["missing"]


def test_a_call_that_is_put_off_waits_as_long_as_it_is_told(serve: Callable[..., Any]) -> None:
    """429 with Retry-After is asked again after that time, not before."""
    replies = iter([failure(429, "slow down", retry_after="1"), GOOD])
    start = time.monotonic()

    with serve(lambda _: next(replies)) as server:
        score = judges.get("openai:grader").score(QUESTION, "Fine.", trait=None)

    assert score.coherence is not None
    assert 2 == len(server.asked)
    assert time.monotonic() - start >= 1.0


def test_a_server_that_fails_twice_is_asked_a_third_time(serve: Callable[..., Any]) -> None:
    """500 twice is no error yet."""
    replies = iter([failure(500, "oops"), failure(503, "oops"), GOOD])

    with serve(lambda _: next(replies)) as server:
        score = judges.get("openai:grader").score(QUESTION, "Fine.", trait=None)

    assert score.coherence is not None
    assert 3 == len(server.asked)


@pytest.mark.parametrize(
    ("reply", "kind", "says", "do"),
    [
        (failure(401, "Incorrect API key"), EnvironmentProblem, "does not accept the key", "OPENAI_API_KEY"),
        (failure(403, "not yours"), EnvironmentProblem, "does not accept the key", "OPENAI_API_KEY"),
        (failure(404, "no model grader"), ModelError, "has no such model", "openai:"),
        (failure(400, "logprobs are not supported"), InputError, "does not take", "log-probabilities"),
        (failure(422, "max_tokens"), InputError, "does not take", "log-probabilities"),
    ],
)
def test_what_asking_again_does_not_help_is_one_error(
    serve: Callable[..., Any], reply: Reply, kind: type[IdembenchError], says: str, do: str
) -> None:
    """It says what the endpoint said and what to do, is not asked again, and ends the rest at once."""
    with serve(lambda _: reply) as server, pytest.raises(kind, match=says) as caught:
        judges.get("openai:grader").score_all(asked(200))

    assert do in str(caught.value.do)
    assert json.loads(reply.body)["error"]["message"] in str(caught.value.found)
    assert len(server.asked) <= 32


@pytest.mark.parametrize(
    ("reply", "says"),
    [(failure(429, "quota"), "keeps putting calls off"), (failure(500, "oops"), "is failing")],
)
def test_a_server_that_never_recovers_is_one_error(
    serve: Callable[..., Any], reply: Reply, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last attempt, the error says that answers are kept."""
    monkeypatch.setattr(endpoint, "RETRIES", 1)

    with serve(lambda _: reply) as server, pytest.raises(EnvironmentProblem, match=says) as caught:
        judges.get("openai:grader").score(QUESTION, "Fine.", trait=None)

    assert 2 == len(server.asked)
    assert "kept" in str(caught.value.do)


def test_an_endpoint_that_is_not_there_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the address, without the password in it, and where it comes from."""
    monkeypatch.setattr(endpoint, "RETRIES", 0)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:secret@127.0.0.1:9/v1")

    with pytest.raises(EnvironmentProblem, match="cannot be reached") as caught:
        judges.get("openai:grader").score(QUESTION, "Fine.", trait=None)

    assert "http://127.0.0.1:9/v1/" == caught.value.where
    assert "OPENAI_BASE_URL" in str(caught.value.do)


@pytest.mark.parametrize(
    ("variable", "value", "found"),
    [
        ("OPENAI_API_KEY", "sk-s\u00e9cret", "the character '\\xe9'"),
        ("OPENAI_API_KEY", "sk-secret\u200b", "the character '\\u200b'"),
        ("OPENAI_API_KEY", "sk-secret\n", "the character '\\n'"),
        ("OPENAI_API_KEY", "sk-secret\r\nX-Other: 1", "the character '\\r'"),
        ("OPENAI_API_KEY", "sk-secret ", "a blank at its end"),
        ("OPENAI_API_KEY", "  ", "a blank at its end"),
        ("OPENAI_ORG_ID", " secret", "a blank before it"),
        ("OPENAI_PROJECT_ID", "secret\u2019s", "the character '\\u2019'"),
        ("OPENAI_CUSTOM_HEADERS", "X-Team: secr\u00e9t", "the character '\\xe9'"),
        ("OPENAI_CUSTOM_HEADERS", "X-T\u00e9am: secret", "the character '\\xe9'"),
    ],
)
def test_a_key_that_cannot_be_sent_is_one_error(
    variable: str, value: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found when the judge is named, tells the variable and what is wrong with it, and never what it holds."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(EnvironmentProblem, match="not allowed in a header") as caught:
        judges.get("openai:grader")
    with pytest.raises(EnvironmentProblem, match="not allowed in a header"):
        judges.get("openai:grader", offline=True).score(QUESTION, "Fine.", trait=None)

    assert (variable, found) == (caught.value.where, caught.value.found)
    assert "secr" not in str(caught.value)


def test_a_key_of_several_words_is_sent_as_it_is(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of one's own may be given any text that a header can hold."""
    monkeypatch.setenv("OPENAI_API_KEY", "no key at all")

    with serve(lambda _: GOOD) as server:
        judges.get("openai:grader").score(QUESTION, "Fine.", trait=None)

    assert ["Bearer no key at all"] == server.keys


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/v1\n", "http://[::1", "http://127.0.0.1:many/v1"])
def test_an_address_that_is_none_is_one_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found when the judge is named."""
    monkeypatch.setenv("OPENAI_BASE_URL", address)

    with pytest.raises(EnvironmentProblem, match="is none") as caught:
        judges.get("openai:grader")

    assert "OPENAI_BASE_URL" == caught.value.where


def test_many_calls_are_under_way_at_once(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the environment variable says, never more; the scores come in the order of the answers."""
    monkeypatch.setenv("IDEMBENCH_JUDGE_CONCURRENCY", "7")

    def answer(request: dict[str, Any]) -> Reply:
        number = request["messages"][0]["content"].rpartition("Answer ")[2].partition(".")[0]
        return completion([(number, {number: 1.0})])

    with serve(answer, latency_s=0.02) as server:
        scores = judges.get("openai:grader").score_all(asked(60))

    assert [float(i) for i in range(60)] == [score.coherence for score in scores]
    assert 7 == server.most


def test_scores_are_had_inside_a_running_event_loop(serve: Callable[..., Any]) -> None:
    """In a notebook, where a loop runs already, a judge is asked as elsewhere."""

    async def cell() -> list[Score]:
        return judges.get("openai:grader").score_all(asked(3))  # type: ignore[attr-defined]

    with serve(lambda _: GOOD):
        scores = asyncio.run(cell())

    assert 3 == len([score for score in scores if score.coherence is not None])


def test_a_call_beyond_the_budget_is_not_made(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls that are allowed are made and kept, then one error says which variable to raise; a new run goes on."""
    monkeypatch.setenv("IDEMBENCH_JUDGE_CALLS", "50")
    with serve(lambda _: GOOD, latency_s=0.01) as server:
        with budget.of_run(), pytest.raises(EnvironmentProblem, match="calls are used up") as caught:
            judges.get("openai:grader").score_all(asked(80))
        first = len(server.asked)
        with budget.of_run():
            scores = judges.get("openai:grader").score_all(asked(80))

    assert "IDEMBENCH_JUDGE_CALLS" == caught.value.where
    assert (50, 80) == (first, len(server.asked))
    assert 80 == len([score for score in scores if score.coherence is not None])


def test_tokens_are_never_exceeded_and_nearly_used_up(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls wait for the real cost of those under way; less than one call's most is left over."""
    monkeypatch.setenv("IDEMBENCH_JUDGE_TOKENS", "20000")
    judge = judges.get("openai:grader")

    with (
        serve(lambda _: completion([("75", {"75": 1.0})], tokens=300), latency_s=0.01) as server,
        pytest.raises(EnvironmentProblem, match="tokens are used up"),
    ):
        judges.score_all(judge, asked(200))
    most = len(server.asked[0]["messages"][0]["content"].encode()) + 200

    assert 20000 - most <= 300 * len(server.asked) <= 20000


def test_a_call_that_timed_out_and_is_sent_again_is_entered_again(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint may have done the work, so the attempt is a call of its own, and the next one has to fit."""
    monkeypatch.setenv("IDEMBENCH_JUDGE_CALLS", "2")
    monkeypatch.setattr(endpoint, "TIMEOUT_S", 0.1)

    with serve(lambda _: GOOD, latency_s=0.4) as server, pytest.raises(EnvironmentProblem, match="used up") as caught:
        judges.get("openai:grader").score(QUESTION, "Fine.", trait=None)
    most = len(server.asked[0]["messages"][0]["content"].encode()) + 64 + 6

    assert ("IDEMBENCH_JUDGE_CALLS", "2 made") == (caught.value.where, caught.value.found)
    assert (2, 2, 2 * most) == (len(server.asked), budget._ledger().calls, budget._ledger().tokens)


@pytest.mark.parametrize(
    ("first", "calls", "tokens"),
    [
        (failure(429, "slow down", retry_after="0.01"), 1, 100),
        (failure(409, "locked", retry_after="0.01"), 1, 100),
        (failure(408, "timeout", retry_after="0.01"), 2, None),
        (failure(500, "oops", retry_after="0.01"), 2, None),
        (failure(504, "no answer from behind", retry_after="0.01"), 2, None),
    ],
    ids=["429", "409", "408", "500", "504"],
)
def test_what_an_attempt_cost_is_known_by_what_became_of_it(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, first: Reply, calls: int, tokens: int | None
) -> None:
    """One that was put off costs nothing and is no call; one that failed keeps the most that it may cost."""
    monkeypatch.setenv("IDEMBENCH_JUDGE_CALLS", "2")
    replies = iter([first, GOOD])

    with serve(lambda _: next(replies)) as server:
        judges.get("openai:grader").score(QUESTION, "Fine.", trait=None)
    most = len(server.asked[0]["messages"][0]["content"].encode()) + 64 + 6

    assert (calls, tokens or most + 100) == (budget._ledger().calls, budget._ledger().tokens)


def test_calls_that_are_put_off_use_up_nothing(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where half of all attempts are put off, as many calls are answered as are allowed, and not one more."""
    monkeypatch.setenv("IDEMBENCH_JUDGE_CALLS", "40")
    seen, answered = set(), []

    def answer(request: dict[str, Any]) -> Reply:
        prompt = request["messages"][0]["content"]
        if prompt not in seen:
            seen.add(prompt)
            return failure(429, "slow down", retry_after="0.02")
        answered.append(prompt)
        return GOOD

    with serve(answer, latency_s=0.01), pytest.raises(EnvironmentProblem, match="calls are used up"):
        judges.score_all(judges.get("openai:grader"), asked(60))

    assert 40 == len(answered) == budget._ledger().calls


def test_an_attempt_without_a_connection_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody listens nothing was sent, however often it was tried."""
    monkeypatch.setenv("IDEMBENCH_JUDGE_CALLS", "1")
    monkeypatch.setattr(endpoint, "RETRIES", 1)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")

    with pytest.raises(EnvironmentProblem, match="cannot be reached"):
        judges.get("openai:grader").score(QUESTION, "Fine.", trait=None)

    assert (0, 0) == (budget._ledger().calls, budget._ledger().tokens)


@pytest.mark.parametrize("name", ["CONCURRENCY", "CALLS", "TOKENS"])
@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_a_setting_that_does_not_hold_is_found_at_once(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that is none is named with its variable before anything is asked."""
    monkeypatch.setenv(f"IDEMBENCH_JUDGE_{name}", value)

    with pytest.raises(InputError) as caught:
        judges.get("openai:grader")

    assert (f"IDEMBENCH_JUDGE_{name}", value) == (caught.value.where, caught.value.found)


def test_a_run_that_was_stopped_asks_only_what_is_missing(serve: Callable[..., Any]) -> None:
    """What was answered before the key was withdrawn is not asked again, and scores are those of a run in one piece."""
    left = [40]

    def answer(_: dict[str, Any]) -> Reply:
        left[0] -= 1
        return GOOD if left[0] >= 0 else failure(401, "withdrawn")

    with serve(answer) as server:
        with pytest.raises(EnvironmentProblem):
            judges.get("openai:grader").score_all(asked(100))
        left[0], before = 1000, len(server.asked)
        scores = judges.get("openai:grader").score_all(asked(100))
        again = judges.get("openai:grader").score_all(asked(100))

    assert 60 == len(server.asked) - before
    assert scores == again
    assert 1 == len({score.coherence for score in scores})


def test_a_killed_run_goes_on_where_it_was(serve: Callable[..., Any], tmp_path: Path) -> None:
    """A process that is killed in the middle loses one batch of answers at most."""
    code = (
        "from idembench import judges, traits; from idembench.judges import Asked;"
        "q = traits.load_pack('english').trait('bliss').questions[0];"
        "judges.get('openai:grader').score_all([Asked(question=q, response=f'Answer {i}.', trait=None) for i in range(400)])"
    )
    with serve(lambda _: GOOD, latency_s=0.05) as server:
        process = subprocess.Popen([sys.executable, "-c", code])
        while len(server.asked) < 250 and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.wait()
        before = len(server.asked)
        scores = judges.get("openai:grader").score_all(asked(400))

    assert 400 == len([score for score in scores if score.coherence is not None])
    assert before >= 250
    assert len(server.asked) - before <= 400 - before + endpoint.BATCH + 32


def test_a_broken_line_is_passed_over(serve: Callable[..., Any]) -> None:
    """What a kill cut short is asked again, and the next line stands on its own."""
    with serve(lambda _: GOOD) as server:
        judges.get("openai:grader").score_all(asked(5))
        path = Kept(judges.get("openai:grader").fingerprint, "openai:grader").path
        path.write_bytes(path.read_bytes()[:-20])
        judges.get("openai:grader").score_all(asked(7))
        judges.get("openai:grader").score_all(asked(7))

    assert 5 + 1 + 2 == len(server.asked)


@pytest.mark.parametrize(
    "line", [b"[]", b"{}", b'{"key": 1}', b'{"key": "a", "numbers": {"x": 1}, "missing": null}', b"\xff"]
)
def test_a_line_of_another_kind_is_passed_over(line: bytes) -> None:
    """Whatever stands in the file, what can be read of it is read."""
    kept = Kept("f" * 64, "openai:grader")
    kept.add({"one": Reading(numbers={75: 1.0})})
    kept.path.write_bytes(line + b"\n" + kept.path.read_bytes())
    kept.add({"two": Reading(missing="refused")})

    assert [None, 75.0] == [
        found and found.score
        for found in (Kept("f" * 64, "openai:grader").get("a"), Kept("f" * 64, "openai:grader").get("one"))
    ]
    assert Reading(missing="refused") == Kept("f" * 64, "openai:grader").get("two")


def test_another_rubric_or_model_is_asked_anew(serve: Callable[..., Any]) -> None:
    """Answers are kept by the judge's fingerprint: those of one judge are never another's."""
    with serve(lambda _: GOOD) as server:
        for name in ("openai:grader", "openai:other", "openai:grader,pack=toyland", "openai:grader"):
            judges.get(name).score(QUESTION, "Fine.", trait=None)

    assert 3 == len(server.asked)


def test_what_was_no_answer_is_asked_again(serve: Callable[..., Any]) -> None:
    """An answer that could not be read is missing in this run and not kept for the next."""
    replies = iter([Reply(b"busy"), GOOD])

    with serve(lambda _: next(replies)):
        first, second = (judges.get("openai:grader").score(QUESTION, "Fine.", trait=None) for _ in range(2))

    assert first.coherence is None
    assert second.coherence is not None


def test_kept_answers_are_listed_by_judge_and_dropped_when_that_is_asked_for(
    serve: Callable[..., Any], say: Say, tmp_path: Path
) -> None:
    """`store ls --answers` says whose they are and how many, `gc` leaves them, `gc --answers` drops them: they are asked anew."""
    place = ("--store", tmp_path / "store")
    before = (
        say("store", "ls", *place),
        say("store", "ls", *place, "--answers"),
        say("store", "gc", "--answers", *place),
    )
    with serve(lambda _: GOOD) as server:
        for name, count in (("openai:grader", 5), ("openai:other", 3)):
            judges.score_all(judges.get(name), asked(count))
        bare, shown, listed = (
            say("store", "ls", *place, *more) for more in ((), ("--answers",), ("--answers", "--json"))
        )
        swept = say("store", "gc", *place, "--broken", "--unused")
        judges.score_all(judges.get("openai:grader"), asked(5))
        kept_on, dropped = len(server.asked), say("store", "gc", *place, "--answers")
        judges.score_all(judges.get("openai:grader"), asked(5))

    assert [0] * 8 == [said.code for said in (*before, bare, shown, listed, swept, dropped)]
    assert (8, 13) == (kept_on, len(server.asked))
    assert "answers of" not in before[0].err
    assert "Beside the steps, answers of 2 judges are kept" in bare.err
    assert "8 answers, " in shown.out
    assert "openai:grader" in shown.out
    assert [("openai:grader", 5), ("openai:other", 3)] == [
        (one["judge"], one["answers"]) for one in json.loads(listed.out)
    ]
    assert judges.get("openai:grader").fingerprint == json.loads(listed.out)[0]["fingerprint"]
    assert "0 judges" in before[2].err
    assert "Dropped the kept answers of 2 judges" in dropped.err


def test_answers_of_an_older_version_are_listed_without_a_name(say: Say) -> None:
    """A file that does not say whose it is, or is broken, is listed and dropped like any other."""
    for fingerprint, data in (("a" * 64, b'{"key":"k","missing":null,"numbers":{"7":1.0}}\n'), ("b" * 64, b"\xff")):
        write_bytes(Kept(fingerprint, "").path, data)
    listed = say("store", "ls", "--answers", "--json")
    shown, dropped = say("store", "ls", "--answers"), say("store", "gc", "--answers")

    assert [(None, 1), (None, 0)] == [(one["judge"], one["answers"]) for one in json.loads(listed.out)]
    assert "aaaaaaaaaaaa" in shown.out
    assert "of 2 judges" in dropped.err
    assert "[]" == say("store", "ls", "--answers", "--json").out.strip()


@pytest.mark.bench
@pytest.mark.parametrize("limit", [None, "1000000000"], ids=["no limit", "limit"])
def test_responses_per_second_at_100_ms(
    limit: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With 32 calls at once and 100 ms each, one core is enough for at least half of the 320 a second that are possible.

    So it is where a limit is set, and every call is written into the run's ledger.

    The rate is printed and not asserted: other processes on the machine take from it, not from the processor time.
    """
    if limit is not None:
        monkeypatch.setenv("IDEMBENCH_JUDGE_TOKENS", limit)
    command = [sys.executable, str(Path(chat_server.__file__)), "0.1"]
    with budget.of_run(), subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{int(process.stdout.readline())}/v1")
        judge = judges.get("openai:grader")
        judges.score_all(judge, [Asked(question=QUESTION, response=f"Warm {i}.", trait=None) for i in range(40)])
        start, used = time.perf_counter(), time.process_time()
        scores = judges.score_all(judge, asked(3200))
        rate, cost = 3200 / (time.perf_counter() - start), (time.process_time() - used) / 3.2
        process.terminate()
    with capsys.disabled():
        print(f"\n{rate:.0f} judged responses/s of 320 possible, {cost:.1f} ms of processor each")  # noqa: T201

    assert 3200 == len([score for score in scores if score.coherence is not None])
    assert cost <= 1000 / 160
