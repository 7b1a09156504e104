"""What goes wrong between us and the broker, in words for whoever set RELEVE_BROKER_URL.

No text of RabbitMQ's is passed on whole: it may name a user.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from amqp.exceptions import AccessRefused, AMQPError, NotAllowed, NotFound, PreconditionFailed
from celery import Celery
from kombu import Connection
from kombu.exceptions import OperationalError
from redis import RedisError

from worker.errors import StoreUnavailable


@contextmanager
def broker_errors() -> Iterator[None]:
    """Turn what kombu, py-amqp and redis-py raise into StoreUnavailable; also a decorator.

    kombu passes on redis-py's own errors where a connection that it had is cut.
    """
    try:
        yield
    except (OperationalError, AMQPError, RedisError, OSError) as error:
        raise StoreUnavailable(_in_words(error)) from None


def refuse_wrong_broker(app: Celery) -> None:
    """Raises StoreUnavailable where RabbitMQ does answer but what we were told of it is wrong.

    Celery would say so beneath a traceback, or try again for ever.  One that is down is waited for.
    """
    connection: Connection = app.connection_for_write()
    if connection.transport.driver_type != "amqp":
        return  # Redis, which whoever builds the runtime looks at
    try:
        with connection:
            connection.connect()
    except (AccessRefused, NotAllowed, OSError) as error:
        if isinstance(error, AMQPError) or _untrusted(error):
            raise StoreUnavailable(_in_words(error)) from None


def _in_words(error: Exception) -> str:
    if isinstance(error, AccessRefused):
        return "RabbitMQ refuses this user: check user, password and rights in RELEVE_BROKER_URL"
    if isinstance(error, NotAllowed | NotFound):
        return "RabbitMQ has no such virtual host for this user: check the end of RELEVE_BROKER_URL"
    if isinstance(error, PreconditionFailed):
        return (
            "RabbitMQ has a queue of our name but of another kind: delete it, or give Relève a virtual host of its own"
        )
    if _untrusted(error):
        return (
            "the broker's certificate is not one of a known authority, or not for this host: set ssl_ca_certs to the "
            "CA's file in RELEVE_BROKER_URL"
        )
    return "the broker can't be reached: start it, or set RELEVE_BROKER_URL (or RELEVE_REDIS_URL) right"


def _untrusted(error: Exception) -> bool:
    return "CERTIFICATE_VERIFY_FAILED" in str(error)
