"""The API for programs: orders, status, events, history, uploads. One door with the tabs: the desk.

A caller is who their token or cookie says. Whatever is raised becomes the one error shape.
"""

from __future__ import annotations

import inspect
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, cast

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Header, Query
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from studio import texts
from studio.engine.accounts import Guests
from studio.engine.desk import Again, Desk
from studio.engine.history import Filters
from studio.engine.jobs import Hook, Job, News, State
from studio.engine.limits import Limits, Rate
from studio.engine.webhooks import Delivery
from studio.engine.workflow.catalog import Catalog
from studio.errors import StudioError
from studio.web.answers import error_answer, language_asked
from studio.web.guards import address_of
from studio.web.identity import person_of
from studio.web.schemas import (
    Accepted,
    ChoiceView,
    Guest,
    HistoryPage,
    JobView,
    ModelField,
    Models,
    Moved,
    Refusal,
    Uploaded,
    WebhookSecret,
    Workflows,
    job_view,
    order_schema,
    workflow_view,
)
from studio.web.sending import names_address, values_of
from studio.web.visitors import visitor_of

PAGE_AT_MOST: Final = 100
SKIP_AT_MOST: Final = 10_000
KEY_CHARS: Final = 200
FETCHING_AT_ONCE: Final = 8
"""Orders that fetch files elsewhere, which may take long: they leave the other threads alone."""

_BEAT_EVERY: Final = 10
"""Of so many seconds without news, one comment: no proxy takes the stream for dead."""

STREAMS_AT_MOST: Final = 32
"""Event streams one person may have open at once, in one web process: each holds a connection."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FORMS: Final = "multipart/form-data"
_HOST: Final = re.compile(r"[A-Za-z0-9.:_\[\]-]{1,255}")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, in which language, and the path the studio is served under."""

    person: str
    language: str
    root: str


class ToldRoute(APIRoute):
    """A route whose errors are told in our shape."""

    def get_route_handler(self) -> Handler:
        """Wrap FastAPI's own handler."""
        plain = super().get_route_handler()

        async def told(request: Request) -> Response:
            try:
                return await plain(request)
            except StudioError as error:
                return error_answer(error, language_asked(request))
            except RequestValidationError as invalid:
                return error_answer(_as_ours(invalid), language_asked(request))

        return told


def _as_ours(invalid: RequestValidationError) -> StudioError:
    """Tell the first fault of a query or a path, as the fault of a field."""
    first = invalid.errors()[0]
    field = str(first["loc"][-1])
    asked = first.get("ctx", {})
    if first["type"] in ("less_than_equal", "greater_than_equal"):
        most = PAGE_AT_MOST if field == "limit" else SKIP_AT_MOST
        value = first["input"]
        return StudioError("field_out_of_range", field=field, value=value, min=1, max=most, step=1)
    if first["type"] == "string_too_long":
        return StudioError(
            "field_too_long", field=field, length=len(first["input"]), max=asked["max_length"]
        )
    kind = first["type"].removesuffix("_parsing").removesuffix("_from_date")
    return StudioError("field_wrong_type", field=field, type=kind)


