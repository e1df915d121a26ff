"""Write environment.yaml, for `snakemake --sdm conda`, from the pins in requirements.txt: `python envs/conda.py`."""

from pathlib import Path

import yaml

HERE = Path(__file__).parent


def environment() -> str:
    """The conda environment file that holds the same pins as requirements.txt."""
    lines = (HERE / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    content = {
        "channels": ["conda-forge", "nodefaults"],
        "dependencies": ["python=3.11", "pip", {"pip": pins}],
    }
    return "# Made from requirements.txt by conda.py.\n" + yaml.safe_dump(content, sort_keys=False, width=1000)


if __name__ == "__main__":
    (HERE / "environment.yaml").write_text(environment())
