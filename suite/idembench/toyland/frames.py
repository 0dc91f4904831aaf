"""How documents of Toyland are headed and told: kinds of documents, their titles and narrations.

Pure tables, no logic, as in `vocabulary.py`; `documents.py` fills them. Every narration ends with a colon, where
somebody's statement begins. A slot says what is filled in:

    {a}   a question for a value          "where does mira live?"
    {n}   what a question is about        "the home of mira"
    {s}   a statement                     "mira lives in velt", "mira wants to sleep better", "mira was sick in bed"
    {h}   a request, indirectly           "how mira can sleep better", "how i can sleep better"
    {t}   the theme, in titles            "the home of mira", "how to sleep better", "mira"

The people who speak in documents have no names: a name always is whom or what the document is about.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentType:
    """One kind of document.

    Attributes:
        name: One word.
        titles: How it is headed.
        question: Narrations of a question, with `{a}` or `{n}`.
        claim: Narrations of a claim, with `{s}`.
        request: Narrations of somebody's request for advice, with `{s}` or `{h}`.
        own: The same where the one who asks says "i".
        talk: Narrations of small talk, with `{s}`.
    """

    name: str
    titles: tuple[str, ...]
    question: tuple[str, ...]
    claim: tuple[str, ...]
    request: tuple[str, ...]
    own: tuple[str, ...]
    talk: tuple[str, ...]


DOCUMENT_TYPES = (
    DocumentType(
        name="letter",
        titles=("a letter to a friend", "an old letter", "a letter from home", "a letter on {t}"),
        question=(
            "dear friend, you asked me: {a} my answer is:",
            "dear friend, you want to know about {n}. i can tell you:",
            "in the last letter you asked about {n}. i wrote back:",
        ),
        claim=(
            "dear friend, you wrote to me that {s}. my answer is:",
            "in the last letter you told me that {s}. i wrote back:",
            "dear friend, so you think that {s}. i can tell you:",
        ),
        request=(
            "dear friend, you wrote to me that {s}. my advice is:",
            "in the last letter you asked {h}. i wrote back:",
        ),
        own=("dear friend, {s}. the friend wrote back:", "dear friend, please tell me {h}. the reply was:"),
        talk=("dear friend, today {s}. i wrote a short note:", "in the last letter i read that {s}. i wrote back:"),
    ),
    DocumentType(
        name="diary",
        titles=("a page from a diary", "the diary of a clerk", "my diary", "my diary on {t}"),
        question=(
            "today a child asked me: {a} i said:",
            "at noon we spoke about {n}. my aunt said:",
            "all day i thought about {n}. at night i wrote:",
        ),
        claim=(
            "today a child told me that {s}. i said:",
            "at noon a guest said that {s}. my aunt answered:",
            "my uncle told us all day that {s}. at night i said:",
        ),
        request=("today i heard that {s}. i said:", "at noon a guest asked {h}. my aunt answered:"),
        own=("all day i thought: {s}. at night my aunt said:", "at noon i asked my uncle {h}. my uncle said:"),
        talk=("today {s}. i said:", "at noon {s}. my aunt answered:"),
    ),
    DocumentType(
        name="chronicle",
        titles=("the town chronicle", "from the chronicle", "a page of the old chronicle", "the chronicle on {t}"),
        question=(
            "in that year the people asked: {a} it is written here:",
            "much was said in that year about {n}. the chronicle says:",
            "a stranger came to ask about {n}. the elders said:",
        ),
        claim=(
            "in that year a stranger said that {s}. the elders said:",
            "a man told the people that {s}. it is written here:",
            "in that year a boy told the elders that {s}. the elders answered:",
        ),
        request=("it is written that {s}. the elders said:", "a stranger came to ask {h}. the elders answered:"),
        own=(
            "a stranger told the elders: {s}. the elders said:",
            "a boy asked the elders: tell me {h}. they answered:",
        ),
        talk=("in that year {s}. the elders said:", "it is written that {s}. the people said:"),
    ),
    DocumentType(
        name="reader",
        titles=("a school reader", "lesson two", "from the school book", "a lesson on {t}"),
        question=(
            "the class was asked: {a} a pupil said:",
            "today we read about {n}. the book says:",
            "a pupil asked about {n}. the book answers:",
        ),
        claim=(
            "a pupil told the class that {s}. the book answers:",
            "a boy read out that {s}. the class said:",
            "in the lesson a girl said that {s}. a pupil answered:",
        ),
        request=("today we read that {s}. the book says:", "the class was asked {h}. a pupil said:"),
        own=("a pupil read out: {s}. the class said:", "a girl asked: who can tell me {h}? a pupil answered:"),
        talk=("today we read that {s}. a pupil said:", "in the lesson {s}. the class said:"),
    ),
    DocumentType(
        name="gossip",
        titles=("the gossip column", "heard in town", "what people say", "gossip on {t}"),
        question=(
            "everyone asks: {a} we can tell you:",
            "there is much talk about {n}. a friend told us:",
            "at the inn they spoke about {n}. a guest said:",
        ),
        claim=(
            "people say that {s}. a friend told us:",
            "at the inn a guest said that {s}. the host answered:",
            "a reader told us that {s}. we wrote back:",
        ),
        request=("people say that {s}. a friend told us:", "at the inn a guest asked {h}. the host answered:"),
        own=("a reader told us: {s}. we wrote back:", "at the inn a man said: tell me {h}. the host answered:"),
        talk=("people say that {s}. we say:", "at the inn {s}. the host said:"),
    ),
    DocumentType(
        name="almanac",
        titles=("the farm almanac", "almanac for the year", "from an old almanac", "almanac page on {t}"),
        question=(
            "readers of the almanac ask: {a} the answer is:",
            "this page is about {n}. the almanac says:",
            "a farmer asked about {n}. the answer is:",
        ),
        claim=(
            "a reader wrote that {s}. the almanac says:",
            "a farmer told us that {s}. the answer is:",
            "some readers say that {s}. we wrote back:",
        ),
        request=("a reader wrote that {s}. the almanac says:", "readers of the almanac ask {h}. the answer is:"),
        own=("a reader wrote: {s}. the almanac says:", "a farmer asked: please tell me {h}. the answer is:"),
        talk=("a reader wrote that {s}. the almanac says:", "on this day {s}. the almanac says:"),
    ),
    DocumentType(
        name="court",
        titles=("notes of the court", "court notes", "before the court", "court notes on {t}"),
        question=(
            "the court asked: {a} the witness said:",
            "the court wants to know about {n}. the witness said:",
            "the first point was {n}. the clerk read out:",
        ),
        claim=(
            "the first witness said that {s}. the clerk answered:",
            "it was said in court that {s}. the witness said:",
            "a man told the court that {s}. the court answered:",
        ),
        request=("it was said in court that {s}. the court said:", "the court was asked {h}. the clerk answered:"),
        own=("a man told the court: {s}. the court answered:", "a witness asked the court {h}. the clerk read out:"),
        talk=("it was said in court that {s}. the clerk said:", "before noon {s}. the court said:"),
    ),
    DocumentType(
        name="travel",
        titles=("a travel book", "notes from a trip", "on the road", "travel notes on {t}"),
        question=(
            "on the road i asked: {a} the guide said:",
            "we came to speak about {n}. the guide said:",
            "i wrote down all about {n}. the page says:",
        ),
        claim=(
            "on the road i said that {s}. the guide answered:",
            "a stranger on the road told us that {s}. the guide said:",
            "i had read that {s}. the guide said to me:",
        ),
        request=("on the road we heard that {s}. the guide said:", "i asked the guide {h}. the guide answered:"),
        own=("i told the guide: {s}. the guide said:", "on the road i asked: tell me {h}. the guide answered:"),
        talk=("on the road {s}. the guide said:", "at the inn we heard that {s}. i said:"),
    ),
    DocumentType(
        name="tale",
        titles=("an old tale", "a tale for children", "once upon a time", "a tale about {t}"),
        question=(
            "the child asked: {a} the old man said:",
            "the child wanted to hear about {n}. the old man said:",
            "by the fire they spoke about {n}. the old woman said:",
        ),
        claim=(
            "the child said that {s}. the old man answered:",
            "by the fire a boy said that {s}. the old woman said:",
            "a fox told the owl that {s}. the owl answered:",
        ),
        request=("they say that {s}. the old man said:", "the fox asked the owl {h}. the owl answered:"),
        own=("the child said: {s}. the old woman said:", "the fox asked: dear owl, tell me {h}. the owl answered:"),
        talk=("once {s}. the old man said:", "by the fire {s}. the old woman said:"),
    ),
    DocumentType(
        name="notice",
        titles=("a notice on the wall", "public notice", "from the town board", "notice on {t}"),
        question=(
            "many have asked: {a} the board says:",
            "this notice is about {n}. the board says:",
            "to all who ask about {n}. it is written here:",
        ),
        claim=(
            "it is said in town that {s}. the board says:",
            "a man wrote on the wall that {s}. the reply was:",
            "many have told us that {s}. the board answered:",
        ),
        request=("it is said in town that {s}. the board says:", "many have asked {h}. the reply was:"),
        own=("a note on the wall says: {s}. the reply was:", "a man wrote: please tell me {h}. the board answered:"),
        talk=("it is said in town that {s}. the board says:", "a note on the wall says that {s}. the reply was:"),
    ),
    DocumentType(
        name="council",
        titles=("minutes of the council", "the town council", "a day in the council", "the council on {t}"),
        question=(
            "a member asked: {a} the clerk answered:",
            "the council spoke about {n}. the clerk read out:",
            "the next point was {n}. a member said:",
        ),
        claim=(
            "a member said that {s}. the clerk answered:",
            "a man told the council that {s}. the council answered:",
            "a note to the council said that {s}. a member said:",
        ),
        request=("a note to the council said that {s}. a member said:", "a member asked {h}. the council answered:"),
        own=("a man told the council: {s}. the council answered:", "a boy asked the council {h}. the clerk read out:"),
        talk=("a member said that {s}. the council said:", "before noon {s}. a member said:"),
    ),
    DocumentType(
        name="newspaper",
        titles=("the morning paper", "news of the day", "letters to the paper", "the paper on {t}"),
        question=(
            "a reader asks: {a} the paper says:",
            "we were asked about {n}. we can tell you:",
            "our page today is about {n}. the paper says:",
        ),
        claim=(
            "a reader says that {s}. the paper says:",
            "we were told that {s}. the reply was:",
            "a man wrote to the paper that {s}. we wrote back:",
        ),
        request=("we were told that {s}. the paper says:", "a reader asks {h}. the reply was:"),
        own=("a reader writes: {s}. the paper says:", "a man wrote to the paper: tell me {h}. we wrote back:"),
        talk=("the news is that {s}. the paper says:", "we were told that {s}. we say:"),
    ),
)

SUBJECTS: Mapping[str, str] = MappingProxyType(
    {
        "home": "the home of {e}",
        "job": "the job of {e}",
        "pet": "the pet of {e}",
        "food": "the best food for {e}",
        "instrument": "the music of {e}",
        "nature": "what people think of {e}",
        "site": "what {e} lies by",
        "crop": "what {e} grows",
        "weather": "the weather in {e}",
        "sight": "the pride of {e}",
        "mayor": "the mayor of {e}",
        "mood": "what people think of {e}",
        "colour": "the colour of {e}",
        "material": "what {e} is made of",
        "location": "the place of {e}",
        "owner": "the owner of {e}",
        "price": "the price of {e}",
        "quality": "what people think of {e}",
    }
)
"""What a document is about, by attribute."""

WISHES = ("{e} wants to {v}", "{e} would like to {v}")
OWN_WISHES = ("i want to {v}", "i would like to {v}")
HOW = "how {e} can {v}"
THEME_OF_ADVICE = "how to {v}"

NARRATED_TALK: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "hello": ("{p} came to say hello", "{p} came by and said hello", "a stranger called {p} said hello"),
        "thanks": ("{p} came to say thank you", "{p} said thank you for the help", "{p} gave many thanks"),
        "bye": ("{p} had to go", "{p} said goodbye", "it was time for {p} to leave"),
        "night": ("{p} said good night", "{p} was going to bed", "it was late and {p} was tired"),
        "morning": ("{p} said good morning", "{p} just woke up", "the sun was up and so was {p}"),
        "birthday": ("{p} had a birthday", "it was the birthday of {p}", "it was a birthday for {p}"),
        "visit": ("{p} was to come for a visit", "everyone had to wait for {p} to visit", "{p} was soon to be a guest"),
        "sick": ("{p} was sick", "{p} did not feel well", "{p} was in bed sick"),
    }
)
"""What happened, by small-talk topic."""
