"""Nodes that need a model: run by kind, with outputs of the right sort, size and count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from studio.practice import draw
from studio.practice.definitions import Definition
from studio.practice.nodes.registry import node
from studio.practice.nodes.scale import bytes_of, floats, scale
from studio.practice.nodes.values import (
    Context,
    Drawn,
    Handle,
    Latent,
    Mask,
    NodeError,
    Picture,
    Result,
    Sound,
    Words,
)

_BROKEN: Final = "broken.safetensors"
_SEED_INPUTS: Final = ("seed", "noise_seed")


@node("KSampler")
def ksampler(
    ctx: Context,
    seed: int,
    steps: int,
    positive: Words,
    latent_image: Latent,
    denoise: float = 1.0,
) -> Latent:
    """Go through the steps and leave a latent that decodes to drawn pictures."""
    return _sampled(ctx, latent_image, positive, seed=seed, steps=steps, denoise=denoise)


@node("KSamplerAdvanced")
def ksampler_advanced(
    ctx: Context,
    noise_seed: int,
    steps: int,
    positive: Words,
    latent_image: Latent,
    start_at_step: int,
    end_at_step: int,
    add_noise: str = "enable",
) -> Latent:
    """Go through a part of the steps; a second half without noise keeps the first one's seed."""
    part = max(0, min(end_at_step, steps) - start_at_step)
    if add_noise == "disable" and latent_image.drawn is not None:
        noise_seed = latent_image.drawn.seed
    return _sampled(ctx, latent_image, positive, seed=noise_seed, steps=part)


@node("SamplerCustomAdvanced")
def sampler_custom_advanced(
    ctx: Context, noise: Handle, guider: Handle, sigmas: Handle, latent_image: Latent
) -> Result:
    """Go through the steps of given sigmas; both outputs are the same latent here."""
    words = guider.facts.get("words", Words(""))
    made = _sampled(
        ctx,
        latent_image,
        words,
        seed=int(noise.facts.get("seed", 0)),
        steps=int(sigmas.facts.get("steps", 1)),
    )
    return Result((made, made))


def _sampled(
    ctx: Context, latent: Latent, words: Words, *, seed: int, steps: int, denoise: float = 1.0
) -> Latent:
    guide = latent.pixels if latent.pixels is not None else next(iter(words.pictures), None)
    made = replace(latent, drawn=Drawn(seed, words.text, denoise, guide))
    small: list[draw.Pixels] = []

    def preview(step: int) -> bytes:
        if not small:
            small.append(_decoded(_shrunk(made), mark=ctx.mark)[0])
        return draw.preview(small[0], step / steps, seed=seed + step)

    for step in range(1, steps + 1):
        ctx.tick(step, steps, lambda step=step: preview(step))  # type: ignore[misc]
    return made


def _shrunk(latent: Latent) -> Latent:
    """Give one small picture of a latent, for previews."""
    grown = draw.PREVIEW_SIDE / 2 / max(latent.width, latent.height)
    width = max(8, round(latent.width * grown))
    height = max(8, round(latent.height * grown))
    return replace(latent, width=width, height=height, batch=1, time=0)


@node("VAEDecode", "VAEDecodeTiled")
def vae_decode(ctx: Context, samples: Latent) -> Picture:
    """Give the pictures of a latent: drawn ones, those put in, or grey."""
    ctx.work(ctx.pace_s)
    if samples.drawn is not None:
        return _decoded(samples, mark=ctx.mark)
    if samples.pixels is not None and not samples.time:
        return scale(samples.pixels, samples.width, samples.height, "bilinear")
    return np.full((samples.count, samples.height, samples.width, 3), 0.5, np.float32)


def _decoded(latent: Latent, *, mark: bool) -> draw.Pixels:
    drawn = latent.drawn
    assert drawn is not None, "only sampled latents are drawn"  # noqa: S101
    plain = drawn.guide is None
    views = draw.pictures(
        latent.width,
        latent.height,
        latent.count,
        seed=drawn.seed,
        text=drawn.text,
        film=latent.time > 0,
        mark=mark and plain,
    )
    if drawn.guide is None:
        return views
    guides = _guides(drawn.guide, latent.width, latent.height)
    views = draw.toward(views, guides, share=0.45 * drawn.denoise)
    mask = _painted(latent)
    if mark:
        views = np.stack([_stamped(view, drawn.text, mask) for view in views])
    return _outside_kept(latent, views, mask)


def _guides(guide: Picture, width: int, height: int) -> draw.Pixels:
    return bytes_of(scale(guide[:1], width, height, "bilinear", "center")[..., :3])


def _painted(latent: Latent) -> npt.NDArray[np.bool_] | None:
    """Give what of a latent is repainted, H×W; None = all of it."""
    if latent.mask is None or latent.pixels is None:
        return None
    mask = scale(latent.mask[:1, ..., None], latent.width, latent.height, "bilinear")
    return np.asarray(mask[0, ..., 0] > 0.5)


