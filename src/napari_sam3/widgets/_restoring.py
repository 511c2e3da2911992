"""A run of the session → the panel as it was: engine, question, numbers, prompts."""

from __future__ import annotations

from napari.components import ViewerModel
from napari.layers import Image

from napari_sam3.core.prompts import CombinedPrompt, ConceptPrompt, Everything
from napari_sam3.errors import ImageError
from napari_sam3.layers.planes import go_to
from napari_sam3.layers.restoring import restore_prompts
from napari_sam3.widgets._asking import Asking
from napari_sam3.widgets._form import Form
from napari_sam3.widgets._history import Past
from napari_sam3.widgets._prompting import PromptLayers


def restore(
    past: Past, viewer: ViewerModel, form: Form, prompts: PromptLayers, asking: Asking
) -> None:
    """Bring a run's prompts and settings back.

    What is drawn now stays in its layers; the run's prompts get layers of their own.
    Objects keep their numbers as long as those mean the same, so that a further click
    refines the object that the run found.

    Raises
    ------
    ImageError
        If the image is no longer there; nothing is changed then.
    """
    image = next((layer for layer in viewer.layers if layer.unique_id == past.image_id), None)
    if not isinstance(image, Image):
        raise ImageError("The image of that run was removed; open it again, and draw anew.")
    form.image.value = image
    form.engine.value = past.engine
    go_to(viewer.dims, past.plane)
    _restore_numbers(past, form)
    form.rule.value = past.rule
    first = past.prompts[0]
    form.question.value = past.question
    if isinstance(first, ConceptPrompt | CombinedPrompt):
        # each asked for one of the concepts that were typed
        form.text.value = "\n".join(getattr(prompt, "text", "") for prompt in past.prompts)
        form.combine.value = isinstance(first, CombinedPrompt)
    numbers = prompts.numbers_again(past.keys)
    # what is drawn now would be asked along with it
    for kind in asking.kinds:
        prompts.use(kind, None)
    for kind, layer in restore_prompts(past.prompts, image, past.plane, numbers).items():
        viewer.add_layer(layer)
        prompts.use(kind, layer, same_numbers=True)


def _restore_numbers(past: Past, form: Form) -> None:
    if past.min_score:
        form.min_score.value = past.min_score
    form.max_masks.value = past.max_masks
    first = past.prompts[0]
    if isinstance(first, Everything):
        form.points_per_side.value = first.points_per_side
        form.pred_iou_thresh.value = first.min_iou
        form.diameter.value = first.diameter or 0
