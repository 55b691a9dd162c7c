"""Rows as values, and values as columns: what the ledger reads and writes. Holds no rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from studio.engine.jobs import Claim, Failure, Given, Job, Output, State
from studio.engine.records import JobRow, OutputRow


def failure_columns(failure: Failure) -> dict[str, object]:
    """Write why a job failed."""
    return {
        "failure_code": failure.code,
        "failure_params": dict(failure.params),
        "failure_details": failure.details,
    }


def output_columns(claim: Claim, output: Output) -> dict[str, object]:
    """Write one kept file."""
    return {
        "job_id": claim.job.job_id,
        "fence": claim.fence,
        "position": output.index,
        "node": output.node,
        "kind": output.kind,
        "name": output.name,
        "path": output.path,
        "mime": output.mime,
        "size_bytes": output.size_bytes,
        "width_px": output.width_px,
        "height_px": output.height_px,
        "seconds": output.seconds,
    }


def made_columns(made: Sequence[Given]) -> dict[str, object]:
    """Write what runs before the main one made."""
    return {"made": [asdict(one) for one in made]}


def files_of(inputs: Sequence[str], made: Sequence[Mapping[str, Any]] | None) -> Iterator[str]:
    """Name the stored files of a row: those that were given, and those made of them."""
    yield from inputs
    yield from (str(one["ref"]) for one in made or ())


def output_of(row: OutputRow) -> Output:
    """Read one kept file."""
    return Output(
        index=int(row.position),
        node=str(row.node),
        kind=str(row.kind),
        name=str(row.name),
        path=str(row.path),
        mime=str(row.mime),
        size_bytes=int(row.size_bytes),
        width_px=int(row.width_px),
        height_px=int(row.height_px),
        seconds=float(row.seconds),
    )


def _failure(row: JobRow) -> Failure | None:
    if row.failure_code is None:
        return None
    return Failure(str(row.failure_code), row.failure_params or {}, row.failure_details or "")


def job_of(row: JobRow, outputs: tuple[Output, ...] = ()) -> Job:
    """Read a job, with outputs that were read before."""
    return Job(
        job_id=str(row.job_id),
        person=str(row.person),
        tab=str(row.tab),
        workflow=str(row.workflow),
        values=row.form,
        state=State(row.state),
        seed=row.seed,
        inputs=tuple(row.inputs),
        priority=int(row.priority),
        attempt=int(row.attempt),
        fence=int(row.fence),
        lease_us=int(row.lease_us),
        worker=str(row.worker),
        server=str(row.server),
        prompt_id=str(row.prompt_id),
        client_id=str(row.client_id),
        cancel_wanted=bool(row.cancel_wanted),
        failure=_failure(row),
        outputs=outputs,
        created_us=int(row.created_us),
        started_us=int(row.started_us),
        ended_us=int(row.ended_us),
        given=_givens(row.given),
        made=_givens(row.made),
        favourite=bool(row.favourite),
        deleted_us=int(row.deleted_us),
    )


def _givens(found: Sequence[Mapping[str, Any]] | None) -> tuple[Given, ...]:
    return tuple(Given(**{**one, "notes": tuple(one["notes"])}) for one in found or ())


def tuples(query: Any) -> list[tuple[Any, ...]]:
    """Ask a query, and give its rows as plain tuples."""
    return list(query.tuples())
