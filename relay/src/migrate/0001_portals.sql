-- OAuth tokens of portals, as JSON. They are secrets.
CREATE TABLE {schema}.tokens (
    portal text PRIMARY KEY,
    tokens text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- Installations of the app, as JSON. They hold the application token, which is a secret.
CREATE TABLE {schema}.installations (
    portal text PRIMARY KEY,
    installation text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
