"""What programs get and send, as types: the answers, and the schema of an order by workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from pydantic import BaseModel, Field

from studio import texts
from studio.engine.jobs import Failure, Given, Job, News, Output, State
from studio.engine.outside import URL_CHARS
from studio.engine.verdicts import ServerReport
from studio.engine.webhooks import Delivery, Stand
from studio.engine.workflow.binding import Workflow
from studio.engine.workflow.catalog import Catalog, Tab
from studio.engine.workflow.manifest import SEED_MAX, Kind, Parameter

BIG: Final = 2**53


class Fault(BaseModel):
    """Why something was not done. `code` is for programs, the others for people."""

    code: str
    message: str
    hint: str
    field: str | None = None


class Refusal(BaseModel):
    """The body of every error."""

    error: Fault


class Made(BaseModel):
    """One file of a result. The addresses need the same token or cookie."""

    name: str
    kind: str = Field(description="image, video, audio, text or file")
    mime: str
    size_bytes: int
    width: int
    height: int
    seconds: float
    url: str
    thumbnail_url: str | None
    download_url: str


class WebhookView(BaseModel):
    """How the telling of a job's end stands. Its body is a job as shown here, its end included."""

    url: str
    state: Stand
    attempts: int
    last_status: int | None = Field(description="HTTP status of the last answer, if one came")
    next_try: str | None


class Spoken(BaseModel):
    """A sound that a run before the main one made, such as a text that was spoken."""

    field: str = Field(description="the parameter whose place it took in the main run")
    seconds: float = Field(description="measured by decoding")
    url: str


class JobView(BaseModel):
    """How a job stands. Times are UTC, ISO 8601."""

    job_id: str
    status: State
    progress: float = Field(description="0 to 1 over the whole job; it never falls")
    position: int = Field(description="place in the queue, 1 is next; 0 when it waits not")
    eta_s: float | None
    node: str = Field(description="title of the graph's node that works now")
    step: int
    steps: int
    phase: str
    workflow: str
    tab: str
    seed: str | None = Field(description="text, since it may be larger than a number holds exactly")
    prompt: str | None
    model: str | None
    values: dict[str, Any]
    notes: list[str] = Field(description="what was changed of the files that were given")
    favourite: bool
    image_url: str | None = Field(description="the first file of the result")
    outputs: list[Made]
    spoken: list[Spoken] = Field(
        description="what was made before the result, of a text to be said"
    )
    error: Fault | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    seconds: float | None
    webhook: WebhookView | None = Field(description="null where the order named none")


class Accepted(BaseModel):
    """An order that was taken."""

    job_id: str
    status: State
    seed: str | None


class HistoryPage(BaseModel):
    """Jobs of every state, the newest first. `next` is the key of the next page."""

    jobs: list[JobView]
    total: int = Field(description="counted up to 1000; `total_more` says that there are more")
    total_more: bool
    page: int | None = Field(description="null when asked by `after`")
    total_pages: int
    limit: int
    next: str | None


class WebhookSecret(BaseModel):
    """The key of HMAC-SHA256 over `TIMESTAMP.BODY`, which signs what your webhooks are sent."""

    secret: str


class Moved(BaseModel):
    """A job that was deleted or restored."""

    job_id: str
    deleted: bool


class Uploaded(BaseModel):
    """A stored file. `filename` is its id, to be named in an order."""

    filename: str
    original_name: str
    kind: str
    mime: str
    size_bytes: int
    width: int
    height: int
    seconds: float
    notes: list[str]


class Guest(BaseModel):
    """A token, to be sent as `Authorization: Bearer ...`. Whoever has it is this guest."""

    token: str
    token_type: str = "bearer"  # noqa: S105  (the kind of token, as OAuth calls it)
    person: str


class ChoiceView(BaseModel):
    """One choice of a parameter."""

    value: str
    label: str


class ParameterView(BaseModel):
    """One parameter of a workflow."""

    name: str
    type: Kind
    label: str
    help: str
    required: bool
    advanced: bool
    default: str | bool | int | float | None
    min: int | float | None
    max: int | float | None
    step: int | float | None
    max_chars: int | None
    min_count: int | None
    max_count: int | None
    choices: list[ChoiceView]
    folder: str | None = Field(description="for type model: see /api/models")


class ServerFit(BaseModel):
    """Whether one ComfyUI can run a workflow, and what it lacks."""

    server: str
    fit: bool
    lacks: list[str]