def _stamped(view: draw.Pixels, text: str, mask: npt.NDArray[np.bool_] | None) -> draw.Pixels:
    """Put the mark where it will be seen: in the middle of what is repainted."""
    if mask is None:
        return draw.stamped(view, text)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return view
    made = view.copy()
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    made[part] = draw.stamped(view[part], text)
    return made


def _outside_kept(
    latent: Latent, views: draw.Pixels, mask: npt.NDArray[np.bool_] | None
) -> draw.Pixels:
    """Keep the given picture where a noise mask is black, as inpainting does."""
    if mask is None or latent.pixels is None:
        return views
    kept = bytes_of(scale(latent.pixels, latent.width, latent.height, "bilinear"))[..., :3]
    return np.where(
        mask[..., None], views, kept[: len(views)] if len(kept) >= len(views) else kept[:1]
    )


@node("VAEEncode")
def vae_encode(pixels: Picture) -> Latent:
    """Keep the pictures as they are, in whole steps of 8."""
    return _of_pixels(pixels)


@node("VAEEncodeForInpaint")
def vae_encode_for_inpaint(pixels: Picture, mask: Mask) -> Latent:
    """Keep the pictures and what is to be repainted."""
    return replace(_of_pixels(pixels), mask=mask)


@node("InpaintModelConditioning")
def inpaint_model_conditioning(
    positive: Words, negative: Words, pixels: Picture, mask: Mask, noise_mask: bool = True
) -> Result:
    """Give both conditionings and a latent with its mask."""
    latent = _of_pixels(pixels)
    return Result((positive, negative, replace(latent, mask=mask) if noise_mask else latent))


def _of_pixels(pixels: Picture) -> Latent:
    height, width = pixels.shape[1] // 8 * 8, pixels.shape[2] // 8 * 8
    kept = floats(pixels)[:, :height, :width, :3]
    return Latent(max(width, 8), max(height, 8), batch=pixels.shape[0], pixels=kept)


@node("SetLatentNoiseMask")
def set_latent_noise_mask(samples: Latent, mask: Mask) -> Latent:
    """Say what of a latent is to be repainted."""
    return replace(samples, mask=mask)


