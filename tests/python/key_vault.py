"""Azure's own client uses the Key Vault of the tests, and expects everything of it that it expects
of Azure. Started by the test `azures_python_client_takes_it_for_a_key_vault`.
"""

import logging
import os
import socket
from datetime import datetime, timedelta, timezone

from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.identity import (
    ClientAssertionCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
)
from azure.keyvault.secrets import SecretClient

# What it logs of an error that we expect only confuses.
logging.disable(logging.ERROR)

ask_system = socket.getaddrinfo


def names_under_localhost_are_here(host, port, *args, **kwargs):
    if isinstance(host, str) and host.endswith(".localhost"):
        # It wants the port of the vault to be that of the resource, too.
        host, port = "127.0.0.1", int(os.environ["PORT"])
    return ask_system(host, port, *args, **kwargs)


socket.getaddrinfo = names_under_localhost_are_here

TENANT, SECRET = os.environ["TENANT"], os.environ["READER_SECRET"]
LOGIN = {"authority": os.environ["AUTHORITY"], "disable_instance_discovery": True}


def client(credential, **options):
    # One attempt: a mistake shall show at once.
    return SecretClient(os.environ["VAULT_URL"], credential, retry_total=0, **options)


def with_secret(application, secret=SECRET, **options):
    credential = ClientSecretCredential(TENANT, os.environ[application], secret, **LOGIN)
    return client(credential, **options)


def fails(kind, act, status=None, code=None, inner=None):
    try:
        act()
    except kind as error:
        assert status is None or error.status_code == status, error
        assert code is None or error.error.code == code, error
        assert inner is None or error.error.innererror["code"] == inner, error
        return
    raise AssertionError(f"{kind.__name__} was expected")


officer = with_secret("OFFICER")

# Write, read, write again.
first = officer.set_secret("judged", "fake-secret-1", content_type="text/plain", tags={"a": "b"})
second = officer.set_secret("judged", "fake-secret-2")
assert first.properties.version != second.properties.version
now = officer.get_secret("judged")
assert (now.name, now.value, now.properties.enabled) == ("judged", "fake-secret-2", True)
assert now.properties.vault_url == os.environ["VAULT_URL"]
assert now.properties.version == second.properties.version
assert abs(now.properties.updated_on - datetime.now(timezone.utc)) < timedelta(minutes=5)
assert now.properties.recovery_level == "Recoverable+Purgeable"
old = officer.get_secret("judged", first.properties.version)
assert (old.value, old.properties.content_type) == ("fake-secret-1", "text/plain")
assert old.properties.tags == {"a": "b"}
versions = {entry.version for entry in officer.list_properties_of_secret_versions("judged")}
assert versions == {first.properties.version, second.properties.version}

# Attributes. A vault gives away what has expired, and leaves the judgement to who asks.
officer.update_secret_properties("judged", enabled=False)
fails(HttpResponseError, lambda: officer.get_secret("judged"), 403, "Forbidden", "SecretDisabled")
past, future = datetime(2001, 1, 1, tzinfo=timezone.utc), datetime(2101, 1, 1, tzinfo=timezone.utc)
officer.update_secret_properties("judged", enabled=True, not_before=future, expires_on=past)
properties = officer.get_secret("judged").properties
assert (properties.not_before, properties.expires_on) == (future, past)

# Lists come in pages.
names = {f"judged-{number:02}" for number in range(30)}
for name in names:
    officer.set_secret(name, "fake-secret")
listed = {entry.name for entry in officer.list_properties_of_secrets()}
assert listed >= names | {"judged", "flash-01"}, listed

# Deletion, which can be undone.
deleted = officer.begin_delete_secret("judged").result()
assert deleted.name == "judged" and deleted.recovery_id and deleted.deleted_date
assert deleted.scheduled_purge_date - deleted.deleted_date == timedelta(days=90)
fails(ResourceNotFoundError, lambda: officer.get_secret("judged"), 404, "SecretNotFound")
fails(ResourceExistsError, lambda: officer.set_secret("judged", "fake-secret"), 409, "Conflict")
assert officer.get_deleted_secret("judged").name == "judged"
assert [entry.name for entry in officer.list_deleted_secrets()] == ["judged"]
assert officer.begin_recover_deleted_secret("judged").result().name == "judged"
assert officer.get_secret("judged").value == "fake-secret-2"
officer.begin_delete_secret("judged").wait()
officer.purge_deleted_secret("judged")
fails(ResourceNotFoundError, lambda: officer.get_deleted_secret("judged"), 404)
officer.set_secret("judged", "fake-secret-3")

# Who may do what.
reader = with_secret("READER")
assert reader.get_secret("flash-01").value == "fake-secret-flash-01"
write = lambda: reader.set_secret("flash-01", "fake-secret")
fails(HttpResponseError, write, 403, "Forbidden", "ForbiddenByRbac")
wrong = with_secret("READER", secret="fake-secret-wrong")
fails(ClientAuthenticationError, lambda: wrong.get_secret("flash-01"))

# Other ways to log in, and other versions of the API.
assertion = lambda: os.environ["ASSERTION"]
pod = client(ClientAssertionCredential(TENANT, os.environ["READER"], assertion, **LOGIN))
assert pod.get_secret("flash-01").value == "fake-secret-flash-01"
machine = client(ManagedIdentityCredential())
assert machine.get_secret("flash-01").value == "fake-secret-flash-01"
other = client(ManagedIdentityCredential(client_id=os.environ["OFFICER"]))
fails(ClientAuthenticationError, lambda: other.get_secret("flash-01"))
assert with_secret("READER", api_version="7.4").get_secret("flash-01").value
unheard = with_secret("READER", api_version="1.0")
fails(HttpResponseError, lambda: unheard.get_secret("flash-01"), 400, "BadParameter")

print("it is a Key Vault")