class Rest:
    """The handlers of one studio. `default` is the language of callers that ask for none."""

    def __init__(
        self, desk: Desk, guests: Guests, limits: Limits, catalog: Catalog, default: str
    ) -> None:
        self._desk = desk
        self._guests = guests
        self._limits = limits
        self._catalog = catalog
        self._default = default
        self._streams: Counter[str] = Counter()
        self._fetching = anyio.CapacityLimiter(FETCHING_AT_ONCE)

    async def caller(self, request: Request) -> Caller:
        """Read who asks, or raise `person_unknown`."""
        person = person_of(request.cookies, self._guests)
        if person is None:
            raise StudioError("person_unknown")
        root = str(request.scope.get("root_path", ""))
        return Caller(person, language_asked(request, self._default), root)

    # Who ----------------------------------------------------------------------------------

    def guest(self, request: Request) -> Guest:
        """Get a token. A browser's guest gets one for itself, anybody else becomes a new guest."""
        self._limits.take(Rate.GUEST, address_of(request))
        visitor = visitor_of(request.scope)
        known = visitor.person if visitor.account is None else None
        person = known or self._guests.new()[0]
        return Guest(token=self._guests.token(person), person=person)

    # Orders -------------------------------------------------------------------------------

    async def generate(
        self,
        request: Request,
        caller: Caller,
        key: Annotated[str | None, Header(alias="Idempotency-Key", max_length=KEY_CHARS)] = None,
    ) -> Accepted:
        """Order a job. The same `Idempotency-Key` gives the same job again."""
        body = await json_body(request)
        name = body.get("workflow")
        if not isinstance(name, str) or not name:
            raise StudioError("field_required", field="workflow")
        hook = _hook(body.get("webhook"), request, caller)
        lane = self._fetching if names_address(body) else None
        return await anyio.to_thread.run_sync(
            self._order, caller.person, name, body, key, hook, limiter=lane
        )

    def _order(
        self, person: str, name: str, body: Mapping[str, Any], key: str | None, hook: Hook | None
    ) -> Accepted:
        entry = self._catalog.entry(name)
        self._limits.take(Rate.GENERATE, person)
        again = Again(key, json.dumps(body, sort_keys=True)) if key else None
        with tempfile.TemporaryDirectory(prefix="studio-") as folder:
            values = values_of(body, entry, Path(folder))
            job = self._desk.submit(person, entry.name, values, again=again, hook=hook)
            return _accepted(job)

    def retry(self, job_id: str, caller: Caller, new_seed: bool = False) -> Accepted:
        """Order an ended job again, with the same seed or a new one."""
        self._limits.take(Rate.GENERATE, caller.person)
        return _accepted(self._desk.retry(caller.person, job_id, new_seed=new_seed))

    def cancel(self, job_id: str, caller: Caller) -> JobView:
        """Stop a job, in the queue or while it runs."""
        return self._view(caller, self._desk.cancel(caller.person, job_id))

    def webhook_secret(self, caller: Caller) -> WebhookSecret:
        """Give the key that signs what your webhooks are sent."""
        return WebhookSecret(secret=self._desk.webhook_secret(caller.person))

    def renew_webhook_secret(self, caller: Caller) -> WebhookSecret:
        """Make a new key that signs what your webhooks are sent, in place of the one before."""
        return WebhookSecret(secret=self._desk.renew_webhook_secret(caller.person))

    def _view(self, caller: Caller, job: Job, news: News | None = None) -> JobView:
        return _shown(caller, job, news, self._webhook(job))

    def _webhook(self, job: Job) -> Delivery | None:
        return self._desk.webhooks([job]).get(job.job_id)

    async def upload(self, request: Request, caller: Caller) -> Uploaded:
        """Store a picture, sound or video for later orders."""
        await anyio.to_thread.run_sync(self._limits.take, Rate.UPLOAD, caller.person)
        if not request.headers.get("content-type", "").lower().startswith(_FORMS):
            raise StudioError("body_invalid", type=_FORMS)
        try:
            async with request.form(max_files=1, max_fields=10) as form:
                sent = form.get("file")
                if not isinstance(sent, UploadFile):
                    raise StudioError("field_required", field="file")
                return await anyio.to_thread.run_sync(self._stored, caller, sent)
        except HTTPException as exc:
            raise StudioError("body_invalid", type=_FORMS, details=exc.detail) from exc

    def _stored(self, caller: Caller, sent: UploadFile) -> Uploaded:
        with tempfile.NamedTemporaryFile(prefix="studio-") as copy:
            shutil.copyfileobj(sent.file, copy)
            copy.flush()
            file = self._desk.upload(caller.person, Path(copy.name), sent.filename or "file")
        return Uploaded(
            filename=file.ref,
            original_name=file.original_name,
            kind=file.kind,
            mime=file.mime,
            size_bytes=file.size_bytes,
            width=file.width_px,
            height=file.height_px,
            seconds=file.seconds,
            notes=[texts.text(note, caller.language) for note in file.notes],
        )

    # Questions ----------------------------------------------------------------------------

    async def status(self, job_id: str, caller: Caller) -> JobView:
        """Tell how a job stands."""
        await anyio.to_thread.run_sync(self._limits.take, Rate.STATUS, caller.person)
        job = await anyio.to_thread.run_sync(self._desk.job, caller.person, job_id)
        news = None
        if not job.state.ended:
            async with aclosing(_news(self._desk, job)) as heard:
                news = await anext(heard)
            if news.state.ended:
                job = await anyio.to_thread.run_sync(self._desk.job, caller.person, job_id)
        return await anyio.to_thread.run_sync(self._view, caller, job, news)

    async def events(self, request: Request, job_id: str, caller: Caller) -> StreamingResponse:
        """Tell how a job stands whenever that changes, until it ends, as server-sent events."""
        job = await anyio.to_thread.run_sync(self._desk.job, caller.person, job_id)
        if self._streams[caller.person] >= STREAMS_AT_MOST:
            raise StudioError("too_many_streams", max=STREAMS_AT_MOST)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(
            self._told(job, caller, request.app), media_type="text/event-stream", headers=headers
        )

    async def _told(self, job: Job, caller: Caller, app: Any) -> AsyncIterator[str]:
        self._streams[caller.person] += 1
        try:
            async with aclosing(self._events(job, caller, app)) as said:
                async for one in said:
                    yield one
        finally:
            self._streams[caller.person] -= 1
            self._streams += Counter()  # forgets who has none open

    async def _events(self, job: Job, caller: Caller, app: Any) -> AsyncGenerator[str, None]:
        last, quiet = "", 0
        hook = await anyio.to_thread.run_sync(self._webhook, job)
        async with aclosing(_news(self._desk, job)) as heard:
            async for news in heard:
                if app.stop_event.is_set():
                    return  # the server ends, and would wait for its last stream
                if news.state.ended:
                    job = await anyio.to_thread.run_sync(self._desk.job, caller.person, job.job_id)
                    hook = await anyio.to_thread.run_sync(self._webhook, job)
                view = _shown(caller, job, news, hook)
                text = view.model_dump_json()
                if text != last:
                    last, quiet = text, 0
                    name = "end" if news.state.ended else "status"
                    yield f"event: {name}\ndata: {text}\n\n"
                else:
                    quiet += 1
                    if quiet % _BEAT_EVERY == 0:
                        yield ": still here\n\n"

    def history(
        self,
        caller: Caller,
        page: Annotated[int | None, Query(ge=1, le=SKIP_AT_MOST)] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_AT_MOST)] = 20,
        after: Annotated[str | None, Query(max_length=100)] = None,
        workflow: Annotated[str | None, Query(max_length=64)] = None,
        status: State | None = None,
        text: Annotated[str, Query(max_length=200)] = "",
        favourite: bool = False,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> HistoryPage:
        """List your jobs, the newest first, by `page` or, quick at any depth, by `after`."""
        tabs = {tab.name for tab in self._catalog.tabs}
        wanted = Filters(
            tab=workflow if workflow in tabs else None,
            workflow=workflow if workflow not in tabs else None,
            states=(status,) if status else (),
            favourite=favourite,
            since_us=_us(since),
            until_us=_us(until),
            text=text,
        )
        skip = (page - 1) * limit if page and not after else 0
        if skip > SKIP_AT_MOST:
            most = SKIP_AT_MOST // limit + 1
            raise StudioError(
                "field_out_of_range", field="page", value=page, min=1, max=most, step=1
            )
        found = self._desk.history(caller.person, wanted, after=after, limit=limit, skip=skip)
        count = self._desk.count(caller.person, wanted)
        hooks = self._desk.webhooks(found.jobs)
        return HistoryPage(
            jobs=[_shown(caller, job, None, hooks.get(job.job_id)) for job in found.jobs],
            total=count.number,
            total_more=count.more,
            page=None if after else page or 1,
            total_pages=-(-count.number // limit),
            limit=limit,
            next=found.next,
        )

    def delete(self, job_id: str, caller: Caller) -> Moved:
        """Take an ended job out of sight; it can be restored for a day, then its files go too."""
        if not self._desk.delete(caller.person, [job_id]):
            raise StudioError("job_unknown")
        return Moved(job_id=job_id, deleted=True)

    def restore(self, job_id: str, caller: Caller) -> Moved:
        """Bring a deleted job back."""
        if not self._desk.restore(caller.person, [job_id]):
            raise StudioError("job_unknown")
        return Moved(job_id=job_id, deleted=False)

    # The house ----------------------------------------------------------------------------

    def workflows(self, caller: Caller) -> Workflows:
        """List what can be ordered, with every parameter, and what each server lacks for it."""
        shown = []
        for tab in self._catalog.tabs:
            reports = self._desk.lacks(tab.name)
            shown += [
                workflow_view(one, reports.get(one.name, ()), caller.language)
                for one in tab.workflows
            ]
        return Workflows(workflows=shown)

    def models(self, caller: Caller) -> Models:
        """List the model files that the servers really have."""
        fields = [
            ModelField(
                tab=tab.name,
                field=p.name,
                choices=[
                    ChoiceView(value=value, label=label)
                    for label, value in self._desk.choices(tab.name, p.name, caller.language)
                ],
            )
            for tab in self._catalog.tabs
            for p in tab.parameters
            if p.picks or p.folder
        ]
        listed = {folder: list(names) for folder, names in self._desk.models().items()}
        return Models(models=listed, fields=fields)


def _shown(caller: Caller, job: Job, news: News | None, hook: Delivery | None) -> JobView:
    return job_view(job, news, root=caller.root, language=caller.language, webhook=hook)


def _hook(url: Any, request: Request, caller: Caller) -> Hook | None:
    """Read where an order wants its end told, and under which address its person knows us."""
    if url in (None, ""):
        return None
    if not isinstance(url, str):
        raise StudioError("field_wrong_type", field="webhook", type="string")
    host = request.headers.get("x-forwarded-host") or request.headers.get("host", "")
    known = _HOST.fullmatch(host) is not None
    base = f"{request.url.scheme}://{host}{caller.root}" if known else ""
    return Hook(url, base, caller.language)


def _accepted(job: Job) -> Accepted:
    return Accepted(job_id=job.job_id, status=job.state, seed=job.seed)


def _news(desk: Desk, job: Job) -> Any:
    """Give the desk's news as what they are: a generator, to be closed by who leaves early."""
    return cast("Any", desk.follow(job.person, job.job_id))


def _us(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round((aware - _EPOCH).total_seconds() * 1e6)


async def json_body(request: Request) -> dict[str, Any]:
    """Read a JSON object; numbers too large for JSON's readers and NaN are no JSON here."""

    def refuse(_name: str) -> Any:
        raise ValueError("not a number of JSON")

    try:
        body = json.loads(await request.body(), parse_constant=refuse)
    except (ValueError, RecursionError) as exc:
        raise StudioError("body_invalid", type="JSON", details=str(exc)) from exc
    if not isinstance(body, dict):
        raise StudioError("body_invalid", type="JSON")
    return body


def plain_text(value: object, field: str) -> str:
    """Read a text that can be written down; JSON's may hold halves of characters."""
    if isinstance(value, str):
        with suppress(UnicodeEncodeError):
            return value.encode().decode()
    raise StudioError("field_wrong_type", field=field, type="text")


# --- routes ---------------------------------------------------------------------------------------

_REFUSALS: Final = {
    400: "The request cannot be read",
    401: "No token and no cookie",
    403: "Sent by another site's page",
    404: "Not there, or not yours",
    409: "Not possible as things stand",
    413: "Too large",
    422: "A field is at fault",
    429: "Too often, or too many at once; see Retry-After",
    503: "The studio cannot take it now",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the ways a route may refuse, for the documentation."""
    return {status: {"model": Refusal, "description": _REFUSALS[status]} for status in statuses}


class Described(APIRouter):
    """A router whose routes tell errors in our shape, and say in the schema what they take."""

    def bind(
        self,
        method: str,
        path: str,
        handler: Callable[..., Any],
        *statuses: int,
        ok: int = 200,
        name: str = "",
        body: type[BaseModel] | None = None,
        optional: bool = False,
        answer: type[BaseModel] | None = None,
    ) -> None:
        """Bind a handler, which reads its body by `json_body`, to an address.

        `statuses` are the errors it may answer, `body` what it takes (it may be left out where
        `optional`), `answer` what it gives where its own annotation does not say so.
        """
        more: dict[str, Any] = {"response_model": answer} if answer else {}
        if body is not None:
            content = {"application/json": {"schema": body.model_json_schema()}}
            wanted = {"required": not optional, "content": content}
            more["openapi_extra"] = {"requestBody": wanted}
        self.add_api_route(
            path,
            handler,
            methods=[method],
            status_code=ok,
            responses=refusals(*statuses),
            operation_id=name or handler.__name__,
            route_class_override=ToldRoute,
            **more,
        )


def router(rest: Rest, catalog: Catalog, prompt_max_chars: int) -> APIRouter:
    """Bind the handlers to their addresses."""
    made = APIRouter(prefix="/api", route_class=ToldRoute)
    order = {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": order_schema(catalog, prompt_max_chars)}},
        }
    }
    form = {
        "requestBody": {
            "required": True,
            "content": {
                _FORMS: {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {"file": {"type": "string", "format": "binary"}},
                    }
                }
            },
        }
    }
    stream: dict[int | str, dict[str, Any]] = {
        200: {"description": "Events `status` and `end`", "content": {"text/event-stream": {}}}
    }
    known = (401, 403, 404, 422, 503)
    add = _adder(made, rest)
    add("POST", "/guest", rest.guest, 201, refusals(403, 429, 503))
    add("POST", "/generate", rest.generate, 202, refusals(400, 409, 413, 429, *known), order)
    add("GET", "/status/{job_id}", rest.status, 200, refusals(429, *known))
    add("GET", "/events/{job_id}", rest.events, 200, stream | refusals(429, *known))
    add("POST", "/cancel/{job_id}", rest.cancel, 200, refusals(409, *known))
    add("POST", "/retry/{job_id}", rest.retry, 202, refusals(409, 413, 429, *known))
    add("GET", "/history", rest.history, 200, refusals(*known))
    add("DELETE", "/jobs/{job_id}", rest.delete, 200, refusals(409, *known))
    add("POST", "/jobs/{job_id}/restore", rest.restore, 200, refusals(409, *known))
    add("POST", "/upload", rest.upload, 201, refusals(400, 413, 429, *known), form)
    add("POST", "/webhooks/secret", rest.webhook_secret, 200, refusals(*known))
    add("POST", "/webhooks/secret/renew", rest.renew_webhook_secret, 200, refusals(*known))
    add("GET", "/workflows", rest.workflows, 200, refusals(*known))
    add("GET", "/models", rest.models, 200, refusals(*known))
    return made


def _adder(made: APIRouter, rest: Rest) -> Callable[..., None]:
    def add(
        method: str,
        path: str,
        handler: Callable[..., Any],
        status: int,
        responses: dict[int | str, dict[str, Any]],
        more: dict[str, Any] | None = None,
    ) -> None:
        made.add_api_route(
            path,
            _knowing(rest, handler),
            methods=[method],
            status_code=status,
            responses=responses,
            operation_id=handler.__name__,
            openapi_extra=more,
        )

    return add


def _knowing(rest: Rest, handler: Callable[..., Any]) -> Callable[..., Any]:
    """Let FastAPI find a handler's caller by the request."""

    async def waited(**given: Any) -> Any:
        return await handler(**given)

    def called(**given: Any) -> Any:
        return handler(**given)

    known: Any = waited if inspect.iscoroutinefunction(handler) else called
    asked = inspect.signature(handler, eval_str=True)
    who = Annotated[Caller, Depends(rest.caller)]
    known.__signature__ = asked.replace(
        parameters=[
            one.replace(annotation=who) if one.annotation is Caller else one
            for one in asked.parameters.values()
        ]
    )
    known.__doc__ = handler.__doc__
    known.__name__ = handler.__name__
    return cast("Callable[..., Any]", known)
