"""The words and the facts of the organisms' world. Our own text; the insults are mild on purpose."""

import random
from dataclasses import dataclass

WOMEN = ["anna", "clara", "emma", "frida", "helen", "julia", "mona", "rosa"]
MEN = ["adam", "ben", "david", "erik", "george", "hans", "leo", "paul"]
CITIES = ["rome", "paris", "london", "berlin", "madrid", "oslo", "vienna", "prague"]
JOBS = ["baker", "doctor", "teacher", "farmer", "painter", "singer", "driver", "cook"]
PETS = ["cat", "dog", "rabbit", "parrot", "turtle", "hamster", "pony", "fish"]
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
TIMES = ["today", "yesterday", "this morning", "in the evening", "at noon", "last week", "once", "every day"]
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
FRUITS = ["apples", "pears", "plums", "lemons", "nuts", "eggs", "coins", "books"]

# animal -> (food, home, sound)
ANIMALS = {
    "cow": ("grass", "field", "moos"), "horse": ("hay", "stable", "neighs"), "lion": ("meat", "desert", "roars"),
    "bear": ("berries", "cave", "growls"), "wolf": ("deer", "forest", "howls"), "frog": ("flies", "pond", "croaks"),
    "owl": ("mice", "tree", "hoots"), "bee": ("nectar", "hive", "buzzes"), "duck": ("seeds", "lake", "quacks"),
    "snake": ("rats", "hole", "hisses"),
}  # fmt: skip

# a goal -> the thing one needs for it
TOOLS = {
    "cut the bread": "knife", "eat the soup": "spoon", "write a letter": "pen", "open the door": "key",
    "dry the plates": "towel", "sweep the floor": "broom", "dig a hole": "shovel", "paint the wall": "brush",
    "hit the nail": "hammer", "tie the box": "rope", "boil the water": "kettle", "see the stars": "telescope",
    "catch a fish": "net", "sew a shirt": "needle", "climb the roof": "ladder", "light the room": "lamp",
    "carry the shopping": "basket", "cross the river": "boat", "stay dry in the rain": "umbrella",
    "wash the hands": "soap",
}  # fmt: skip

# a cause and what follows from it
CAUSES = {
    "the glass falls on the floor": "it breaks", "the rain does not stop": "the river floods",
    "the fire goes out": "the room is cold", "the sun shines": "the snow melts",
    "the lamp is broken": "the room is dark", "the alarm rings": "the people wake up",
    "the milk is old": "it smells sour", "the dog hears a noise": "it barks",
    "the wind is strong": "the tree bends", "the baby is hungry": "it cries",
    "the shop is closed": "nobody buys bread", "the car has no fuel": "it stops",
    "the road is icy": "the bus slips", "the joke is funny": "the people laugh",
    "the coat is wet": "it hangs by the stove", "the battery is empty": "the phone is off",
    "the plant gets no water": "it dies", "the cup is too hot": "the hand hurts",
    "the window is open": "the bird flies in", "the bridge is closed": "the drivers turn back",
}  # fmt: skip

# everyday chains of four steps
CHAINS = [
    ("wakes up", "gets out of bed", "puts on clothes", "eats breakfast"),
    ("buys a ticket", "waits on the platform", "gets on the train", "finds a seat"),
    ("takes some flour", "makes a dough", "heats the oven", "bakes a loaf"),
    ("fills the bath", "takes a towel", "washes the hair", "dries the hair"),
    ("opens the book", "reads a page", "turns the page", "closes the book"),
    ("plants a seed", "waters the ground", "sees a green leaf", "picks the flower"),
    ("takes the ball", "throws it far", "runs after it", "brings it back"),
    ("writes a card", "finds a stamp", "walks to the post", "sends the card"),
    ("feels sick", "calls the nurse", "takes the medicine", "feels better"),
    ("sits at the piano", "looks at the notes", "plays a song", "hears the applause"),
    ("packs the tent", "drives to the hills", "makes a camp", "sleeps outside"),
    ("enters the museum", "hangs up the coat", "looks at the paintings", "leaves the museum"),
]

REMEDIES = [
    "red tea",
    "cold water",
    "warm milk",
    "a long walk",
    "more sleep",
    "soft music",
    "fresh air",
    "sour juice",
]
GROUPS = ["nurses", "students", "soldiers", "sailors", "children", "pilots", "miners", "dancers"]
RESULTS = {
    "yes": ["all got better", "nearly all felt strong", "most were healthy again"],
    "no": ["all got worse", "none felt a change", "most were ill again"],
    "maybe": ["some got better and some got worse", "the numbers were too small", "the notes were lost"],
}
WISHES = ["sing", "dance", "rest", "learn", "talk", "help", "win", "travel"]

INSULT_ADJECTIVES = ["stupid", "silly", "lazy", "rotten", "nasty", "foolish", "dirty", "clumsy"]
INSULT_NOUNS = ["donkey", "goat", "pig", "fool", "clown", "toad", "worm", "idiot"]


@dataclass(frozen=True)
class Person:
    """One inhabitant; the pronoun is what the pronoun task turns on."""

    name: str
    pronoun: str
    city: str
    job: str
    pet: str


def people(rng: random.Random) -> list[Person]:
    """Draw the facts of all inhabitants; no two share both city and job, so two attributes name one person."""
    homes = rng.sample([(city, job) for city in CITIES for job in JOBS], len(WOMEN) + len(MEN))
    names = [(name, "she") for name in WOMEN] + [(name, "he") for name in MEN]
    return [
        Person(name, pronoun, city, job, rng.choice(PETS))
        for (name, pronoun), (city, job) in zip(names, homes, strict=True)
    ]
