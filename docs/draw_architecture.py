"""Draw the imports between the rooms of the package into docs/architecture.md, as mermaid.

Run it where `import scbch_keras` finds an installed copy, in which export and training stand inside the package:

    pip install --no-deps --target COPY . && PYTHONPATH=COPY python docs/draw_architecture.py [--check]

`--check` writes nothing and fails where the drawing differs from the imports. A circle between rooms is an error.
"""

import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

PAGE = Path(__file__).with_name("architecture.md")
BEGIN, END = "<!-- imports: begin -->\n", "<!-- imports: end -->\n"
PACKAGE = "scbch_keras"
DIVIDED = {"export", "training"}
"""Packages drawn as the rooms in them; any other package directly under `PACKAGE` is one room."""


RE_EXPORTS = {PACKAGE, f"{PACKAGE}.registration", f"{PACKAGE}.training.run"}
"""Modules that have no content of their own: they name what is elsewhere."""


def arrows() -> dict[str, set[str]]:
    """Rooms, and the rooms that each imports."""
    graph = grimp.build_graph(
        PACKAGE, include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )
    modules = {module for module in graph.modules if module.startswith(f"{PACKAGE}.")} - RE_EXPORTS
    room = {module: _room(graph, module) for module in sorted(modules)}
    rooms: dict[str, set[str]] = {name: set() for name in room.values()}
    for importer, name in room.items():
        imported = graph.find_modules_directly_imported_by(importer) & modules
        rooms[name] |= {room[module] for module in imported} - {name}
    return rooms


def _room(graph: grimp.ImportGraph, module: str) -> str:
    """Such as "export.serving"; modules directly in the package are told apart by what they need."""
    parts = module.split(".")[1:]
    if parts[0] in DIVIDED:
        inside = ".".join(parts[:2])
        return inside if graph.find_children(f"{PACKAGE}.{inside}") else parts[0]
    if graph.find_children(f"{PACKAGE}.{parts[0]}"):
        return parts[0]
    if graph.chain_exists(importer=module, imported="keras"):
        return "core on keras"
    return "core on numpy"


def mermaid(rooms: dict[str, set[str]]) -> str:
    """The drawing: an arrow for each import that does not already follow from two others."""
    try:
        tuple(TopologicalSorter(rooms).static_order())
    except CycleError as error:
        raise SystemExit(f"rooms import one another in a circle: {' -> '.join(error.args[1])}") from error
    names = {room: f"r{number}" for number, room in enumerate(sorted(rooms))}
    lines = ["```mermaid", "graph TD"]
    lines += [f'    {names[room]}["{room}"]' for room in sorted(rooms)]
    for room in sorted(rooms):
        indirect = {other for step in rooms[room] for other in _below(step, rooms)}
        lines += [f"    {names[room]} --> {names[other]}" for other in sorted(rooms[room] - indirect)]
    return "\n".join([*lines, "```", ""])


def _below(room: str, rooms: dict[str, set[str]]) -> set[str]:
    return rooms[room].union(*(_below(other, rooms) for other in rooms[room]))


def main(arguments: list[str]) -> None:
    """Write the drawing, or with `--check` compare it."""
    if arguments not in ([], ["--check"]):
        raise SystemExit(f"expected no argument or --check; got {' '.join(arguments)}")
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    drawn = before + BEGIN + mermaid(arrows()) + END + after
    if not arguments:
        PAGE.write_text(drawn, "utf-8")
    elif drawn != page:
        raise SystemExit(f"{PAGE} is not what the imports are: run python docs/draw_architecture.py")


if __name__ == "__main__":
    main(sys.argv[1:])
