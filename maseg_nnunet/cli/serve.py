"""`maseg serve`: a DICOM node that answers mammograms with DICOM Segmentation objects."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from maseg_nnunet.errors import UsageError
from maseg_nnunet.parallel.signals import on_signals


def serve(
    spool: Annotated[Path, typer.Option(help="Folder for what waits, and for what failed; private to its owner.")],
    caller: Annotated[list[str], typer.Option(help="Who may send: AE_TITLE@ADDRESS, or @NETWORK/24; may be repeated.")],
    destination: Annotated[str, typer.Option(help="Where results are sent: AE_TITLE@HOST:PORT.")],
    ae_title: Annotated[str, typer.Option(help="This node's AE title.")] = "MASEG",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 11112,
    model: Annotated[
        Path | None, typer.Option(help="Model folder or ZIP [default: the packaged model, else $MASEG_MODEL].")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    tta: Annotated[bool, typer.Option("--tta", help="Average with the left-right mirrored image.")] = False,
    keep_largest: Annotated[
        bool, typer.Option(help="Keep the largest breast, holes filled, and the largest muscle at the chest wall.")
    ] = True,
    spacing_mm: Annotated[
        float | None, typer.Option(min=0.02, max=1, help="Pixel spacing of files that do not tell it, in mm.")
    ] = None,
    queue: Annotated[
        int, typer.Option(min=1, help="Files that may wait; more are refused until there is room.")
    ] = 1000,
) -> None:
    """Receive mammograms by DICOM, segment them, send DICOM SEG objects to an archive.

    A file is acknowledged when it is safely on disk; after a restart the node goes on with what it had received. Only
    the callers named are let in. Ends at Ctrl-C or SIGTERM, after the image at hand.

    Example: maseg serve --spool /var/lib/maseg --caller PACS@10.0.0.5 --destination PACS@10.0.0.5:104 --host 0.0.0.0
    """
    try:
        from maseg_nnunet.serving.nodes import Caller, Node, ServerSettings
        from maseg_nnunet.serving.server import Server, segment_to_seg
    except ModuleNotFoundError as error:
        raise UsageError('maseg serve needs pynetdicom: pip install "maseg-nnunet[pacs]"') from error
    from maseg_nnunet.serving.spool import Spool

    settings = ServerSettings(
        callers=tuple(Caller.parse(text) for text in caller),
        destination=Node.parse(destination),
        ae_title=ae_title,
        host=host,
        port=port,
    )
    from maseg_nnunet.prediction.segmenter import Segmenter

    segmenter = Segmenter(model, device, tta=tta, keep_largest=keep_largest)
    ours = logging.getLogger("maseg_nnunet")
    ours.setLevel(min(logging.INFO, logging.getLogger().level))
    stop = threading.Event()
    with (
        on_signals(lambda *_: stop.set(), signal.SIGINT, signal.SIGTERM),
        Spool(spool, limit=queue) as waiting,
        Server(settings, waiting, segment_to_seg(segmenter, spacing_mm)) as server,
    ):
        typer.echo(f"{settings.ae_title} listens on {settings.host}:{server.port}")
        stop.wait()
        typer.echo("stopping after the image at hand")
