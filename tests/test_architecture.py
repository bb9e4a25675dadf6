"""Imports point downwards, and heavy libraries stay where they belong."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up: a module may import from modules of lower layers, not of its own or a higher.
LAYERS = (
    ("nas.errors", "nas.seeds", "nas.files", "nas.waiting", "nas.tracking", "nas.events"),
    ("nas.dicom_elements", "nas.checksums", "nas.thumbnails"),
    ("nas.dicom_frames",),
    ("nas.dicom_shades",),
    ("nas.dicom",),
    ("nas.command", "nas.images", "nas.jobs", "nas.metrics", "nas.paired_text"),
    ("nas.intervals", "nas.calibration", "nas.doubts"),
    ("nas.evaluation", "nas.paired", "nas.thresholds", "nas.curves"),
    ("nas.predictions",),
    ("nas.curves_plot",),
    ("nas.genome.checks", "nas.genome.kinds"),
    ("nas.genome.ops",),
    ("nas.genome.nodes",),
    ("nas.genome.fields",),
    ("nas.genome.conv",),
    ("nas.genome.residual", "nas.genome.cell"),
    ("nas.genome.mobile",),
    ("nas.genome.backbones",),
    ("nas.genome.genome",),
    ("nas.genome.brief", "nas.genome.summary", "nas.genome"),
    ("nas.genome.parts", "nas.genome.layout"),
    ("nas.genome.steps", "nas.genome.branches"),
    ("nas.genome.table", "nas.genome.text_drawing", "nas.genome.svg"),
    ("nas.references",),
    ("nas.tensorfile", "nas.runfolder", "nas.devices", "nas.network", "nas.preprocessing"),
    (
        "nas.executors",
        "nas.scheduler",
        "nas.trial_rows",
        "nas.front",
        "nas.workers",
        "nas.trackers",
        "nas.export_read",
    ),
    ("nas.storage", "nas.front_plot", "nas.screening", "nas.proxies", "nas.worker"),
    ("nas.process_executor", "nas.ray_task"),
    ("nas.ray_executor",),
    ("nas.data.phantom", "nas.data.splits", "nas.data.filters", "nas.cost"),
    ("nas.bundle.limits",),
    ("nas.bundle.values",),
    ("nas.bundle.manifest", "nas.bundle.networks", "nas.bundle.telling"),
    ("nas.bundle.files",),
    ("nas.bundle",),
    ("nas.data.demo", "nas.data.shifts", "nas.predictor", "nas.data.names"),
    (
        "nas.data.augmentation",
        "nas.explain",
        "nas.onnx_model",
        "nas.bundle.verifying",
        "nas.model_card",
    ),
    ("nas.data.augment", "nas.recipe"),
    ("nas.data.table", "nas.data.samples"),
    ("nas.data.arrays", "nas.data.csvtable", "nas.bundle.__main__"),
    ("nas.data.npz", "nas.data.torchvision_sets", "nas.data.folders"),
    ("nas.data.medmnist",),
    ("nas.data.sources", "nas.data.cache", "nas.data.duplicates"),
    ("nas.data.prepare", "nas.data.folds", "nas.export_files"),
    ("nas.data.opening", "nas.data.statistics", "nas.data.reopening"),
    ("nas.data.telling", "nas.data.likeness"),
    ("nas.data.shortcuts",),
    ("nas.data.audit_values",),
    ("nas.data.findings", "nas.data.audit_table", "nas.data.audit_style"),
    ("nas.data.audit", "nas.data.audit_html"),
    ("nas.data.audit_figures",),
    ("nas.data.audit_examples",),
    ("nas.data.audit_page",),
    ("nas.data.__main__",),
    ("nas.judging", "nas.feeding"),
    ("nas.stepping",),
    ("nas.training", "nas.self_test"),
    ("nas.pretrained",),
    ("nas.learnt_weights",),
    ("nas.inheritance",),
    ("nas.evaluator", "nas.finals"),
    ("nas.divided", "nas.finals_folder"),
    ("nas.baselines.recipes", "nas.baselines.compare", "search_spaces.base"),
    ("nas.baselines.bundled",),
    ("search_spaces.choices", "search_spaces.stages", "search_spaces.members"),
    ("search_spaces.residual", "search_spaces.mobile", "search_spaces.cell"),
    ("search_spaces.macro", "search_spaces.transfer"),
    ("search_spaces.chain", "nas.study", "nas.running", "nas.axes", "nas.measuring"),
    ("nas.choosing", "nas.finals_session", "nas.tidying", "nas.search_events", "nas.run_facts"),
    ("nas.run_cleaning",),
    ("nas.run_tables",),
    ("nas.runs_session",),
    ("nas.runs",),
    ("nas.exported",),
    ("nas.genome_source",),
    ("nas.genome.__main__",),
    ("nas.neighbours", "nas.gaussian", "nas.mirror", "nas.tally", "nas.warm_start"),
    ("nas.observations", "nas.ledger"),
    ("nas.point_sampler", "nas.belief", "nas.aims", "nas.heirs", "nas.flights"),
    ("nas.evolution", "nas.local_search"),
    ("nas.surrogate",),
    ("nas.samplers",),
    ("nas.progress_view",),
    ("search_spaces", "nas.progress", "nas.proposing"),
    ("search_spaces.from_code", "search_spaces.from_toml"),
    ("search_spaces.loading", "nas.search_finals"),
    ("nas.search_command",),
    ("nas.driver",),
    ("nas.search",),
    ("nas.search_plan", "nas.export_table", "nas.baselines.compare_table", "nas.sealed"),
    ("nas.baselines.compare_plot",),
    ("nas.baselines.compare_session",),
    ("nas.baselines.__main__",),
    ("nas.search_session",),
    ("nas.export", "nas.scoring"),
    ("nas.evaluate",),
    ("nas.report.drawing", "nas.report.read_export"),
    ("nas.report.values", "nas.report.raster", "nas.report.chart"),
    ("nas.report.read", "nas.report.page", "nas.report.summary"),
    ("nas.report.history", "nas.report.provenance", "nas.report.writing"),
    ("nas.report.parallel", "nas.report.importance", "nas.report.rungs"),
    ("nas.report.costs", "nas.report.learning", "nas.report.figures", "nas.report.architecture"),
    ("nas.report.mistakes", "nas.report.looking", "nas.report.tiles", "nas.report.audited"),
    ("nas.report.heat",),
    ("nas.report.sections",),
    ("nas.report.__main__",),
)
# Packages whose __init__ holds nothing.
EMPTY = {"nas", "nas.baselines", "nas.data", "nas.report"}
# Modules that a command starts and that therefore reach upwards, inside a function only.
ENTRIES = {"nas.search": {"nas.search_command"}, "nas.search_command": {"nas.search_session"}}

OPTUNA = {
    "nas.report.importance",
    "nas.report.read",
    "nas.aims",
    "nas.axes",
    "nas.heirs",
    "nas.mirror",
    "nas.observations",
    "nas.point_sampler",
    "nas.trial_rows",
    "nas.warm_start",
    "search_spaces.base",
    "search_spaces.cell",
    "search_spaces.chain",
    "search_spaces.choices",
    "search_spaces.from_code",
    "search_spaces.macro",
    "search_spaces.members",
    "search_spaces.mobile",
    "search_spaces.residual",
    "search_spaces.transfer",
    "nas.samplers",
    "nas.storage",
    "nas.study",
    "nas.ledger",
    "nas.search",
}
# The predictor and the explanation, and of what those need the bundle and the decoder's formats.
SERVE_MAY = {"nas.predictor", "nas.explain", "nas.errors", "nas.bundle", "nas.images"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(*tops: str) -> dict[str, Path]:
    return {module_name(path): path for top in tops for path in sorted((ROOT / top).rglob("*.py"))}


def imports(path: Path, *, top_only: bool = False) -> set[str]:
    """What a file imports; ``from a import b`` counts as a.b where that is a module."""
    tree = ast.parse(path.read_text())
    known = modules("nas", "search_spaces", "serve")
    found: set[str] = set()
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & set(known)) or {node.module}
    return found


def test_every_module_has_a_layer() -> None:
    placed = {name for layer in LAYERS for name in layer}
    there = {name for name in modules("nas", "search_spaces") if name not in EMPTY}
    assert there == placed & there
    assert there | {"nas.pretrained"} >= placed


@pytest.mark.parametrize("name", sorted(modules("nas", "search_spaces")))
def test_imports_point_downwards(name: str) -> None:
    if name in EMPTY:
        assert modules("nas")[name].read_text() == ""
        return
    height = {module: i for i, layer in enumerate(LAYERS) for module in layer}
    ours = {i for i in imports(modules("nas", "search_spaces")[name]) if i in height}
    upward = {other for other in ours if height[other] >= height[name]}
    assert upward <= ENTRIES.get(name, set())
    # The exceptions are inside functions, so importing the module does not follow them.
    assert not upward & imports(modules("nas", "search_spaces")[name], top_only=True)


def test_optuna_and_fastapi_stay_where_they_belong() -> None:
    for name, path in modules("nas", "search_spaces", "serve").items():
        tops = {imported.partition(".")[0] for imported in imports(path)}
        assert "optuna" not in tops or name in OPTUNA, name
        assert not tops & {"fastapi", "starlette", "uvicorn"} or name.startswith("serve"), name


def test_serve_imports_only_the_predictor_and_what_it_needs() -> None:
    for name, path in modules("serve").items():
        ours = {i for i in imports(path) if i.partition(".")[0] in {"nas", "search_spaces"}}
        assert ours <= SERVE_MAY, name


@pytest.mark.parametrize(
    "module", ["nas.search", "nas.export", "nas.evaluate", "serve.main", "search_spaces"]
)
def test_importing_does_nothing(module: str, tmp_path: Path) -> None:
    """No device, folder, log or setting is touched by an import."""
    code = (
        f"import logging, random, sys, {module}\n"
        "assert not logging.getLogger().handlers\n"
        "torch = sys.modules.get('torch')\n"
        "assert torch is None or not torch.cuda.is_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=100)
    assert list(tmp_path.iterdir()) == []


def test_help_does_not_wait_for_large_libraries() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "nas.search", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "--trials" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "nas.search_command" in imported
    assert not imported & {"torch", "optuna", "numpy", "pandas", "sqlalchemy", "rich"}


def test_the_list_of_spaces_does_not_wait_for_torch() -> None:
    code = (
        "import sys\nfrom nas.search_command import main\n"
        "sys.argv = ['nas.search', '--space', 'list']\n"
        "assert main() == 0\nassert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert 'space = "chain"' in done.stdout
