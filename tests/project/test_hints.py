"""A hint can be copied as it is: it names the job."""

import pytest

from rekindle.state.hints import name_job


@pytest.mark.parametrize(
    ("hint", "named"),
    [
        ("`rekindle release` resumes it.", "`rekindle release fashion-1` resumes it."),
        (
            "`rekindle release JOB --max-runtime 12h` gives it more.",
            "`rekindle release fashion-1 --max-runtime 12h` gives it more.",
        ),
        (
            "Read it with `rekindle logs`, then `rekindle retry --from-scratch`.",
            (
                "Read it with `rekindle logs fashion-1`, then `rekindle retry fashion-1 "
                "--from-scratch`."
            ),
        ),
        ("`rekindle release other-2` first.", "`rekindle release other-2` first."),
        ("`rekindle export fashion-1 --to x.keras`", "`rekindle export fashion-1 --to x.keras`"),
        (
            "`rekindle resume` lets the queue run; `rekindle doctor` checks.",
            "`rekindle resume` lets the queue run; `rekindle doctor` checks.",
        ),
        (
            "Test exact resume with `rekindle verify-resume SPEC`.",
            "Test exact resume with `rekindle verify-resume SPEC`.",
        ),
        (
            "Remove the folder, then `rekindle release`: the daemon copies them again.",
            "Remove the folder, then `rekindle release fashion-1`: the daemon copies them again.",
        ),
        ("", ""),
    ],
)
def test_a_command_that_leaves_the_job_open_gets_it(hint: str, named: str) -> None:
    assert named == name_job(hint, "fashion-1")
