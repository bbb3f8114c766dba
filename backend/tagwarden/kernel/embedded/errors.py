"""The one error of the embedded PostgreSQL, so that the CLI can print a sentence instead of a traceback.

It must not carry a password: callers pass log lines through `DataFolder.log_tail`, which removes them.
"""

from __future__ import annotations


class EmbeddedUnavailable(Exception):
    """The embedded PostgreSQL cannot run here. `str()` is a sentence for the user, `code` is stable.

    Codes: `data_dir_in_use`, `data_dir_unwritable`, `not_a_cluster`, `secrets_unusable`, `postgres_missing`,
    `no_unprivileged_user`, `start_failed`.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