@node("LatentUpscale")
def latent_upscale(samples: Latent, width: int, height: int) -> Latent:
    """Change the size; one side 0 keeps the shape."""
    if width == 0 and height == 0:
        return samples
    width = width or max(64, round(samples.width * height / samples.height))
    height = height or max(64, round(samples.height * width / samples.width))
    return samples.sized(width // 8 * 8, height // 8 * 8)


@node("LatentUpscaleBy")
def latent_upscale_by(samples: Latent, scale_by: float) -> Latent:
    """Change the size by a factor."""
    return samples.sized(
        max(8, round(samples.width / 8 * scale_by) * 8),
        max(8, round(samples.height / 8 * scale_by) * 8),
    )


@node("RepeatLatentBatch")
def repeat_latent_batch(samples: Latent, amount: int) -> Latent:
    """Repeat a batch."""
    return replace(samples, batch=samples.batch * amount)


@node("LatentBatch")
def latent_batch(samples1: Latent, samples2: Latent) -> Latent:
    """Put two batches behind each other."""
    return replace(samples1, batch=samples1.batch + samples2.batch)


@node("LatentConcat")
def latent_concat(samples1: Latent, samples2: Latent, dim: str) -> Latent:
    """Join two latents along a side or in time."""
    match dim.removeprefix("-"):
        case "x":
            return replace(samples1, width=samples1.width + samples2.width)
        case "y":
            return replace(samples1, height=samples1.height + samples2.height)
        case _:
            return replace(samples1, time=max(samples1.time, 1) + max(samples2.time, 1))


@node("LatentCut")
def latent_cut(samples: Latent, dim: str, index: int, amount: int) -> Latent:
    """Cut a piece of a side or of the time, in latent units."""
    match dim:
        case "x":
            return replace(samples, width=_cut(samples.width // 8, index, amount) * 8)
        case "y":
            return replace(samples, height=_cut(samples.height // 8, index, amount) * 8)
        case _:
            return replace(samples, time=_cut(samples.time, index, amount))


def _cut(size: int, index: int, amount: int) -> int:
    start = min(index, size - 1) if index >= 0 else max(index, -size) + size
    return max(1, min(size - start, amount))


@node("ImageUpscaleWithModel")
def image_upscale_with_model(ctx: Context, image: Picture) -> Picture:
    """Scale fourfold, as the usual upscale models do."""
    ctx.work(ctx.pace_s)
    made = bytes_of(scale(image, image.shape[2] * 4, image.shape[1] * 4, "bicubic"))[..., :3]
    return np.stack([draw.stamped(view, "", mark=ctx.mark) for view in made])


@node("BasicScheduler")
def basic_scheduler(steps: int) -> Handle:
    """Carry the number of steps."""
    return Handle("SIGMAS", facts={"steps": steps})


@node("RandomNoise")
def random_noise(noise_seed: int) -> Handle:
    """Carry the seed."""
    return Handle("NOISE", facts={"seed": noise_seed})


@node("BasicGuider")
def basic_guider(conditioning: Words) -> Handle:
    """Carry the words."""
    return Handle("GUIDER", facts={"words": conditioning})


@node("CFGGuider")
def cfg_guider(positive: Words) -> Handle:
    """Carry the words."""
    return Handle("GUIDER", facts={"words": positive})


@node("WanSoundImageToVideoExtend")
def wan_sound_extend(positive: Words, negative: Words, video_latent: Latent, length: int) -> Result:
    """Give a latent for the next piece, in the size of the piece before."""
    latent = Latent(video_latent.width, video_latent.height, video_latent.batch, _time(length))
    return Result((positive, negative, latent))


@node("WanInfiniteTalkToVideo")
def wan_infinite_talk(
    model: Handle,
    positive: Words,
    negative: Words,
    width: int,
    height: int,
    length: int,
    motion_frame_count: int,
    start_image: Picture | None = None,
    previous_frames: Picture | None = None,
) -> Result:
    """Give a latent for the next piece, and how many of its frames repeat those before."""
    latent = Latent(width // 8 * 8, height // 8 * 8, 1, _time(length), pixels=start_image)
    repeated = motion_frame_count if previous_frames is not None else 0
    return Result((model, positive, negative, latent, repeated))


@node("RemoveBackground")
def remove_background(ctx: Context, image: Picture) -> Mask:
    """Take a soft ellipse in the middle for what stands in front."""
    ctx.work(ctx.pace_s)
    batch, height, width = image.shape[:3]
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    away = np.sqrt((rows / 0.85) ** 2 + (columns / 0.7) ** 2)
    front = np.clip((1 - away) * 8 + 0.5, 0, 1).astype(np.float32)
    return np.repeat(front[None], batch, axis=0)


def _time(length: int) -> int:
    return (length - 1) // 4 + 1


def by_kind(ctx: Context, definition: Definition, inputs: Mapping[str, Any]) -> Result:
    """Run a node that has no function of its own, from what it declares to give."""
    _load(ctx, definition, inputs)
    return Result(tuple(_output(kind, definition, inputs) for kind in definition["output"]))


def _load(ctx: Context, definition: Definition, inputs: Mapping[str, Any]) -> None:
    """Take time for a loader; refuse the recorded broken file as the real server did."""
    if "Loader" not in definition["name"]:
        return
    if _BROKEN in inputs.values():
        raise NodeError(
            "safetensors._safetensors_rust.SafetensorError",
            "Error while deserializing header: header too large",
        )
    ctx.work(ctx.pace_s)


def _output(kind: str, definition: Definition, inputs: Mapping[str, Any]) -> Any:
    match kind:
        case "CONDITIONING":
            return _words(definition, inputs)
        case "LATENT":
            return _latent(inputs)
        case "IMAGE":
            return next(_of(inputs, np.ndarray, dims=4), np.zeros((1, 64, 64, 3), np.float32))
        case "MASK":
            return next(_of(inputs, np.ndarray, dims=3), np.zeros((1, 64, 64), np.float32))
        case "AUDIO":
            return next(_of(inputs, Sound), Sound(np.zeros((2, 44100), np.float32), 44100))
        case "INT" | "FLOAT" | "STRING" | "BOOLEAN":
            return inputs.get("value")
        case _:
            return Handle(kind, next((str(v) for v in inputs.values() if isinstance(v, str)), ""))


def _of(inputs: Mapping[str, Any], kind: type[Any], dims: int = 0) -> Iterator[Any]:
    return (
        value
        for value in inputs.values()
        if isinstance(value, kind) and (not dims or value.ndim == dims)
    )


def _words(definition: Definition, inputs: Mapping[str, Any]) -> Words:
    """Join the texts a node is given; a conditioning that comes in leads."""
    given = [inputs[name] for name in ("positive", "conditioning") if name in inputs]
    texts = [one.text for one in given[:1]]
    specs = {**definition["input"].get("required", {}), **definition["input"].get("optional", {})}
    texts += [str(inputs[n]) for n, spec in specs.items() if spec[0] == "STRING" and n in inputs]
    pictures = tuple(one for word in given[:1] for one in word.pictures)
    return Words(" ".join(filter(None, texts)), pictures + tuple(_of(inputs, np.ndarray, dims=4)))


def _latent(inputs: Mapping[str, Any]) -> Latent:
    before = next(_of(inputs, Latent), None)
    if "width" not in inputs or "height" not in inputs:
        return before or Latent(512, 512)
    length = inputs.get("length")
    return Latent(
        max(8, int(inputs["width"]) // 8 * 8),
        max(8, int(inputs["height"]) // 8 * 8),
        int(inputs.get("batch_size", 1)),
        0 if length is None else _time(int(length)),
        pixels=next(_of(inputs, np.ndarray, dims=4), None),
    )
