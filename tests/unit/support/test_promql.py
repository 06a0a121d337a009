from tests.support.promql import grouped, matched, names

_EXPRESSION = """
  sum by (job, le) (rate(a_bucket{b="x{y}", c!~"z"}[5m] offset 1h)) > 0.5 * job:d:rate1h
  unless on (job) (e == 10e9 or max(f))
"""


def test_the_names_of_an_expression() -> None:
    """Metrics and recorded series are found; functions, labels, numbers and strings are not."""
    assert names(_EXPRESSION) == {"a_bucket", "job:d:rate1h", "e", "f"}


def test_the_labels_of_an_expression() -> None:
    """Labels that series are chosen by are found with their metric, those of groups alone."""
    assert list(matched(_EXPRESSION)) == [("a_bucket", "b"), ("a_bucket", "c")]
    assert grouped(_EXPRESSION) == {"job", "le"}
