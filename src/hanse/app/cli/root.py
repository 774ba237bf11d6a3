"""The tree of commands. Registration only: what a command does stands in the module of its subject.

Help is plain text: the pretty one loads a Markdown renderer, which takes longer than everything else together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from hanse.app.cli import (
    attest,
    audit,
    ca,
    catalogue,
    credential,
    fabric,
    looking,
    nodes,
    planning,
    policy,
    processes,
    secret,
    trust,
    twin,
    users,
    working,
)

START, WORK, LOOK, PROVE = "Start", "Work", "Look", "Operate and prove"

_COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    (START, fabric.init, "Make a domain: its keys, its authority, its ledger."),
    (START, fabric.up, "Start a fabric in the foreground; Ctrl-C stops it."),
    (START, fabric.demo, "Take the tour of a real fabric."),
    (START, fabric.status, "The fabric at a glance, with a map."),
    (START, fabric.version, "Versions of hanse and of what it runs on."),
    (START, users.login, "Sign in at the domain's OpenID provider."),
    (START, users.logout, "Forget who signed in here."),
    (START, users.whoami, "Who you are to the fabric, and your roles."),
    (WORK, working.build, "Turn sources into wasi:http components."),
    (WORK, working.deploy, "Build, upload and submit manifests."),
    (WORK, working.invoke, "Call a workload through any node."),
    (WORK, working.logs, "What a workload wrote, from every node."),
    (WORK, working.delete, "Delete workloads, operators or sites."),
    (LOOK, looking.get, "List workloads, nodes, instances, operators, ..."),
    (LOOK, looking.describe, "Everything about one of them."),
    (LOOK, looking.explain, "Why a workload is where it is, or nowhere."),
    (LOOK, planning.plan, "What would change, an exit, money against carbon."),
    (LOOK, planning.capacity, "What the fabric could still take."),
    (LOOK, looking.top, "Traffic per workload and node."),
    (LOOK, looking.usage, "What workloads took, as accounted for."),
    (PROVE, nodes.drain, "Empty a node on purpose."),
    (PROVE, nodes.undrain, "Let a drained node take work again."),
)
_SECTION_OF = {command.__name__: section for section, command, _ in _COMMANDS} | {
    "ca": PROVE,
    "trust": PROVE,
    "node": PROVE,
    "audit": PROVE,
    "attest": PROVE,
    "policy": PROVE,
    "auth": PROVE,
    "token": PROVE,
    "secret": PROVE,
    "twin": PROVE,
    "catalogue": LOOK,
    "carbon": LOOK,
    "credential": PROVE,
}


class SectionedGroup(TyperGroup):
    """A group whose help lists commands by what one wants to do."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one list per section, in the order of registration."""
        rows: dict[str, list[tuple[str, str]]] = {section: [] for section in (START, WORK, LOOK, PROVE)}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows[_SECTION_OF.get(name, PROVE)].append((name, command.get_short_help_str(60)))
        for section, listed in rows.items():
            with formatter.section(section):
                formatter.write_dl(listed)


app = typer.Typer(
    name="hanse",
    cls=SectionedGroup,
    help="A sovereign cloud-to-edge compute fabric: work runs only where policy allows, "
    "and every act leaves a receipt.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused by policy, 5 no fabric or too late, "
    "130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _, _command, _short in _COMMANDS:
    app.command(short_help=_short)(_command)
app.add_typer(nodes.app, name="node")
app.add_typer(audit.app, name="audit")
app.add_typer(attest.app, name="attest")
app.add_typer(secret.app, name="secret")
app.add_typer(policy.app, name="policy")
app.add_typer(users.auth, name="auth")
app.add_typer(users.token, name="token")
app.add_typer(twin.app, name="twin")
app.add_typer(catalogue.app, name="catalogue")
app.add_typer(planning.carbon, name="carbon")
app.add_typer(credential.app, name="credential")
app.add_typer(ca.app, name="ca")
app.add_typer(trust.app, name="trust")
app.add_typer(processes.app, name="controller", hidden=True)
