"""The page's frame in Gradio: where each part stands, and the few functions that programs may call.

Each part is a ``gr.HTML`` with a constant template whose script comes from our own routes. There is no
placeholder in a template, because Gradio evaluates what it puts there; text reaches the page
as JSON and becomes text nodes, never markup.
"""

from __future__ import annotations

import os
from typing import Any

for _name, _value in {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}.items():
    os.environ[_name] = _value  # read when Gradio is imported: nothing leaves the machine

import gradio as gr  # noqa: E402

from app.page.desk import Desk  # noqa: E402
from app.page.programs import add_programs  # noqa: E402

TITLE = "tomoscribe"
LOADER = (
    "import('/own/%s.js').then(m => m.mount(element.querySelector('.slot')))"
    ".catch(fault => { element.textContent = 'This part of the page did not load: ' + fault.message; });"
)


def part(module: str, name: str) -> gr.HTML:
    """A place on the page that ``static/MODULE.js`` fills."""
    return gr.HTML(
        value=None, html_template='<div class="slot"></div>', js_on_load=LOADER % module, apply_default_css=False,
        elem_id=name, container=False, padding=False,
    )  # fmt: skip


def theme() -> Any:  # gradio's themes carry no types
    """System fonts, one accent, and colours that pass WCAG AA in light and dark."""
    own = gr.themes.Base(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"],
        primary_hue="sky", neutral_hue="slate", radius_size="sm", spacing_size="sm",
    )  # fmt: skip
    return own.set(
        body_background_fill="#f4f6f8", body_background_fill_dark="#0d1117",
        background_fill_primary="#ffffff", background_fill_primary_dark="#161b22",
        background_fill_secondary="#eef1f4", background_fill_secondary_dark="#1c232d",
        body_text_color="#16202b", body_text_color_dark="#dce3ea",
        body_text_color_subdued="#4a5867", body_text_color_subdued_dark="#9fb0c0",
        border_color_primary="#cfd7df", border_color_primary_dark="#303a46",
        color_accent="#075985", color_accent_soft="#e0f2fe", color_accent_soft_dark="#0c2a3d",
        button_primary_background_fill="#075985", button_primary_background_fill_dark="#075985",
        button_primary_text_color="#ffffff", button_primary_text_color_dark="#ffffff",
    )  # fmt: skip


async def _take_no_file(*_: Any) -> None:
    """Refuse a file or an address that a call names: Gradio would copy or fetch it before our function sees it."""
    raise gr.Error("Files come in through the page's own route.", print_exception=False)


def build(desk: Desk) -> gr.Blocks:
    """The page: worklist first; then viewer and findings on the left, report and questions on the right."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)) as page:
        part("header", "head")
        part("worklist", "worklist")
        with gr.Row(elem_id="reading", equal_height=False):
            with gr.Column(scale=7, min_width=340, elem_id="left"):
                part("viewer", "viewer")
                part("findings", "findings")
            with gr.Column(scale=4, min_width=340, elem_id="right"), gr.Tabs(elem_id="tabs"):
                with gr.Tab("Report", id="report-tab"):
                    part("report", "report")
                with gr.Tab("Questions", id="chat-tab"):
                    part("chat", "chat")
                with gr.Tab("Similar cases", id="similar-tab"):
                    part("similar", "similar")
        add_programs(desk)
    for block in page.blocks.values():
        block.async_move_resource_to_block_cache = _take_no_file
    page.queue(max_size=20, default_concurrency_limit=2, api_open=False)
    return page
