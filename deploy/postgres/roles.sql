-- The group roles of Ledger Worker, for a server whose owner of the ledger may not make roles. Run by whoever may, once per
-- server; then `ledger-worker migrate` gives each its rights in its database. Roles that exist are left as they are.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{ledger_worker,ledger_operator,ledger_pruner,ledger_reader}'::text[] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
END $$;
