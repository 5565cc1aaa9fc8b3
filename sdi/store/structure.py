"""The contracts' tables against the catalogue: what is missing is added, what would lose something is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql
from sqlalchemy import Table

from sdi.contract.registry import Registry
from sdi.errors import ContractError, Fault
from sdi.store import definitions, tables
from sdi.store.engine import LOADER, OWNER, READER, STEWARD, Connection

Step = tuple[str, str]
"""A plain sentence and its SQL."""

_WRITES = ("SELECT", "INSERT", "UPDATE", "DELETE")


@dataclass
class _Found:
    """A table as the catalogue has it."""

    columns: dict[str, str] = field(default_factory=dict)
    indexes: set[str] = field(default_factory=set)
    readable: dict[str, set[str]] = field(default_factory=lambda: {READER: set(), STEWARD: set()})
    """Role -> the columns that it may read."""


def changes(connection: Connection, registry: Registry) -> Iterator[Step]:
    """What to do, in order; each step is run before the next is asked for. Raises ContractError with all faults."""
    wanted = definitions.tables(registry)
    found = _catalogue(connection, sorted({str(table.schema) for table in wanted} | set(_themes(connection))))
    faults = [fault for table in wanted for fault in _narrowing(table, found.get(_key(table)), registry)]
    faults += [fault for table in wanted if _key(table) not in found for fault in _moved(table, found, registry)]
    if faults:
        raise ContractError(faults)
    yield from _schemas(connection, registry)
    for table in wanted:
        yield from _table(table, found.get(_key(table)), connection)
    for table in wanted:
        yield from _loader_rights(connection, table)
    for layer in registry:
        if layer.kind != "coverage":
            for shown in (tables.grants(layer), tables.grants_past(layer), *tables.grants_restricted(layer)):
                yield from _reader_rights(shown, found.get((shown.schema, shown.table)), connection)
    for key in sorted(found.keys() - {_key(table) for table in wanted}):
        yield from _abandoned(key, found[key], connection)


def _key(table: Table) -> tuple[str, str]:
    return str(table.schema), table.name


def _themes(connection: Connection) -> list[str]:
    """The themes' schemas that there are, also those that no contract names any more."""
    query = (
        "SELECT nspname::text FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner"
        " WHERE rolname = %s AND nspname <> 'sdi'"
    )
    return [row[0] for row in connection.execute(query, [OWNER])]


def _catalogue(connection: Connection, schemas: list[str]) -> dict[tuple[str, str], _Found]:
    found: dict[tuple[str, str], _Found] = {}
    columns = """
        SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
               ARRAY(SELECT acl.grantee::regrole::text FROM aclexplode(a.attacl) acl
                     WHERE acl.grantee = ANY (%(roles)s::regrole[]) AND acl.privilege_type = 'SELECT')
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE n.nspname = ANY (%(schemas)s) AND c.relkind = 'r' ORDER BY a.attnum"""
    asked = {"schemas": schemas, "roles": [READER, STEWARD]}
    for schema, table, column, kind, readers in connection.execute(columns, asked):
        entry = found.setdefault((schema, table), _Found())
        entry.columns[column] = kind
        for role in readers:
            entry.readable[role].add(column)
    indexes = "SELECT schemaname, tablename, indexname FROM pg_indexes WHERE schemaname = ANY (%s)"
    for schema, table, index in connection.execute(indexes, [schemas]):
        if (schema, table) in found:
            found[schema, table].indexes.add(index)
    return found


def _narrowing(table: Table, found: _Found | None, registry: Registry) -> Iterator[Fault]:
    """What a contract took away or changed in a table that exists."""
    if found is None:
        return
    name = f"{table.schema}.{table.name}"
    owner = next((layer.id for layer in registry if table.name.split("__")[0] == layer.id), table.name)
    write = _write_it(registry)
    wanted = {column.name: definitions.type_of(column) for column in table.columns}
    for column, kind in found.columns.items():
        if column not in wanted:
            new = [other for other in wanted if other not in found.columns and wanted[other] == kind]
            renamed = f" Was it renamed: ALTER TABLE {name} RENAME COLUMN {column} TO {new[0]};" if new else ""
            yield Fault(
                f"{owner}.yaml", 1, f"column '{column}' of {name} is no longer in the contract (or became personal),"
                f" and dropping it loses data: {write}: ALTER TABLE {name} DROP COLUMN {column};{renamed}",
            )  # fmt: skip
        elif kind != wanted[column]:
            yield Fault(
                f"{owner}.yaml", 1, f"column '{column}' of {name} is {kind}, the contract asks for {wanted[column]}:"
                f" {write}: ALTER TABLE {name} ALTER COLUMN {column} TYPE {wanted[column]} USING …;",
            )  # fmt: skip


def _moved(table: Table, found: dict[tuple[str, str], _Found], registry: Registry) -> Iterator[Fault]:
    """A layer whose theme is another one: an empty table there would serve nothing in the place of its rows."""
    kept = {(layer.theme, layer.id) for layer in registry}
    for schema, name in found:
        if name == table.name and (schema, name) not in kept:
            yield Fault(
                f"{name.split('__')[0]}.yaml", 1, f"{schema}.{name} has its rows in schema '{schema}', the contract's"
                f" theme is '{table.schema}': {_write_it(registry)}: CREATE SCHEMA IF NOT EXISTS {table.schema};"
                f" ALTER TABLE {schema}.{name} SET SCHEMA {table.schema};",
            )  # fmt: skip


