"""Opening ports, and closing them after what is under way."""

import ssl
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web

from cacheproxy.domain.errors import StartError
from cacheproxy.settings.addresses import Address
from cacheproxy.settings.model import TlsSettings

_BACKLOG = 1024


async def listen(
    stack: AsyncExitStack,
    app: web.Application,
    address: Address,
    *,
    tls: ssl.SSLContext | None = None,
    **options: Any,  # noqa: ANN401  # aiohttp's own
) -> tuple[str, int]:
    """Serve an application; leaving the stack stops listening, then waits for its requests.

    Args:
        stack: owns what is opened.
        app: to serve.
        address: to listen on.
        tls: None for plain HTTP.
        options: of aiohttp's server.

    Raises:
        StartError: the address cannot be had.
    """
    # handler_cancellation: a client that leaves frees what its request holds at once. The
    # downloads that it started or follows are tasks of the core, and go on.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, **options)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(
        runner, address.host or None, address.port, ssl_context=tls, backlog=_BACKLOG
    )
    try:
        await site.start()
    except OSError as error:
        raise StartError(
            f"cannot listen on {address}: {error.strerror or error}; "
            "is another process using that port?"
        ) from error
    host, port = runner.addresses[0][:2]
    return host, port


def server_tls(settings: TlsSettings) -> ssl.SSLContext:
    """How to speak TLS to clients.

    Raises:
        StartError: a file is missing or is not what it should be.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.certificate, settings.key)
        if settings.client_ca is not None:
            context.load_verify_locations(settings.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"server.tls: the certificates cannot be used: {error}") from error
    return context
