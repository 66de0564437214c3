"""What a revision may not do while releases before it work, told by Postgres' own catalogue before and after it."""

from dataclasses import dataclass

import psycopg

OURS = "n.nspname IN (current_schema(), 'ledger_read')"
# What a release before may use, and what it relies upon not having to give.
OFFERS = {
    "the column {0}.{1} of type {2}": f"""
        SELECT CAST(a.attrelid AS regclass), a.attname, format_type(a.atttypid, a.atttypmod)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {OURS} AND c.relkind IN ('r', 'v', 'm') AND a.attnum > 0 AND NOT a.attisdropped""",
    "{0}.{1} without a value": f"""
        SELECT CAST(a.attrelid AS regclass), a.attname, NULL
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {OURS} AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
            AND (NOT a.attnotnull OR a.atthasdef OR a.attidentity <> '')""",
    "one row of {0} for each {2}": f"""
        SELECT CAST(i.indrelid AS regclass), NULL, substring(pg_get_indexdef(i.indexrelid) from '\\(.*')
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {OURS} AND indisunique""",
    "the function {0}": f"""
        SELECT CAST(p.oid AS regprocedure), NULL, NULL FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE {OURS}""",
    "{1} on {0} for {2}": """
        SELECT format('%I.%I', table_schema, table_name), privilege_type, grantee
        FROM information_schema.table_privileges WHERE starts_with(grantee, 'ledger_')""",
    "{1} of {0} for {2}": """
        SELECT format('%I.%I.%I', table_schema, table_name, column_name), privilege_type, grantee
        FROM information_schema.column_privileges WHERE starts_with(grantee, 'ledger_')""",
}
# By table: what it asks of those who write to it.
DEMANDS = f"""
    SELECT CAST(conrelid AS regclass)::text, pg_get_constraintdef(k.oid) FROM pg_constraint k
    JOIN pg_class c ON c.oid = conrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {OURS} AND contype <> 'n'
    UNION ALL
    SELECT CAST(i.indrelid AS regclass)::text, 'unique ' || pg_get_indexdef(i.indexrelid) FROM pg_index i
    JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {OURS} AND indisunique
    UNION ALL
    SELECT CAST(a.attrelid AS regclass)::text, a.attname || ' must be given'
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {OURS} AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
        AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
"""

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True)
class Catalogue:
    """What a database offers, and what each of its tables demands."""

    offers: frozenset[str]
    demands: frozenset[tuple[str, str]]

    def tables(self) -> set[str]:
        return {table for table, _ in self.demands}


def catalogue(connection: Connection) -> Catalogue:
    """Read it as the connection's database transaction sees it."""
    offers = {
        story.format(*row) for story, statement in OFFERS.items() for row in connection.execute(statement).fetchall()
    }
    demands = {(str(table), str(what)) for table, what in connection.execute(DEMANDS).fetchall()}
    return Catalogue(frozenset(offers), frozenset(demands))


def contractions(before: Catalogue, after: Catalogue) -> list[str]:
    """Tell of all that was taken away, and of all that is newly asked of tables that were there before."""
    gone = [f"gone: {one}" for one in before.offers - after.offers]
    new = [f"new on {table}: {what}" for table, what in after.demands - before.demands if table in before.tables()]
    return sorted(gone + new)
