"""Small scripts of equal trainings, killed at every place: no call gets another's result silently.

A script is simulated by what the stage table knows of it: the way to each call, the weights and the
random state it begins with. These depend on what the attempt has restored or trained before.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from test_equal_stages import KEY, Attempt, way

from rekindle.jobs.stages.decision import Call
from rekindle.jobs.stages.key import Entry, Way
from rekindle.state.errors import StateMismatch

TRAININGS = 3
KILLED = ("in it", "before its file", "after its file")
Kill = tuple[int, str]


def _way(kind: str, n: int) -> Way:
    ways = {
        "turns": way(f"n = {n}", code="c"),
        "lines": way(line=n, code="c"),
        "parameters": way(given=f"digest {n}", code="c", repeats=True),
        "no variable": way(code="c", repeats=True),
        "a library": replace(way(code="c"), known=False),
    }
    return ways[kind]


@dataclass
class Script:
    """Hold a script, and what it has left on disk.

    Attributes:
        ways: what tells its calls apart.
        weights: drawn; seeded, one seed for each training; equal; or continued, of one model.
        skips: it passes trainings whose file exists.
    """

    ways: str
    weights: str
    skips: bool
    files: dict[int, int] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def run(self, attempt: Attempt, kill: Kill | None) -> None:
        """Run one attempt, until it is killed or ends."""
        try:
            self._run(attempt, kill)
        finally:
            # other random numbers are another matter
            self.said += [text for text in attempt.said if "skipped" not in text]

    def _run(self, attempt: Attempt, kill: Kill | None) -> None:
        state = "start"
        for n in range(TRAININGS):
            if self.skips and n in self.files:
                if self.weights == "continued":
                    state = f"{state}, loaded {self.files[n]}"
                continue
            number = attempt.enter(
                Call(KEY, self._entry(n, state), _way(self.ways, n)), ended=False
            )
            if self.owners.setdefault(number, n) != n:
                self.wrong.append(f"{n} got {self.owners[number]}")
                written = self.files.get(self.owners[number]) == number
                if attempt.table.indistinct == number and written:
                    self.said.append("the file of another was written")
            state = f"after {number}"
            if kill == (n, "in it"):
                return
            attempt.end(number)
            if kill == (n, "before its file"):
                return
            self.files[n] = number
            if kill == (n, "after its file"):
                return
        attempt.table.check_met()

    def _entry(self, n: int, state: str) -> Entry:
        loaded = state.rpartition("loaded ")[2] if "loaded" in state else state[6:]
        weights = {
            "drawn": f"drawn {state}",
            "seeded": f"seed {n}",
            "equal": "w",
            "continued": f"model {loaded}",
        }
        return Entry(weights[self.weights], "seed" if self.weights == "seeded" else f"r {state}")


def _kills(count: int) -> Iterator[tuple[Kill, ...]]:
    return itertools.product(itertools.product(range(TRAININGS), KILLED), repeat=count)


def _relaunched(script: Script, kills: tuple[Kill, ...]) -> str:
    """Run attempts until one is not killed; return why the job was held, if it was."""
    attempt = Attempt()
    try:
        for kill in kills:
            script.run(attempt, kill)
            attempt = attempt.next()
        script.run(attempt, None)
    except StateMismatch as error:
        return str(error)
    return ""


WAYS = ["turns", "lines", "parameters", "no variable", "a library"]
WEIGHTS = ["drawn", "seeded", "equal", "continued"]


@pytest.mark.parametrize("ways", WAYS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_script_that_calls_all_again_gets_each_stage_and_no_alarm(
    ways: str, weights: str
) -> None:
    for kills in _kills(2):
        script = Script(ways, weights, skips=False)
        held = _relaunched(script, kills)
        assert (kills, "", [], []) == (kills, held, script.wrong, script.said)


@pytest.mark.parametrize("ways", WAYS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_script_that_skips_what_has_ended_gets_each_stage_or_is_named(
    ways: str, weights: str
) -> None:
    for kills in _kills(2):
        script = Script(ways, weights, skips=True)
        held = _relaunched(script, kills)
        if ways == "turns":
            assert (kills, "", [], []) == (kills, held, script.wrong, script.said)
        elif script.wrong:
            assert held or script.said, (kills, script.wrong)
