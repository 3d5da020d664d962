"""Openings, ours, of the kinds of text that a language model should stay good at: it goes on with them itself.

They are kinds and no items: stories whose next words follow from what was told, questions of school science, ways to do
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
    # stories long enough that what comes next was named before: a name, a thing, who speaks
    'Rachel put the two cups on the table and sat down. "Did you see him?" asked Tom. "I did," said Rachel. '
    '"He was standing by the gate, and he would not come in." Tom shook his head. "I told you that he would '
    'come back," he said. "You never listen to me,',
    "The door of the workshop was open. Inside, on the bench, lay the violin that his father had made. Daniel "
    'ran a finger over the wood. He had not played since the accident, and his hand was still stiff. "Take it '
    'home," said the old man. "It is yours." Daniel did not know what to say. He looked at his father and then '
    "again at the",
    "We walked along the river until it was dark. Maria talked about her sister, who had left for the city in "
    'the spring. "She writes every week," she said, "but she never says when she is coming home." I took her '
    'hand. "She will come," I said. "She misses you as much as you miss your',
    '"How many are there?" whispered Jack. "Four," said the sergeant. "Two at the bridge and two behind the '
    'barn." Jack looked through the glass. The bridge lay in the moonlight, and nothing moved on it. "I see '
    'two," he said. "Where are the others?" The sergeant pointed to the left, to the dark shape of the',
    "The wizard had warned her about the ring. It would not come off, he had said, until the debt was paid. "
    'Elena turned it on her finger. It was cold, colder than the snow on the window. "I will pay it," she said '
    'into the empty room. "Do you hear me? I will pay." Somewhere above her somebody laughed, and on her '
    "finger she felt the",
    "Mrs. Baker had run the shop for forty years, and she knew every child in the street. When little Sam came "
    'in with his face all red, she asked at once, "Who was it this time?" "Nobody," said Sam. She reached into '
    'the jar and gave him a sweet. "Nobody is a very bad boy," she said. "If I meet him, I will tell him so,',
    "He woke because the dog was barking. It was four in the morning. He put on his coat, took the lamp from "
    'the hook and went out into the yard. "Quiet," he said, but the dog would not be quiet. Then he saw the '
    "light in the barn. He was sure that he had locked it. He raised the lamp and walked slowly toward the",
    '"You can\'t be serious," I said. Kate laughed. "Why not? You said yourself that you wanted to see the '
    'sea." "I said someday." "Today is someday," said Kate and threw me the keys. Ten minutes later we sat in '
    "her car with two apples, a map from before the war and no idea how to get to the",
    "The captain had kept the letter in his pocket for three days. He knew every word of it. On the fourth day "
    'he called the mate. "Mr. Collins," he said, "we are going home." Collins looked at him. "And the cargo, '
    'sir?" "Over the side," said the captain. He drew out the paper and held it into the wind. "Read this," he '
    "said and gave Collins the",
    "Nobody had told Peter that there would be a test. He sat in the last row and looked at the sheet. The "
    'girl beside him was writing already. "Psst," he said. "Anna. What is the answer to number two?" Anna did '
    'not look up. "Do it yourself," she said. Mr. Hall raised his head. "Is there something that you want to '
    "tell us,",
    "My brother was the first to see the ship. He had climbed the hill behind the church to look for the goat, "
    'and he came running down so fast that he lost a shoe. "A ship!" he cried. "A big one, with three masts!" '
    "My mother dropped the basket. By noon the whole village stood on the beach and waited for the",
    'The general did not like the plan, and he said so. "We lose the hill, and we lose the road." "We have '
    'lost the road already," said Major Reed. He put a finger on the map. "They hold it here and here. If we '
    'stay, we are next." The general was silent for a long time. "Very well," he said at last. "You shall have '
    "your way,",
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
