"""The SPARQL queries that find the devices for many forms at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from listen_embed.fleet.things.capabilities import Form
from listen_embed.fleet.things.match import Rule

_QUERY = """\
SELECT DISTINCT ?form ?device WHERE {{
  {{ SELECT * WHERE {{ {facts} }} }}
  VALUES ({columns}) {{ {rows} }}
  FILTER({conditions})
}}"""


def match_queries(forms: Mapping[str, Form], rules: Iterable[Rule]) -> Iterator[str]:
    """Yield queries that together find each ``?device`` for each ``?form``.

    Parameters
    ----------
    forms : mapping of str to Form
        By their IRIs. Those that need the same kinds of facts share a query.
    rules : iterable of Rule
    """
    rules = list(rules)
    alike: dict[tuple[str, ...], dict[str, Form]] = defaultdict(dict)
    for name, form in forms.items():
        alike[tuple(rule.sparql(form).fact for rule in rules)][name] = form
    for facts, group in alike.items():
        rows = [row for name, form in group.items() for row in _rows(name, form, rules)]
        if rows:
            yield _query(facts, next(iter(group.values())), rules, rows)


def _rows(name: str, form: Form, rules: list[Rule]) -> Iterator[str]:
    """Yield a form's rows of the table: one for each runtime that takes it."""
    columns = [rule.sparql(form).columns.values() for rule in rules]
    for values in product(*(value for column in columns for value in column)):
        yield f"(<{name}> {' '.join(values)})"


def _query(facts: tuple[str, ...], form: Form, rules: list[Rule], rows: list[str]) -> str:
    told = [rule.sparql(form) for rule in rules]
    columns = ["?form", *(name for one in told for name in one.columns)]
    conditions = [one.condition for one in told if one.condition]
    return _QUERY.format(
        facts=" ".join(facts),
        columns=" ".join(columns),
        rows=" ".join(rows),
        conditions=" && ".join(conditions),
    )
