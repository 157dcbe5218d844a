"""The examples run, and a method from outside the package answers the questions of those inside."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(*words, cwd, **environment):
    environment = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_the_main_job_runs_from_python(tmp_path):
    ran = run(str(EXAMPLES / "01_from_python.py"), cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "runs/from-python/run/report.html").exists()


def test_a_method_in_one_file_judges_a_bag(tmp_path):
    ran = run(str(EXAMPLES / "02_my_model.py"), cwd=tmp_path)
    assert ran.stdout.startswith("risk -"), ran.stderr


def test_a_method_from_outside_answers_the_questions_of_those_inside():
    questions = Path(__file__).parent / "models" / "test_protocol.py"
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(questions)]
    ran = run(*words, cwd=EXAMPLES.parent, SLIDESURV_PROTOCOL=str(EXAMPLES / "02_my_model.py"))
    assert ran.returncode == 0, ran.stdout
    assert "passed" in ran.stdout and "snn" not in ran.stdout