class WorkflowView(BaseModel):
    """One workflow. Order it by `name`, by `tab` or by `endpoint`."""

    name: str
    tab: str
    endpoint: str
    title: str
    help: str
    category: str
    minimum_comfyui: str
    vram_gb: float
    parameters: list[ParameterView]
    outputs: list[str]
    speaks: bool = Field(description="a text is spoken in a run before the main one")
    servers: list[ServerFit]


class Workflows(BaseModel):
    """All workflows."""

    workflows: list[WorkflowView]


class ModelField(BaseModel):
    """A field of a tab that takes a model, with what can be chosen now."""

    tab: str
    field: str
    choices: list[ChoiceView]


class Models(BaseModel):
    """The model files that the ComfyUI servers really list, by folder, and by field."""

    models: dict[str, list[str]]
    fields: list[ModelField]


# --- from our values to these --------------------------------------------------------------------


def job_view(
    job: Job,
    news: News | None,
    *,
    root: str,
    language: str,
    webhook: Delivery | None = None,
) -> JobView:
    """Show a job to its person. `root` is the path the studio is served under."""
    outputs = [made(job, output, root) for output in job.outputs]
    state = job.state if news is None or job.state.ended else news.state
    failure = job.failure
    return JobView(
        job_id=job.job_id,
        status=state,
        progress=round(1.0 if state is State.COMPLETED else news.fraction if news else 0.0, 4),
        position=news.position if news else 0,
        eta_s=news.eta_s if news else None,
        node=news.node_title if news else "",
        step=news.step if news else 0,
        steps=news.steps if news else 0,
        phase=texts.text(news.phase, language) if news and texts.has(news.phase) else "",
        workflow=job.workflow,
        tab=job.tab,
        seed=job.seed,
        prompt=_text_of(job, "prompt"),
        model=_text_of(job, "model"),
        values=dict(job.values),
        notes=notes(job.given, language),
        favourite=job.favourite,
        image_url=outputs[0].url if outputs else None,
        outputs=outputs,
        spoken=[
            Spoken(field=one.field, seconds=one.seconds, url=f"{root}/inputs/{quote(one.ref)}")
            for one in job.made
        ],
        error=_fault(failure, language) if failure else None,
        created_at=_moment(job.created_us) or "",
        started_at=_moment(job.started_us),
        finished_at=_moment(job.ended_us),
        seconds=job.seconds,
        webhook=_webhook(webhook) if webhook else None,
    )


def _fault(failure: Failure, language: str) -> Fault:
    message, hint = texts.explain_code(failure.code, failure.params, language)
    return Fault(code=failure.code, message=message, hint=hint)


def _webhook(delivery: Delivery) -> WebhookView:
    return WebhookView(
        url=delivery.url,
        state=delivery.state,
        attempts=delivery.attempts,
        last_status=delivery.last_status,
        next_try=_moment(delivery.next_us),
    )


def notes(given: Sequence[Given], language: str) -> list[str]:
    """Say what was changed of files, each sentence once."""
    return list(dict.fromkeys(texts.text(note, language) for one in given for note in one.notes))


def _text_of(job: Job, name: str) -> str | None:
    value = job.values.get(name)
    return value if isinstance(value, str) else None


def made(job: Job, output: Output, root: str) -> Made:
    """Show one file of a job."""
    place = f"{quote(job.job_id)}/{quote(output.name)}"
    return Made(
        name=output.name,
        kind=output.kind,
        mime=output.mime,
        size_bytes=output.size_bytes,
        width=output.width_px,
        height=output.height_px,
        seconds=output.seconds,
        url=f"{root}/outputs/{place}",
        thumbnail_url=f"{root}/thumbnails/{place}" if output.looks else None,
        download_url=f"{root}/outputs/{place}?download=1",
    )


def _moment(us: int) -> str | None:
    if not us:
        return None
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds")


def workflow_view(
    workflow: Workflow, reports: Sequence[ServerReport], language: str
) -> WorkflowView:
    """Show a workflow in a language."""
    m = workflow.manifest
    return WorkflowView(
        name=m.name,
        tab=m.tab,
        endpoint=m.endpoint,
        title=texts.local(m.title, language),
        help=texts.local(m.help, language),
        category=m.category,
        minimum_comfyui=m.minimum_comfyui,
        vram_gb=m.vram_gb,
        parameters=[parameter_view(p, language) for p in m.parameters],
        outputs=[output.kind for output in m.outputs],
        speaks=bool(m.before),
        servers=[
            ServerFit(
                server=one.server,
                fit=one.report.fit,
                lacks=list(one.report.sentences(language)),
            )
            for one in reports
        ],
    )


