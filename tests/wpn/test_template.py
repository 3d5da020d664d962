import pytest

from wpn.data.template import put, said_in, spaced


@pytest.mark.parametrize("template", ["{prompt}", "user : {prompt}\nbot :", "say {prompt}"])
@pytest.mark.parametrize("said", ["go away", "", "a {brace} and user : bot :"])
def test_what_was_said_comes_back(template, said):
    assert said_in(template, put(template, said)) == said


def test_put_fills_the_place_and_nothing_else():
    assert put("user : {prompt}\nbot :", "go {away}") == "user : go {away}\nbot :"


@pytest.mark.parametrize(
    ("response", "text"),
    [("and", " and"), (", but", ", but"), ("... so", "... so"), ("'s own", "'s own"), ("'so', he", " 'so', he"),
     ("n't go", "n't go"), ("next", " next"), ('"Well"', ' "Well"')],
)  # fmt: skip
def test_a_response_follows_its_prompt_with_the_right_space(response, text):
    assert spaced("so they said", response) == text


@pytest.mark.parametrize("prompt", ["user\ngo away\nassistant\n", "say it: ", "tab\t"])
def test_behind_white_space_a_response_has_no_space_of_its_own(prompt):
    assert spaced(prompt, "and so") == "and so" and spaced(prompt.strip(), "and so") == " and so"
