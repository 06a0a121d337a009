"""Certificates that are renewed while the process serves."""

import ssl
from contextlib import AsyncExitStack
from functools import partial

import structlog

from cacheproxy.bootstrap.listening import load_certificates
from cacheproxy.bootstrap.watching import Watched
from cacheproxy.domain.errors import StartError
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.ports import Observer
from cacheproxy.settings.model import TlsSettings


def renew_certificates(
    stack: AsyncExitStack, context: ssl.SSLContext, settings: TlsSettings, observer: Observer
) -> None:
    """Read them again whenever their files change, until the stack is left.

    Args:
        stack: of the process.
        context: takes the certificates.
        settings: name the files.
        observer: receives failures of the watching task.
    """
    log = structlog.get_logger("cacheproxy")
    files = [settings.certificate, settings.key, settings.client_ca]
    watched = Watched([file for file in files if file is not None])

    def renew() -> None:
        try:
            load_certificates(context, settings)
        except StartError as error:
            log.error("certificates not renewed", error=str(error))  # noqa: TRY400  # a file is wrong
        else:
            log.info("certificates renewed", certificate=str(settings.certificate))

    tasks = Tasks(observer.observe)
    stack.push_async_callback(tasks.close)
    tasks.keep_running(partial(watched.watch, renew), "certificates")
