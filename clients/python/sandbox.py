"""The sandbox that the tests talk to, as described by the file that SANDBOX names; the organization
itself, or by way of the gateway, when the file describes one."""

import json
import os
import pathlib

_FILE = os.environ.get("SANDBOX")
if not _FILE:
    raise SystemExit("SANDBOX must name the file that describes the sandbox: see clients/README.md")

_DESCRIBED = json.loads(pathlib.Path(_FILE).read_text(encoding="utf-8"))

ORIGIN = _DESCRIBED["origin"]
TENANT = _DESCRIBED["tenant"]
AUTHORITY = f"{ORIGIN}/{TENANT}"
# Where the organization is called: at the gateway, its address holds the account's name.
_GATEWAY = _DESCRIBED.get("gateway")
ORGANIZATION = _GATEWAY["organization"] if _GATEWAY else ORIGIN
API = f"{ORGANIZATION}/api/data/v9.2"
# Every permission that was granted, the one form that an application may ask for by itself.
SCOPE = f"{ORIGIN}/.default"

CLIENT_ID = _DESCRIBED["confidential"]["client_id"]
CLIENT_SECRET = _DESCRIBED["confidential"]["client_secret"]
# A second secret, of letters only.
PLAIN_SECRET = _DESCRIBED["confidential"]["plain_secret"]
REDIRECT_URI = _DESCRIBED["confidential"]["redirect_uri"]
CERTIFICATE = pathlib.Path(_DESCRIBED["confidential"]["certificate_file"]).read_text(
    encoding="utf-8"
)
PRIVATE_KEY = pathlib.Path(_DESCRIBED["confidential"]["key_file"]).read_text(encoding="utf-8")
# Key and certificate in one file, as azure-identity wants them.
KEY_AND_CERTIFICATE_FILE = _DESCRIBED["confidential"]["key_and_certificate_file"]

# At home in the same tenant, and open to users of others; its secret is the plain one.
MULTI_TENANT_CLIENT_ID = _DESCRIBED["multi_tenant"]["client_id"]

PUBLIC_CLIENT_ID = _DESCRIBED["public"]["client_id"]
PUBLIC_REDIRECT_URI = _DESCRIBED["public"]["redirect_uri"]

USER = _DESCRIBED["user"]["upn"]
PASSWORD = _DESCRIBED["user"]["password"]


class _Key:
    """An API key of the gateway's in place of a token: what azure-identity calls a credential."""

    def get_token(self, *scopes, **options):
        from azure.core.credentials import AccessToken

        # It does not expire; clients want a time all the same.
        return AccessToken(_GATEWAY["api_key"], 2**31 - 1)


def credential():
    """What opens the organization: a key at the gateway, a secret at the sandbox."""
    if _GATEWAY:
        return _Key()
    from azure.identity import ClientSecretCredential

    return ClientSecretCredential(
        TENANT,
        CLIENT_ID,
        CLIENT_SECRET,
        authority=ORIGIN,
        disable_instance_discovery=True,
    )
