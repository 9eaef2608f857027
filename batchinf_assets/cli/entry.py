"""The command `batchinf`: its groups, and how its failures are told."""

from __future__ import annotations

import errno
import gc
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

import click

from batchinf_assets import __version__
from batchinf_assets.cli.approve import approve
from batchinf_assets.cli.backfill import backfill
from batchinf_assets.cli.backfill_run import backfill_run
from batchinf_assets.cli.caps import caps
from batchinf_assets.cli.compare import compare
from batchinf_assets.cli.contracts import contract
from batchinf_assets.cli.demo import demo
from batchinf_assets.cli.golden import golden
from batchinf_assets.cli.keys import keys
from batchinf_assets.cli.maintenance import maintain
from batchinf_assets.cli.models import model
from batchinf_assets.cli.override import override
from batchinf_assets.cli.performance import performance
from batchinf_assets.cli.proofs import replay, verify
from batchinf_assets.cli.report import report
from batchinf_assets.cli.rollback import rollback
from batchinf_assets.cli.scaffold import scaffold
from batchinf_assets.cli.tickets import tickets
from batchinf_assets.cli.windows import manifest, run, status
from batchinf_assets.cli.workplace import complain, dagster_storage_failed, storage_errors
from batchinf_assets.console import one_line, print_json
from batchinf_assets.errors import BatchinfError

JSON_ASKED = "batchinf.json"


class _Commands(click.Group):
    """Commands whose failures are one line; a traceback only with `--debug`.

    Where JSON is asked for, a failure is one document too, also where it is about the arguments.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[JSON_ASKED] = "--json" in args
        with _wrong_arguments_told(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            with _wrong_arguments_told(ctx):
                return super().invoke(ctx)
        except (BatchinfError, OSError) as error:
            if ctx.params["debug"] or isinstance(error, BrokenPipeError):
                raise
            _tell(ctx, error)
        except storage_errors() as error:
            if ctx.params["debug"]:
                raise
            _tell(ctx, dagster_storage_failed(error))


def _tell(ctx: click.Context, error: BatchinfError | OSError) -> NoReturn:
    complain(_sentence(error))
    if ctx.meta[JSON_ASKED]:
        print_json(_document(error))
    ctx.exit(error.exit_code if isinstance(error, BatchinfError) else 1)


@contextmanager
def _wrong_arguments_told(ctx: click.Context) -> Generator[None]:
    """Print the document of what click finds wrong; click itself tells of it in words."""
    try:
        yield
    except click.UsageError as error:
        if ctx.meta[JSON_ASKED]:
            where = (error.ctx or ctx).command_path
            sentence = one_line(f"{error.format_message()} See `{where} -h`.")
            print_json({"error": sentence, "reason_code": "usage_error"})
        raise


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="batchinf")
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
def main(*, debug: bool) -> None:  # noqa: ARG001 - read by _Commands
    """Batch inference whose every published number can be traced, verified and repeated."""
    # Start-up makes hundreds of thousands of objects that all stay. Looking through them for
    # garbage again and again took an eighth of a one-window run.
    gc.set_threshold(100_000, 20, 100)


for command in (
    run,
    backfill,
    approve,
    caps,
    override,
    tickets,
    performance,
    compare,
    contract,
    scaffold,
    status,
    manifest,
    report,
    verify,
    replay,
    rollback,
    maintain,
    golden,
    model,
    keys,
    demo,
):
    main.add_command(command)
backfill.add_command(backfill_run)


def _document(error: BatchinfError | OSError) -> dict[str, str]:
    """Return a failure for machines; `reason_code` is the ledger's word for it."""
    from batchinf_assets.telemetry.attempt import reason_code

    return {"error": _sentence(error), "reason_code": reason_code(error)}


def _sentence(error: BatchinfError | OSError) -> str:
    if isinstance(error, BatchinfError):
        return str(error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"{error}. Make room there, then try again."
    return f"{error}. Check that the path is right and that this user may write there."
