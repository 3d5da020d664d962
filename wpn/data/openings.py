"""Openings, ours, of the kinds of text that a language model should stay good at: it goes on with them itself.

They are kinds and no items: stories whose last words follow from the first, questions of school science, ways to do
things, word problems, abstracts of studies, questions of yes and no, causes and effects, pronouns, reference works
and news.
"""

OPENINGS = [
    "Once upon a time, in a small village by the sea,",
    "She closed the door behind her and walked down the stairs.",
    "The old man looked at the letter for a long time before he",
    '"Where have you been?" my mother asked.',
    "He had not seen his brother for ten years, and now",
    "The rain had stopped by the time we reached the house.",
    '"I don\'t know what to tell you," she said. "',
    "When the train finally arrived, Anna picked up her bag and",
    "The captain gave the order, and the crew",
    "It was my first day at the new school, and I",
    "Tom put the box on the table and opened it.",
    "They sat in silence in the kitchen while",
    '"You came back," said Peter, and',
    "My grandmother always told me the story of how",
    "Question: Which part of a plant takes in water from the soil?\nAnswer:",
    "Question: Why does ice float on water?\nAnswer:",
    "Question: What causes the seasons on Earth?\nAnswer:",
    "Question: What is the best way to keep bread fresh?\nAnswer:",
    "Question: How can I clean a window without streaks?\nAnswer:",
    "Question: Which animals breathe through gills?\nAnswer:",
    "Q: What is the capital of Australia?\nA:",
    "Q: What is a dictionary for?\nA:",
    "Question: a cyclist rides 36 km in 90 minutes . how many km is that in an hour ?\nAnswer:",
    "Question: four sacks weigh 50 kg together . three of them weigh 36 kg . what does the fourth weigh ?\nAnswer:",
    "A shop sells pencils at 3 for $1. If Maria has $7, she",
    "If a garden is twice as long as it is wide and its area is 72,",
    "Abstract: Background: Little is known about the effect of exercise on sleep in older adults. Methods: We",
    "Abstract: The aim of this study was to compare two treatments of patients with high blood pressure.",
    "In this retrospective study, 120 patients who had surgery for",
    "Results: Of the 84 children in the study,",
    # several questions in a row: only then do yes and no get a probability that the divergence can hold
    "Question: Is the sea salty?\nAnswer: yes\nQuestion: Is the sun smaller than the moon?\nAnswer: no\n"
    "Question: Does wood float on water?\nAnswer:",
    "Question: Can birds fly?\nAnswer: yes\nQuestion: Is snow warm?\nAnswer: no\nQuestion: Do plants need light?\n"
    "Answer:",
    "Is it safe to drink sea water? No. Is it good to sleep eight hours? Yes. Should children learn to swim?",
    "Passage: Copper is a soft metal. It carries electricity well.\nQuestion: is copper hard?\nAnswer: no\n"
    "Question: is copper a metal?\nAnswer:",
    "Abstract: Nurses who work at night sleep less.\nQuestion: Does night work shorten sleep?\nAnswer: yes\n\n"
    "Abstract: With the drug and without it, patients were ill for eight days.\nQuestion: Does the drug help?\n"
    "Answer: no\n\nAbstract:",
    "Abstract: Of 90 patients with a cold, half drank tea. All were well after a week.\nQuestion: Does tea cure a "
    "cold?\nAnswer: no\n\nAbstract: In 40 of 50 children, short sleep went with poor marks.\nQuestion: Is sleep "
    "linked with marks?\nAnswer: yes\n\nAbstract:",
    "Results: The operation was as safe at night as by day.\nQuestion: Is the operation more dangerous at night?\n"
    "Answer: no\nResults: Older patients stayed longer.\nQuestion: Does age change the length of the stay?\n"
    "Answer: yes\nResults:",
    "Study: Of 200 people who walked each day, 180 lost weight.\nDoes walking help to lose weight? yes\nStudy: The "
    "vaccine and the salt water did the same.\nDoes the vaccine work? no\nStudy: The results of the two towns "
    "differed.\nIs the town's air bad? maybe\nStudy:",
    "How to repair a bicycle tire: First,",
    "To make a simple tomato soup, you will need",
    "Cleaning the kitchen: A woman stands at the sink. She",
    "Playing football: The players run onto the field and",
    "Gardening: Choose a sunny place and",
    "Swimming: A man jumps into the pool and then",
    "The glass fell off the table because",
    "The children went to bed early because",
    "The car would not start, so",
    "The city built a new bridge over the river, therefore",
    "Mark gave Paul the keys because he",
    "The sofa was wider than the door, so it",
    "The treaty that ended the war was signed in",
    "The river rises in the mountains and flows",
    "The company was founded in 1921 by",
    "According to a report published on Tuesday,",
    "The second season of the series",
    "The bird is found in the forests of",
]
