"""The model card: what a repository's models are, what they were fitted to, how good they are, and where they end."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pragmatiq_builder import lineage
from pragmatiq_builder.dataset.field_table import FieldTable, percent
from pragmatiq_builder.export.manifest import Manifest
from pragmatiq_builder.heads.saved import SavedHead
from pragmatiq_builder.pages import page_environment
from pragmatiq_builder.runs import Run

MOST_FIELDS = 60
"""Fields that the card lists, those with the most values; the rest are counted."""
TEMPLATE = "model_card.md.j2"
CALIBRATORS = {"Platt": "Platt scaling", "Isotonic": "Isotonic regression"}
PROVENANCE = ("label_file", "labels_sha256", "created")
# An underscore inside a word is no emphasis.
_MARKUP = re.compile(r"[\\`*\[\]<>|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def write_model_card(run: Run, manifest: Manifest, heads: Sequence[SavedHead], path: Path) -> None:
    """Write ``path``, in Markdown, from the run, its heads' notes and, where they have one, their evaluations.

    The same run gives the same bytes; whatever users name is escaped. Raises :class:`ArtifactError` for an evaluation
    that cannot be read.
    """
    environment = page_environment(Path(__file__).parent, autoescape=False, keep_trailing_newline=True)
    environment.filters.update(text=_text, code=_code, percent=percent)
    environment.globals["most_fields"] = MOST_FIELDS
    entries = {entry.task: entry for entry in manifest.heads}
    evaluated = [[_evaluated(file) for file in saved.evaluation_files] for saved in heads]
    tasks = [
        {
            "head": saved.head,
            "calibrator": CALIBRATORS[type(saved.head.calibrator).__name__],
            "entry": entries[saved.head.task],
            "provenance": {name: saved.head.info[name] for name in PROVENANCE if saved.head.info.get(name)},
            "evaluations": evaluations,
            "evaluation": evaluations[0] if evaluations else None,
        }
        for saved, evaluations in zip(heads, evaluated, strict=True)
    ]
    fields, began = FieldTable.load(run.path), lineage.init_from(run.path)
    page = environment.get_template(TEMPLATE).render(
        run=run,
        manifest=manifest,
        tasks=tasks,
        fields=fields,
        kinds=sorted(run.vocabulary.state["field_kind"].items()),
        began=began and lineage.in_words(began),
    )
    path.write_text(page, encoding="utf-8", newline="\n")


def _evaluated(file: Path) -> dict[str, Any]:
    """What the card says of an evaluation, in words."""
    # Needs scikit-learn, which an export without evaluations does not.
    from pragmatiq_builder.metrics.metrics import METRICS
    from pragmatiq_builder.metrics.result import read_evaluation
    from pragmatiq_builder.metrics.wording import compared, in_words, number

    found = read_evaluation(file)
    columns = {found.candidate: found.metrics[found.candidate], **found.metrics}
    calibration = found.calibration
    return {
        "found": found,
        "models": list(columns),
        "metrics": {
            METRICS[metric].label + (" ↓" if METRICS[metric].lower_is_better else " ↑"): {
                "values": [in_words(values[metric]) for values in columns.values()],
                "verdicts": [compared(values[metric], _text(name)) for name, values in found.differences.items()],
            }
            for metric in METRICS
        },
        "calibration": calibration
        and {
            METRICS[metric].label: (number(before, 5), number(calibration.after[metric], 5))
            for metric, before in calibration.before.items()
        },
    }


def _text(value: Any) -> str:
    """Prose on one line, of which Markdown takes nothing for markup."""
    words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return _MARKUP.sub(lambda match: f"\\{match[0]}", " ".join(words.split()))


def _code(value: str) -> str:
    """A name in code type; a table ends at a bar even there."""
    words = " ".join(value.split()).replace("`", "'").replace("|", "\\|")
    return f"`{words}`"
