"""Templates: the same text as Jinja gives, and no way out."""

from __future__ import annotations

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.errors import ConfigError, DataError
from raybench.tasks.template import text_template, value_template

FIELDS = {"question": "Why?", "n": 3, "nested": {"text": ["a", "b"]}, "nothing": None, "percent": "100 %s"}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Question: {{ question }}\nAnswer:", "Question: Why?\nAnswer:"),
        ("{{ n }}", "3"),
        ("{{ percent }} %s %d {{ n }}", "100 %s %s %d 3"),
        ("constant\n", "constant\n"),
        ("{{ nested.text[1] }}{{ row.question }}", "bWhy?"),
        ("{% for t in nested.text %}{{ loop.index }}. {{ t }}\n{% endfor %}", "1. a\n2. b\n"),
        ("{{ nothing or 'none' }}", "none"),
        ("{{ question.strip('?') | upper }}", "WHY"),
        ("{{ '{{ n }}' }}", "{{ n }}"),
    ],
)
def test_a_template_gives(source, text):
    assert text_template(source, "task 'x'")(FIELDS) == text


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]), st.text() | st.integers() | st.floats() | st.booleans() | st.lists(st.text()), min_size=3
    ),
    st.text(),
)
def test_plain_templates_give_what_jinja_gives(fields, between):
    # literal text with braces or a raw line feed at the end is Jinja's own business
    between = between.replace("{", "").replace("\r", "")
    source = f"x {{{{ a }}}}{between}{{{{ b }}}} {{{{ c }}}}%s"
    assert text_template(source, "x")(fields) == jinja2.Environment(keep_trailing_newline=True).from_string(source).render(**fields)


def test_fields_are_values_and_never_templates():
    assert text_template("{{ question }}", "x")({"question": "{{ 7 * 7 }}{% for %}"}) == "{{ 7 * 7 }}{% for %}"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ question.__class__.__mro__ }}",
        "{{ ''['__class__'] }}",
        "{{ (question|attr('__class__')) }}",
        "{{ row.__init__.__globals__ }}",
        "{{ nested.text.append('x') }}",
        "{{ row.update({'n': 4}) }}",
        "{{ '{0.__class__}'.format(question) }}",
        "{{ question.format_map(row) }}",
        "{{ 'a' * 500000000 }}",
        "{{ 500000000 * [1] }}",
        "{{ 2 ** 9999999 }}",
        "{{ '%999999999d' % n }}",
        "{{ 'a'.ljust(999999999) }}",
        "{{ range(999999999) }}",
        "{{ lipsum(n=20000) }}",
        "{{ cycler }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}xxxxxxxxxx{% endfor %}{% endfor %}",
        "{% include 'secret.txt' %}",
        "{% import 'secret.txt' as s %}",
    ],
)
def test_a_hostile_template_is_refused_when_it_is_rendered(source):
    with pytest.raises(DataError, match="task 'x', template `prompt`"):
        text_template(source, "task 'x', template `prompt`")(FIELDS)


@pytest.mark.parametrize(
    "source", ["{{ 'a'|center(999999999) }}", "{{ nested.text|random }}", "{{ question", "{% if %}", "{{ 'x'|nofilter }}"]
)
def test_a_template_that_cannot_be_compiled_is_a_mistake_of_the_configuration(source):
    with pytest.raises(ConfigError, match="task 'x'"):
        text_template(source, "task 'x'")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ answr }}", "no field 'answr'. The row has: question, n"),
        ("{{ answr.text }}", "'answr' is undefined.*The row has: question"),
        ("{{ nested.txt }}", "no attribute 'txt'"),
        ("a {{ nothing }}", "'nothing' is null"),
        ("{{ nested.get('x') }}", "an expression is null"),
    ],
)
def test_a_missing_or_null_field_is_named(source, message):
    with pytest.raises(DataError, match=message):
        text_template(source, "x")(FIELDS)


def test_a_text_of_more_than_a_million_characters_is_refused():
    with pytest.raises(DataError, match="longer than 1000000 characters"):
        text_template("{{ question }}", "x")({"question": "x" * 1_000_001})


@pytest.mark.parametrize(
    ("source", "value"),
    [("{{ nested.text }}", ["a", "b"]), ("{{ n }}", 3), (" {{- n + 1 -}} ", 4), ("{{ nested }}", FIELDS["nested"]), ("{{ '}}' }}", "}}")],
)
def test_one_expression_gives_its_value(source, value):
    assert value_template(source, "x")(FIELDS) == value


@pytest.mark.parametrize("source", ["text", "{{ n }}{{ n }}", "a {{ n }}", "{% if n %}1{% endif %}"])
def test_anything_but_one_expression_is_told_apart(source):
    assert value_template(source, "x") is None


@pytest.mark.parametrize("source", ["{{ answr }}", "{{ answr.text }}", "{{ nested.txt }}", "{{ ''.__class__ }}"])
def test_an_expression_fails_like_a_template(source):
    with pytest.raises(DataError, match="task 'x'"):
        value_template(source, "task 'x'")(FIELDS)
