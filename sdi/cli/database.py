"""`sdi db`: the embedded cluster, and the database that the contracts describe."""

from __future__ import annotations

import typer

from sdi.cli import show
from sdi.cli.app import Desk, Json, app, desk
from sdi.store import cluster, engine, migrate
from sdi.store.logins import service

db = typer.Typer(help="Cơ sở dữ liệu · The database.", no_args_is_help=True)
app.add_typer(db, name="db")

WORTH_LISTING = 12
"""Changes; a first set-up makes a hundred, which nobody reads before a load."""


def migrated(at: Desk) -> engine.Connection:
    """A loader's connection to a database that has the tables of the contracts; the embedded cluster is started."""
    url = engine.database_url(at.settings)
    with engine.connect(url) as owner:
        changes = migrate.apply(owner, at.registry)
    if len(changes) > WORTH_LISTING:
        show.say(WORDS[at.language]["brought"].format(len(changes)))
    else:
        for change in changes:
            show.say(f"· {change.sentence}")
    return engine.connect(url, engine.LOADER)


@db.command("up")
def up(context: typer.Context) -> None:
    """Khởi động cụm cơ sở dữ liệu riêng · Start the embedded cluster (not with SDI_DATABASE_URL)."""
    at = desk(context)
    if at.settings.database_url is not None:
        show.say(WORDS[at.language]["given"])
        return
    show.out.print(cluster.start(at.settings.data), markup=False)


@db.command("down")
def down(context: typer.Context) -> None:
    """Dừng cụm cơ sở dữ liệu riêng; dữ liệu còn nguyên · Stop the embedded cluster; its data stay."""
    cluster.stop(desk(context).settings.data)
    show.say("✓")


@db.command("status")
def status(context: typer.Context, json: Json = False) -> None:
    """Cơ sở dữ liệu có khớp hợp đồng không · Whether the database is what the contracts say."""
    at = desk(context)
    with engine.connect(engine.database_url(at.settings, start=False)) as connection:
        found = migrate.status(connection, at.registry)
    if json:
        show.machine({"applied": found.applied, "pending": [change.sentence for change in found.pending]})
        return
    for name in found.applied:
        show.out.print(f"✓ {name}", markup=False)
    for change in found.pending:
        show.out.print(f"· {change.sentence}", markup=False)
    if not found.pending:
        show.say(WORDS[at.language]["nothing"])


@db.command("plan")
def plan(
    context: typer.Context,
    statements: bool = typer.Option(False, "--sql", help="Cả câu lệnh SQL · Also the SQL."),
    json: Json = False,
) -> None:
    """Cho xem việc cần làm để khớp hợp đồng, không làm gì · Show what the contracts ask for; does nothing."""
    at = desk(context)
    with engine.connect(engine.database_url(at.settings)) as connection:
        changes = migrate.plan(connection, at.registry)
    if json:
        show.machine([{"sentence": change.sentence, "sql": change.statement} for change in changes])
        return
    for change in changes:
        show.out.print(f"-- {change.sentence}" if statements else f"· {change.sentence}", markup=False)
        if statements:
            show.out.print(f"{change.statement.rstrip().removesuffix(';')};\n", markup=False)
    words = WORDS[at.language]
    show.say(words["planned"].format(len(changes)) if changes else words["nothing"])


@db.command("migrate")
def migrate_(
    context: typer.Context,
    dry_run: bool = typer.Option(False, "--dry-run", help="Chỉ cho xem · Show what would be done."),
) -> None:
    """Đưa cơ sở dữ liệu khớp hợp đồng, tạo tài khoản dịch vụ · Bring the database to the contracts, and the service's
    login (SDI_SERVICE_URL) to what it needs.
    """
    at = desk(context)
    with engine.connect(engine.database_url(at.settings)) as connection:
        changes = (migrate.plan if dry_run else migrate.apply)(connection, at.registry)
        login = None
        if at.settings.service_url is not None and not dry_run:
            login = service.bring(connection, at.settings.service_url.get_secret_value())
    for change in changes:
        show.out.print(f"· {change.sentence}", markup=False)
    words = WORDS[at.language]
    show.say(words["would" if dry_run else "made"].format(len(changes)) if changes else words["nothing"])
    if login is not None:
        show.say(f"✓ tài khoản của dịch vụ · login of the service: {login}")


WORDS = {
    "vi": {
        "nothing": "✓ không cần làm gì: cơ sở dữ liệu đã khớp hợp đồng", "planned": "✓ {} thay đổi: sdi db migrate",
        "made": "✓ {} thay đổi", "would": "✓ sẽ thực hiện {} thay đổi (chưa làm gì)",
        "brought": "· đã đưa cơ sở dữ liệu khớp hợp đồng ({} thay đổi)",
        "given": "Đã đặt SDI_DATABASE_URL: dùng máy chủ đó, không khởi động gì.",
    },
    "en": {
        "nothing": "✓ nothing to do", "planned": "✓ {} changes: sdi db migrate", "made": "✓ {} changes",
        "would": "✓ {} changes would be made", "brought": "· database brought to the contracts ({} changes)",
        "given": "SDI_DATABASE_URL is set: that server is used, nothing is started.",
    },
}  # fmt: skip
