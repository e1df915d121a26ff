"""The table of models as one self-contained HTML page that sorts by any column."""

from html import escape

import pandas as pd

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Leaderboard</title>
<style>
body {{ font: 13px/1.4 system-ui, sans-serif; margin: 1.5em; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25em .6em; text-align: right; white-space: nowrap; border-bottom: 1px solid #ddd; }}
th {{ position: sticky; top: 0; background: #fff; border-bottom: 2px solid #444; cursor: pointer; }}
th[aria-sort=ascending]::after {{ content: " ▲"; }}
th[aria-sort=descending]::after {{ content: " ▼"; }}
tr.aside td {{ color: #707070; }}
</style>
<h1>Leaderboard</h1>
<p>{summary}</p>
<p>Click a column to sort by it. Losses are in nats per image of the test set; rank is by reconstruction; grey rows are
collapsed or diverged. Everything there is to know of a model stands in <code>results/tables/models.csv</code>.</p>
<table><thead><tr>{head}</tr></thead><tbody>
{body}
</tbody></table>
<script>
const body = document.querySelector("tbody");
document.querySelectorAll("th").forEach((th, i) => th.addEventListener("click", () => {{
  const down = th.getAttribute("aria-sort") === "ascending";
  document.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  th.setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = row => row.cells[i].dataset.value ?? row.cells[i].textContent;
  const compare = (a, b) => {{
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");  // what is missing stays last
    const order = isNaN(x) || isNaN(y) ? x.localeCompare(y, undefined, {{ numeric: true }}) : x - y;
    return down ? -order : order;
  }};
  body.append(...[...body.rows].sort(compare));
}}));
</script>
</html>
"""

COLUMNS = {
    "rank": "rank",
    "label": "model",
    "seed": "seed",
    "latent_size": "latent size",
    "encoder": "encoder",
    "decoder": "decoder",
    "reconstruction": "reconstruction",
    "kld": "KLD",
    "elbo": "ELBO",
    "likelihood_bound": "log p(x) bound",
    "collapsed": "collapsed",
    "active_units": "active units",
    "probe_accuracy": "probe accuracy",
    "knn_accuracy": "kNN accuracy",
    "silhouette": "silhouette",
    "frechet_distance": "Fréchet distance",
    "encoder_parameters": "encoder parameters",
    "decoder_parameters": "decoder parameters",
    "effective_beta": "effective beta",
    "seconds": "seconds",
    "status": "status",
}


def page(rows: pd.DataFrame, dataset: dict) -> str:
    """The page for a table of models and what is known of its dataset."""
    columns = dict(COLUMNS)
    diverged = int((rows["status"] != "ok").sum())
    collapsed = int((rows["collapsed"] == True).sum())  # noqa: E712 - diverged models have neither True nor False
    summary = (
        f"{len(rows)} models on {escape(dataset['name'])} ({dataset['train_images']} training and "
        f"{dataset['test_images']} test images); {collapsed} collapsed, {diverged} diverged."
    )
    if dataset["classes"] is None:
        summary += " The dataset has no labels: nothing is read from codes, no figure shows classes."
        for name in ("probe_accuracy", "knn_accuracy", "silhouette", "frechet_distance"):
            del columns[name]
    head = "".join(f"<th>{name}</th>" for name in columns.values())
    return PAGE.format(summary=summary, head=head, body="\n".join(_row(row, columns) for _, row in rows.iterrows()))


def _row(row: pd.Series, columns: dict) -> str:
    aside = ' class="aside"' if row["status"] != "ok" or row["collapsed"] == True else ""  # noqa: E712
    return f"<tr{aside}>{''.join(_cell(row[column]) for column in columns)}</tr>"


def _cell(value: object) -> str:
    if pd.isna(value):
        return '<td data-value=""></td>'
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, float):
        return f'<td data-value="{value!r}">{value:,.4g}</td>'
    return (
        f'<td data-value="{escape(str(value))}">{value:,}</td>'
        if isinstance(value, int)
        else f"<td>{escape(str(value))}</td>"
    )
