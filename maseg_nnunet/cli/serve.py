"""`maseg serve`: a DICOM node that makes DICOM Segmentation objects of the mammograms it receives."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from maseg_nnunet.cli.options import DeviceOption, KeepLargestOption, ModelOption, SpacingOption, TtaOption
from maseg_nnunet.errors import UsageError
from maseg_nnunet.parallel.signals import on_signals


def serve(
    spool: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="Folder for received files, results that wait to be sent, and failures. Only its owner can read it.",
        ),
    ],
    caller: Annotated[
        list[str],
        typer.Option(
            metavar="NODE",
            help="Node that may send: AE_TITLE@ADDRESS, AE_TITLE@NETWORK such as PACS@10.0.0.0/24, or AE_TITLE alone "
            "for any address. Repeat the option for more nodes; all others are rejected.",
        ),
    ],
    destination: Annotated[
        str, typer.Option(metavar="NODE", help="Node that results are sent to: AE_TITLE@HOST:PORT.")
    ],
    ae_title: Annotated[str, typer.Option(metavar="TITLE", help="AE title of this node.")] = "MASEG",
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on; 0.0.0.0 for all addresses of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="TCP port to listen on.")] = 11112,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    tta: TtaOption = False,
    keep_largest: KeepLargestOption = True,
    spacing_mm: SpacingOption = None,
    queue: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Number of files that may wait; more are rejected until there is room."),
    ] = 1000,
) -> None:
    """Run a DICOM node that segments the images it receives.

    It receives mammograms (C-STORE) and sends a DICOM Segmentation object for each to the destination. A file is
    acknowledged once it is on disk, so nothing is lost at a restart. Stop the node with Ctrl-C or SIGTERM: it finishes
    the current image first. Needs pip install -e '.[pacs]' in the clone.

    \b
    Example:
      maseg serve --spool /var/lib/maseg --host 0.0.0.0 \\
          --caller PACS@10.0.0.5 --destination PACS@10.0.0.5:104
    """
    try:
        from maseg_nnunet.serving.nodes import Caller, Node, ServerSettings
        from maseg_nnunet.serving.server import Server, segment_to_seg
    except ModuleNotFoundError as error:
        raise UsageError("maseg serve needs pynetdicom: in the clone, pip install -e '.[pacs]'") from error
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
    logger = logging.getLogger("maseg_nnunet")
    logger.setLevel(min(logging.INFO, logging.getLogger().level))
    stop = threading.Event()
    with (
        on_signals(lambda *_: stop.set(), signal.SIGINT, signal.SIGTERM),
        Spool(spool, limit=queue) as waiting,
        Server(settings, waiting, segment_to_seg(segmenter, spacing_mm)) as server,
    ):
        typer.echo(f"{settings.ae_title} listens on {settings.host}:{server.port}")
        stop.wait()
        typer.echo("stopping after the current image")