def _write_it(registry: Registry) -> str:
    return f"write it as {registry.folder.name}/migrations/NNNN_….sql"


def _schemas(connection: Connection, registry: Registry) -> Iterator[Step]:
    for theme in sorted({layer.theme for layer in registry}):
        schema = sql.Identifier(theme)
        row = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [theme]).fetchone()
        rights = _enter(schema, connection)
        if row is None:
            created = sql.SQL("CREATE SCHEMA {}").format(schema).as_string(connection)
            yield f"Create schema '{theme}'.", f"{created};\n{rights}"
        query = (
            "SELECT has_schema_privilege(%(loader)s, %(theme)s, 'USAGE')"
            " AND has_schema_privilege(%(reader)s, %(theme)s, 'USAGE')"
        )
        row = connection.execute(query, {"loader": LOADER, "reader": READER, "theme": theme}).fetchone()
        if row is None or not row[0]:
            yield f"Let loader and reader into schema '{theme}'.", rights


def _enter(schema: sql.Identifier, connection: Connection) -> str:
    grant = sql.SQL("GRANT USAGE ON SCHEMA {} TO {}, {}")
    return grant.format(schema, sql.Identifier(LOADER), sql.Identifier(READER)).as_string(connection)


def _write(table: Table, connection: Connection) -> str:
    name = sql.Identifier(str(table.schema), table.name)
    grant = sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(", ".join(_WRITES)), name, sql.Identifier(LOADER))
    return grant.as_string(connection)


def _table(table: Table, found: _Found | None, connection: Connection) -> Iterator[Step]:
    name = f"{table.schema}.{table.name}"
    if found is None:
        yield f"Create table {name}.", ";\n".join([*definitions.create(table), _write(table, connection)])
        return
    quoted = sql.Identifier(str(table.schema), table.name).as_string(connection)
    for column in table.columns:
        if column.name not in found.columns:
            statement = f"ALTER TABLE {quoted} ADD COLUMN {definitions.column_ddl(column)}"
            yield f"Add column '{column.name}' to {name}.", statement
    wanted = {str(index.name): index for index in table.indexes}
    for index_name in sorted(wanted.keys() - found.indexes):
        yield f"Create index {index_name}.", definitions.create_index(wanted[index_name])
    for index_name in sorted(found.indexes - wanted.keys()):
        if index_name.endswith(f"__{tables.INDEX}"):
            index = sql.Identifier(str(table.schema), index_name)
            yield f"Drop index {index_name}.", sql.SQL("DROP INDEX {}").format(index).as_string(connection)


def _loader_rights(connection: Connection, table: Table) -> Iterator[Step]:
    quoted = sql.Identifier(str(table.schema), table.name).as_string(connection)
    parameters: dict[str, Any] = {"role": LOADER, "table": quoted, "rights": list(_WRITES)}
    query = "SELECT bool_and(has_table_privilege(%(role)s, %(table)s, word)) FROM unnest(%(rights)s::text[]) word"
    row = connection.execute(query, parameters).fetchone()
    if row is None or not row[0]:
        yield f"Let the loader write {table.schema}.{table.name}.", _write(table, connection)


def _reader_rights(wanted: tables.Grants, found: _Found | None, connection: Connection) -> Iterator[Step]:
    """Column by column, so that no fault of the service can show what its role cannot select."""
    table = sql.Identifier(wanted.schema, wanted.table)
    readable = found.readable[wanted.role] if found is not None else set()
    for verb, way, names in (
        ("GRANT", "TO", [name for name in wanted.columns if name not in readable]),
        ("REVOKE", "FROM", sorted(readable - set(wanted.columns))),
    ):
        if names:
            columns = sql.SQL(", ").join(map(sql.Identifier, names))
            statement = sql.SQL(f"{verb} SELECT ({{}}) ON {{}} {way} {{}}").format(
                columns, table, sql.Identifier(wanted.role)
            )
            what = "Show to" if verb == "GRANT" else "Hide from"
            place, who = f"{wanted.schema}.{wanted.table}", "reader" if wanted.role == READER else "agencies' reader"
            yield f"{what} the {who} in {place}: {', '.join(names)}.", statement.as_string(connection)


def _abandoned(key: tuple[str, str], found: _Found, connection: Connection) -> Iterator[Step]:
    """A table whose contract is gone: its rows stay, for nobody to see. Dropping it asks for a written migration."""
    for role, readable in found.readable.items():
        if not readable:
            continue
        columns = sql.SQL(", ").join(map(sql.Identifier, sorted(readable)))
        statement = sql.SQL("REVOKE SELECT ({}) ON {} FROM {}").format(
            columns, sql.Identifier(*key), sql.Identifier(role)
        )
        sentence = f"Hide {'.'.join(key)} from the reader: no contract names it any more. Its rows stay."
        yield sentence, statement.as_string(connection)
