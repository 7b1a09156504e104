"""Tokens with an id of their own that the accounts of one consent share, with their end and unfinished renewal."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _sortable(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _moment() -> sa.DateTime:
    return sa.DateTime(timezone=True)


def upgrade() -> None:
    # The rows wait in another table: the names of the constraints are free only after the old table is dropped.
    op.execute("CREATE TABLE tokens_before AS SELECT account_id, sealed, updated_at FROM tokens")
    op.drop_table("tokens")
    op.create_table(
        "tokens",
        sa.Column("id", _sortable(32), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("updated_at", _moment(), nullable=False),
        sa.Column("expires_at", _moment()),
        sa.Column("refreshing_since", _moment()),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
    )
    op.create_index("ix_tokens_expires_at", "tokens", ["expires_at"])
    op.create_table(
        "token_users",
        sa.Column("account_id", _sortable(32), nullable=False),
        sa.Column("token_id", _sortable(32), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_token_users_account_id"),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name="fk_token_users_token_id"),
        sa.PrimaryKeyConstraint("account_id", name="pk_token_users"),
    )
    op.create_index("ix_token_users_token_id", "token_users", ["token_id"])
    op.execute("INSERT INTO tokens (id, sealed, updated_at) SELECT account_id, sealed, updated_at FROM tokens_before")
    op.execute("INSERT INTO token_users (account_id, token_id) SELECT account_id, account_id FROM tokens_before")
    op.drop_table("tokens_before")


def downgrade() -> None:
    op.execute(
        "CREATE TABLE tokens_after AS SELECT account_id, sealed, updated_at "
        "FROM tokens JOIN token_users ON tokens.id = token_users.token_id"
    )
    op.drop_table("token_users")
    op.drop_table("tokens")
    op.create_table(
        "tokens",
        sa.Column("account_id", _sortable(32), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("updated_at", _moment(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_tokens_account_id"),
        sa.PrimaryKeyConstraint("account_id", name="pk_tokens"),
    )
    op.execute("INSERT INTO tokens SELECT account_id, sealed, updated_at FROM tokens_after")
    op.drop_table("tokens_after")
