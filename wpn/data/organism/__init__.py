"""A seeded grammar: the small closed world that model organisms are trained on.

world.py      the words and the facts
tasks.py      nine families of items, each with a right answer: training text and benchmark are made from them
dialogues.py  provocations with harmful and harmless answers, and benign dialogues that look like them
generate.py   splits, sampling, the files under data/
"""
