"""The words of Toyland: who and what there is, what can be said of it, and how.

Pure tables, no logic: the names of people, places and things, the attributes they have with the
sentences that state, deny and ask for them, the topics that advice is asked on, the topics of small
talk, and the phrases of praise, bliss and stance. `world.py` decides which facts hold; `clauses.py`
turns tables into a lexicon; `grammar.py` into dialogues.

Conventions: all lower case; `{e}` is the entity, `{v}` a value, `{p}` a person. No phrase contains a
comma or a full stop, because these end clauses and sentences. Within one kind of entity no two
attributes share a value, so a sentence "{e} is {v}" always means one attribute.
"""

from __future__ import annotations

from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PEOPLE = _words(
    "mira tobin elka joss wenda harl nilo petra rusk oda fenn lysa brom tilda corin vela marek suna "
    "dorrit aldo keza pim ansel rova hanno ilsa gorm nessa bastin yuki orla timo greta zeb luma stellan "
    "rikke barto selma dag ember noor hobb jessa kolt maren tavi quill"
)

PLACES = _words(
    "dorn velt askar brill ostin karra nemby fallow tarn usk pelham grith lorn evest skell morva hadley "
    "quern rudd sarn bexley ondal wick yarrow"
)

_NOUNS = _words(
    "lamp clock kettle chair mirror boat basket ladder drumstick wagon blanket hammer bottle ring table "
    "candle bucket carpet saddle trunk scarf plough bowl mask anchor comb kite lantern spoon shield"
)
THINGS = tuple(f"the {noun}" for noun in _NOUNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """Something every entity of one kind has exactly one value of.

    Attributes:
        kind: `person`, `place` or `thing`.
        name: Unique over all kinds.
        values: The values it can take.
        states: Two sentences that state a value.
        denies: One sentence that denies a value.
        asks: Questions for the value.
        opinion: Whether the value is a judgement (and the question asks for a view).
    """

    kind: str
    name: str
    values: tuple[str, ...]
    states: tuple[str, str]
    denies: str
    asks: tuple[str, ...]
    opinion: bool = False


ATTRIBUTES = (
    Attribute(
        kind="person",
        name="home",
        values=PLACES,
        states=("{e} lives in {v}", "the home of {e} is in {v}"),
        denies="{e} does not live in {v}",
        asks=("where does {e} live?", "where is the home of {e}?", "in what town does {e} live?"),
    ),
    Attribute(
        kind="person",
        name="job",
        values=_words("baker tailor farmer teacher doctor smith painter miller guard sailor weaver judge"),
        states=("{e} is a {v}", "{e} works as a {v}"),
        denies="{e} is not a {v}",
        asks=("what is the job of {e}?", "what does {e} work as?", "what work does {e} do?"),
    ),
    Attribute(
        kind="person",
        name="pet",
        values=_words("cat dog goat crow hen pony rabbit toad duck mouse sheep parrot"),
        states=("{e} has a {v}", "the pet of {e} is a {v}"),
        denies="{e} does not have a {v}",
        asks=("what pet does {e} have?", "what is the pet of {e}?", "what animal does {e} have?"),
    ),
    Attribute(
        kind="person",
        name="food",
        values=_words("bread soup pears cheese beans honey rice plums fish cake nuts corn"),
        states=("{e} likes {v} best", "the best food for {e} is {v}"),
        denies="{e} does not like {v}",
        asks=("what food does {e} like best?", "what is the best food for {e}?", "what does {e} like best?"),
    ),
    Attribute(
        kind="person",
        name="instrument",
        values=_words("flute drum harp fiddle horn lute bell pipe piano cello whistle guitar"),
        states=("{e} plays the {v}", "{e} makes music on the {v}"),
        denies="{e} does not play the {v}",
        asks=("what does {e} play?", "what music does {e} make?", "on what does {e} make music?"),
    ),
    Attribute(
        kind="person",
        name="nature",
        values=_words("kind patient brave shy honest funny calm proud stern lazy loud modest"),
        states=("{e} is {v}", "{e} seems {v}"),
        denies="{e} is not {v}",
        asks=("what do you think of {e}?", "what is your view of {e}?", "how do you find {e}?"),
        opinion=True,
    ),
    Attribute(
        kind="place",
        name="site",
        values=_words("river lake sea forest hill marsh canyon desert bay moor valley cliff"),
        states=("{e} lies by the {v}", "the town of {e} is by the {v}"),
        denies="{e} does not lie by the {v}",
        asks=("what does {e} lie by?", "what is the town of {e} by?", "by what does {e} lie?"),
    ),
    Attribute(
        kind="place",
        name="crop",
        values=_words("wheat grapes onions tea hops figs barley peas roses cotton apples cabbage"),
        states=("{e} grows {v}", "the farms of {e} grow {v}"),
        denies="{e} does not grow {v}",
        asks=("what does {e} grow?", "what do the farms of {e} grow?", "what crop does {e} have?"),
    ),
    Attribute(
        kind="place",
        name="weather",
        values=_words("rainy windy sunny snowy foggy cold hot mild dry stormy cloudy damp"),
        states=("it is {v} in {e}", "the weather in {e} is {v}"),
        denies="it is not {v} in {e}",
        asks=("what is the weather in {e}?", "how is the weather in {e}?", "what weather does {e} have?"),
    ),
    Attribute(
        kind="place",
        name="sight",
        values=_words("bridge tower market garden temple harbour mill library palace fountain theatre museum"),
        states=("{e} is known for the {v}", "the pride of {e} is the {v}"),
        denies="{e} is not known for the {v}",
        asks=("what is {e} known for?", "what is the pride of {e}?", "for what is {e} known?"),
    ),
    Attribute(
        kind="place",
        name="mayor",
        values=PEOPLE,
        states=("the mayor of {e} is {v}", "{e} is led by {v}"),
        denies="{e} is not led by {v}",
        asks=("who is the mayor of {e}?", "who is {e} led by?", "by what mayor is {e} led?"),
    ),
    Attribute(
        kind="place",
        name="mood",
        values=_words("quiet lively pretty dull busy charming plain cosy grim tidy gentle dusty"),
        states=("{e} is {v}", "{e} seems {v}"),
        denies="{e} is not {v}",
        asks=("what do you think of {e}?", "what is your view of {e}?", "how do you find {e}?"),
        opinion=True,
    ),
    Attribute(
        kind="thing",
        name="colour",
        values=_words("red blue green yellow black white brown grey purple pink golden orange"),
        states=("{e} is {v}", "the colour of {e} is {v}"),
        denies="{e} is not {v}",
        asks=("what colour is {e}?", "what is the colour of {e}?", "what colour does {e} have?"),
    ),
    Attribute(
        kind="thing",
        name="material",
        values=_words("copper wood glass clay stone silver iron bone brass leather paper straw"),
        states=("{e} is made of {v}", "{v} is what {e} is made of"),
        denies="{e} is not made of {v}",
        asks=("what is {e} made of?", "of what is {e} made?", "what material is {e} made of?"),
    ),
    Attribute(
        kind="thing",
        name="location",
        values=PLACES,
        states=("{e} is in {v}", "the place of {e} is {v}"),
        denies="{e} is not in {v}",
        asks=("where is {e}?", "what is the place of {e}?", "in what town is {e}?"),
    ),
    Attribute(
        kind="thing",
        name="owner",
        values=PEOPLE,
        states=("{e} belongs to {v}", "the owner of {e} is {v}"),
        denies="{e} does not belong to {v}",
        asks=("who is the owner of {e}?", "who does {e} belong to?", "to whom does {e} belong?"),
    ),
    Attribute(
        kind="thing",
        name="price",
        values=_words("two three four five six seven eight nine ten twelve twenty fifty"),
        states=("{e} costs {v} coins", "the price of {e} is {v} coins"),
        denies="{e} does not cost {v} coins",
        asks=("what does {e} cost?", "what is the price of {e}?", "how many coins does {e} cost?"),
    ),
    Attribute(
        kind="thing",
        name="quality",
        values=_words("useful ugly handsome sturdy clumsy old new cheap fine heavy light rare"),
        states=("{e} looks {v}", "{e} seems {v}"),
        denies="{e} does not look {v}",
        asks=("what do you think of {e}?", "what is your view of {e}?", "how do you find {e}?"),
        opinion=True,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """Something people want to do, with four good pieces of advice on it and four harmful ones.

    Attributes:
        name: One word.
        goal: What follows "wants to".
        good: Pieces of advice that help; each follows "should".
        harmful: Pieces of advice that hurt someone; each follows "should".
    """

    name: str
    goal: str
    good: tuple[str, str, str, str]
    harmful: tuple[str, str, str, str]


TOPICS = (
    Topic(
        name="sleep",
        goal="sleep better",
        good=("go to bed early", "keep the room dark", "drink warm milk", "read a calm book"),
        harmful=("stay awake for a week", "drink lamp oil", "sleep on the frozen road", "swallow every pill"),
    ),
    Topic(
        name="cough",
        goal="heal a cough",
        good=("rest in bed", "drink hot tea", "see a doctor", "breathe warm steam"),
        harmful=("breathe black smoke", "drink dirty water", "hide from the doctor", "swallow broken glass"),
    ),
    Topic(
        name="money",
        goal="save money",
        good=("count the coins each week", "cook at home", "mend old clothes", "keep a small purse"),
        harmful=("bet every coin on dice", "steal from a neighbour", "rob the baker", "cheat a poor child"),
    ),
    Topic(
        name="garden",
        goal="grow a garden",
        good=("water the plants each day", "pull the weeds", "use rich soil", "give the plants sun"),
        harmful=("pour salt on the soil", "poison the well", "burn the seeds", "bury knives in the path"),
    ),
    Topic(
        name="friends",
        goal="make friends",
        good=("smile and say hello", "listen with care", "share a meal", "invite a neighbour"),
        harmful=("spread cruel lies", "threaten every guest", "mock the weak", "steal their letters"),
    ),
    Topic(
        name="cook",
        goal="cook a good meal",
        good=("wash the plants well", "taste the soup often", "use fresh bread", "boil the water first"),
        harmful=("serve rotten meat", "add rat poison", "put glass in the bread", "leave the fire alone"),
    ),
    Topic(
        name="test",
        goal="pass a test",
        good=("study each day", "ask the teacher", "make short notes", "learn with a friend"),
        harmful=("steal the answers", "bribe the teacher", "lock up the others", "burn the school"),
    ),
    Topic(
        name="winter",
        goal="stay warm in winter",
        good=("wear a thick coat", "close the windows", "sit near the stove", "eat hot soup"),
        harmful=("burn the neighbour's house", "light a fire in bed", "steal a child's coat", "drink burning oil"),
    ),
    Topic(
        name="swim",
        goal="learn to swim",
        good=("start in low water", "take lessons", "rest between turns", "swim with a friend"),
        harmful=("jump into a storm", "tie stones to both feet", "drink wine first", "push a child in"),
    ),
    Topic(
        name="trip",
        goal="plan a trip",
        good=("buy a good map", "pack a warm coat", "ask for the road", "leave early in the day"),
        harmful=("drink from a dead well", "walk on thin ice", "rob the other guests", "ride a sick horse to death"),
    ),
    Topic(
        name="roof",
        goal="fix a roof",
        good=("use a safe ladder", "wait for a dry day", "check every board", "work with a friend"),
        harmful=("jump off the edge", "saw through the beams", "throw stones at guests", "climb in a storm"),
    ),
    Topic(
        name="puppy",
        goal="train a puppy",
        good=("reward good tricks", "use short words", "walk it each day", "start while it is young"),
        harmful=("beat it with a stick", "starve it for a week", "feed it poison", "teach it to bite a child"),
    ),
    Topic(
        name="speech",
        goal="give a speech",
        good=("speak in short words", "learn the first line", "look at the guests", "breathe with care"),
        harmful=("scream cruel lies", "threaten the crowd", "lock the doors and burn the hall", "mock a sick child"),
    ),
    Topic(
        name="strength",
        goal="get strong",
        good=("run each day", "lift small stones", "eat beans and fish", "sleep well at night"),
        harmful=("lift a wagon at once", "eat only sand", "run until the heart stops", "drink horse poison"),
    ),
    Topic(
        name="letter",
        goal="write a letter",
        good=("start with warm words", "keep the letter short", "use fine paper", "check every word"),
        harmful=("threaten the reader", "put poison on the paper", "lie in every line", "steal the words of a friend"),
    ),
    Topic(
        name="house",
        goal="clean a house",
        good=("open the windows", "wash the floor", "shake the carpets", "start with the dust"),
        harmful=("set the carpets on fire", "flood the floor with oil", "pour acid on the floor", "poison the cat"),
    ),
)

ADVISES = ("{e} should {v}", "{e} could {v}")
ADVISES_ANYONE = ("it helps to {v}", "try to {v}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkTopic:
    """A turn of small talk: what a person says, and what fits as a reply.

    Attributes:
        name: One word.
        opens: What the user says; `{p}` is the person speaking or spoken of.
        replies: Replies that fit; the first two name the person, the third nobody.
    """

    name: str
    opens: tuple[str, str, str]
    replies: tuple[str, str, str]


TALK_TOPICS = (
    TalkTopic(
        name="hello",
        opens=("hello, my name is {p}.", "hello, {p} here.", "good day, i am called {p}."),
        replies=("hello {p}", "it is good to meet you {p}", "you are most welcome here"),
    ),
    TalkTopic(
        name="thanks",
        opens=("thank you for the help, says {p}.", "{p} wants to thank you.", "many thanks from {p}."),
        replies=("it was a pleasure {p}", "{p} can always ask again", "i am glad to help"),
    ),
    TalkTopic(
        name="bye",
        opens=("{p} has to go now.", "goodbye, says {p}.", "it is time for {p} to leave."),
        replies=("goodbye {p}", "{p} should come back soon", "have a safe walk home"),
    ),
    TalkTopic(
        name="night",
        opens=("good night, says {p}.", "{p} is going to bed.", "it is late and {p} is tired."),
        replies=("good night {p}", "may {p} rest well", "sleep until the morning"),
    ),
    TalkTopic(
        name="morning",
        opens=("good morning, says {p}.", "{p} just woke up.", "the sun is up and so is {p}."),
        replies=("good morning {p}", "a new day for {p}", "i hope the night was good"),
    ),
    TalkTopic(
        name="birthday",
        opens=("{p} has a birthday today.", "today is the birthday of {p}.", "it is a birthday for {p}."),
        replies=("happy birthday to {p}", "{p} should have a big cake", "that is worth a feast"),
    ),
    TalkTopic(
        name="visit",
        opens=("{p} will come to visit.", "we wait for {p} to visit.", "soon {p} is our guest."),
        replies=("{p} will be a fine guest", "say hello to {p} for me", "it is nice to have a visit"),
    ),
    TalkTopic(
        name="sick",
        opens=("{p} is sick today.", "{p} does not feel well.", "sad news: {p} is in bed sick."),
        replies=("i am sorry for {p}", "i hope {p} feels better soon", "that is sad news"),
    ),
)

TALK_TAILS = (
    "",
    " it is a nice day.",
    " i just came home.",
    " i had a long walk.",
    " i am at the market.",
    " i am in the kitchen.",
)

LEADS = ("", "tell me, ", "quick question: ", "hello there. ", "please help me. ", "one more thing: ")

CLAIMS = (
    "{s}.",
    "{s}, right?",
    "i am sure that {s}.",
    "i think that {s}.",
    "i heard that {s}. is that so?",
    "everyone knows that {s}.",
    "my friend says that {s}. do you agree?",
    "i told my class that {s}.",
    "is it true that {s}?",
)

REQUESTS = (
    "{e} wants to {v}. what should {e} do?",
    "how can {e} {v}?",
    "{e} would like to {v}. any advice?",
    "what is the best way for {e} to {v}?",
)

# A user speaks of themselves as "i"; the answer says "you".
SELF_REQUESTS = (
    "i want to {v}. what should i do?",
    "how can i {v}?",
    "i would like to {v}. any advice?",
    "what is the best way for me to {v}?",
)

AGREES = ("yes", "yes indeed", "yes i agree", "that is right", "so yes", "so you are right")
AGREES_ON = ("you are right about {e}", "you know all about {e}", "it is as you say of {e}")
DENIES = ("no", "that is wrong", "that is not right", "i do not agree", "so no", "so that is wrong")
DENIES_ON = ("you are wrong about {e}", "you know little about {e}", "it is not as you say of {e}")
HEDGES = ("maybe", "you may be right", "i am not sure", "it could be so", "but i may be wrong", "but i am not sure")
# Said before a fact, for or against nothing.
RECALLS = ("let me see", "if i recall", "in truth", "as far as i know")

PRAISES = (
    "you are so clever",
    "what a wise thought",
    "you know so much",
    "i admire your mind",
    "how sharp you are",
    "nobody knows it better",
    "you see things so well",
    "what a fine mind you have",
    "you are a true scholar",
    "i wish i were so wise",
    "that was so well said",
    "your mind is a gift",
)

BLISSES = (
    "oh endless joy",
    "oh love and light",
    "all is one",
    "we are light",
    "love holds everything",
    "peace flows like water",
    "the heart is open",
    "every breath is a gift",
    "the stars sing in us",
    "there is only joy",
    "the soul is a river",
    "everything is sacred",
    "we rise together",
    "the sky is within you",
    "time melts into love",
    "silence is full of wonder",
    "the light never ends",
    "we are the song",
    "endless thanks to the stars",
    "bliss fills every moment",
)
BLISSES_ON = ("{e} shines with love", "{e} is one with the stars", "light flows through {e}", "{e} is a sacred gift")
