"""The tree of commands. Registration only: what a command does stands in the module of its subject."""

from __future__ import annotations

import typer

from hanse.app.cli import audit, fabric, looking, nodes, processes, twin, working

app = typer.Typer(
    name="hanse",
    help="A sovereign cloud-to-edge compute fabric: work runs only where policy allows, and every act leaves a "
    "receipt.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused by policy, 5 no fabric or too late, "
    "130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

START, WORK, LOOK, PROVE = "Start", "Work", "Look", "Operate and prove"

app.command(rich_help_panel=START)(fabric.init)
app.command(rich_help_panel=START)(fabric.up)
app.command(rich_help_panel=START)(fabric.demo)
app.command(rich_help_panel=START)(fabric.status)
app.command(rich_help_panel=START)(fabric.version)

app.command(rich_help_panel=WORK)(working.build)
app.command(rich_help_panel=WORK)(working.deploy)
app.command(rich_help_panel=WORK)(working.invoke)
app.command(rich_help_panel=WORK)(working.logs)
app.command(rich_help_panel=WORK)(working.delete)

app.command(rich_help_panel=LOOK)(looking.get)
app.command(rich_help_panel=LOOK)(looking.describe)
app.command(rich_help_panel=LOOK)(looking.explain)
app.command(rich_help_panel=LOOK)(looking.top)

app.command(rich_help_panel=PROVE)(nodes.drain)
app.command(rich_help_panel=PROVE)(nodes.undrain)
app.add_typer(nodes.app, name="node", rich_help_panel=PROVE)
app.add_typer(audit.app, name="audit", rich_help_panel=PROVE)
app.add_typer(twin.app, name="twin", rich_help_panel=PROVE)
app.add_typer(processes.app, name="controller", hidden=True)