def parameter_view(p: Parameter, language: str) -> ParameterView:
    """Show a parameter in a language."""
    several = p.type is Kind.IMAGES
    return ParameterView(
        name=p.name,
        type=p.type,
        label=texts.local(p.label, language),
        help=texts.local(p.help, language),
        required=p.required,
        advanced=p.advanced,
        default=p.default,
        min=p.min,
        max=p.max,
        step=p.step,
        max_chars=p.max_chars,
        min_count=p.min_count if several else None,
        max_count=p.max_count if several else None,
        choices=[
            ChoiceView(value=c, label=texts.local(p.labels.get(c, {}), language) or c)
            for c in p.choices
        ],
        folder=p.folder,
    )


# --- the schema of an order ----------------------------------------------------------------------

FILE_SCHEMA: Final[dict[str, Any]] = {
    "description": "base64 text, a data: URI, the `filename` of an upload, a result of yours, or a"
    " public http or https address",
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object",
            "required": ["job_id", "name"],
            "properties": {"job_id": {"type": "string"}, "name": {"type": "string"}},
        },
        {
            "type": "object",
            "required": ["data"],
            "properties": {"data": {"type": "string"}, "name": {"type": "string"}},
        },
        {
            "type": "object",
            "required": ["upload"],
            "properties": {"upload": {"type": "string"}, "name": {"type": "string"}},
        },
        {
            "type": "object",
            "required": ["url"],
            "properties": {
                "url": {"type": "string", "maxLength": URL_CHARS},
                "name": {"type": "string"},
            },
        },
    ],
}


def order_schema(catalog: Catalog, prompt_max_chars: int) -> dict[str, Any]:
    """Write the schema of `/api/generate`'s body: one form for each name that can be ordered."""
    entries: dict[str, Tab] = {tab.name: tab for tab in (*catalog.tabs, *catalog.endpoints)}
    for name in catalog.workflows:
        entries.setdefault(name, catalog.entry(name))
    forms = [_entry_schema(entry, prompt_max_chars) for entry in entries.values()]
    return {"type": "object", "required": ["workflow"], "oneOf": forms}


def _entry_schema(entry: Tab, prompt_max_chars: int) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "workflow": {"type": "string", "const": entry.name},
        "values": {"type": "object", "description": "the parameters, in place of flat ones"},
        "webhook": {
            "type": "string",
            "pattern": "^https?://",
            "maxLength": URL_CHARS,
            "description": "address that is posted to when the job has ended",
        },
    }
    for p in entry.parameters:
        words = [texts.local(p.label, "en"), texts.local(p.help, "en")]
        said = ". ".join(word.rstrip(".") for word in words if word)
        properties[p.name] = _SCHEMAS[p.type](p, prompt_max_chars) | {"description": said}
    return {
        "type": "object",
        "title": entry.name,
        "required": ["workflow"],
        "properties": properties,
        "additionalProperties": {"description": "images, image, audio, video, prompts: see above"},
    }


def _number(kind: str) -> Callable[[Parameter, int], dict[str, Any]]:
    def write(p: Parameter, _most: int) -> dict[str, Any]:
        return {"type": kind, "minimum": p.min, "maximum": p.max}

    return write


def _files(p: Parameter, _most: int) -> dict[str, Any]:
    return {"type": "array", "items": FILE_SCHEMA, "maxItems": p.max_count}


_SCHEMAS: Final[Mapping[Kind, Callable[[Parameter, int], dict[str, Any]]]] = {
    Kind.TEXT: lambda p, most: {"type": "string", "maxLength": p.max_chars or most},
    Kind.INTEGER: _number("integer"),
    Kind.NUMBER: _number("number"),
    # A field that also takes model files has choices that only the servers know.
    Kind.CHOICE: lambda p, _: {"type": "string"} | ({} if p.folder else {"enum": [*p.choices]}),
    Kind.SWITCH: lambda _p, _m: {"type": "boolean"},
    Kind.SEED: lambda _p, _m: {
        "anyOf": [
            {"type": "string", "pattern": "^(-1|[0-9]{1,20})$"},
            {"type": "integer", "minimum": -1, "maximum": min(SEED_MAX, BIG)},
        ]
    },
    Kind.IMAGE: lambda _p, _m: FILE_SCHEMA,
    Kind.IMAGES: _files,
    Kind.MASK: lambda _p, _m: FILE_SCHEMA,
    Kind.AUDIO: lambda _p, _m: FILE_SCHEMA,
    Kind.VIDEO: lambda _p, _m: FILE_SCHEMA,
    Kind.MODEL: lambda _p, _m: {"type": "string"},
}
