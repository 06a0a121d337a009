"""A token server as distribution's registry wants one: RS256, its certificate in the header."""

import base64
import binascii
import datetime as dt
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.support.parts.endpoint import Asked, Reply, endpoint

ISSUER = "tests"
SERVICE = "registry.tests"


class TokenServer:
    """Hands out tokens to those who know a password, and counts who showed which."""

    def __init__(self, users: dict[str, str], seconds: int) -> None:
        self.users = users
        self._seconds = seconds
        self._lock = threading.Lock()
        self._logins: list[tuple[str, bool]] = []
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._certificate = _certificate(self._key)
        self.url = ""

    @property
    def pem(self) -> bytes:
        """The certificate that the registry is to trust."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def logins(self) -> list[tuple[str, bool]]:
        """The passwords that it was shown, and whether they were right, in their order."""
        with self._lock:
            return list(self._logins)

    def answer(self, asked: Asked) -> Reply:
        """The answer to a request for a token."""
        user, password = _basic(asked.headers.get("authorization", ""))
        right = bool(password) and self.users.get(user) == password
        with self._lock:
            self._logins.append((password, right))
        if not right:
            return Reply(b'{"details":"incorrect username or password"}', 401)
        token = self.token(user, asked.query.get("scope", []))
        document = {"token": token, "expires_in": self._seconds}
        return Reply(json.dumps(document).encode(), 200, {"Content-Type": "application/json"})

    def token(self, user: str, scopes: list[str]) -> str:
        """A token for these scopes."""
        now = int(time.time())
        access = [scope.split(":") for scope in " ".join(scopes).split()]
        certificate = self._certificate.public_bytes(serialization.Encoding.DER)
        header = {
            "typ": "JWT",
            "alg": "RS256",
            "x5c": [base64.b64encode(certificate).decode()],
        }
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "iat": now,
            "nbf": now - 10,
            "exp": now + self._seconds,
            "jti": uuid.uuid4().hex,
            "access": [
                {"type": kind, "name": name, "actions": actions.split(",")}
                for kind, name, actions in access
            ],
        }
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encoded(signature)}"


@contextmanager
def token_server(users: dict[str, str], seconds: int) -> Iterator[TokenServer]:
    """A token server that answers within this context; `users` may change meanwhile."""
    server = TokenServer(users, seconds)
    with endpoint(server.answer) as running:
        server.url = f"{running.url}/token"
        yield server


def _certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "token server of the tests")])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _basic(field: str) -> tuple[str, str]:
    scheme, _, value = field.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")
