"""Microsoft's credentials for its Python libraries: azure-identity on PyPI"""

import os
import time
import unittest
from unittest.mock import patch
from urllib.parse import urlencode

import jwt
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    AuthorizationCodeCredential,
    CertificateCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
    DeviceCodeCredential,
    EnvironmentCredential,
)

import pages
import sandbox

# The sandbox's name is none of Microsoft's, whom the library would ask about it.
OWN = {"authority": sandbox.ORIGIN, "disable_instance_discovery": True}


class AzureIdentity(unittest.TestCase):
    def good(self, token):
        self.assertGreater(token.expires_on, 0)
        answer = requests.get(
            f"{sandbox.API}/WhoAmI",
            headers={"Authorization": f"Bearer {token.token}"},
            timeout=30,
        )
        self.assertEqual(answer.status_code, 200, answer.text)
        return answer.json()

    def test_an_application_signs_in_by_its_secret(self):
        credential = ClientSecretCredential(
            sandbox.TENANT, sandbox.CLIENT_ID, sandbox.CLIENT_SECRET, **OWN
        )
        self.good(credential.get_token(sandbox.SCOPE))

    def test_an_application_signs_in_by_its_certificate(self):
        credential = CertificateCredential(
            sandbox.TENANT, sandbox.CLIENT_ID, sandbox.KEY_AND_CERTIFICATE_FILE, **OWN
        )
        self.good(credential.get_token(sandbox.SCOPE))

    def test_an_application_signs_in_by_its_certificate_and_sends_it_along(self):
        credential = CertificateCredential(
            sandbox.TENANT,
            sandbox.CLIENT_ID,
            sandbox.KEY_AND_CERTIFICATE_FILE,
            send_certificate_chain=True,
            **OWN,
        )
        self.good(credential.get_token(sandbox.SCOPE))

    def test_an_assertion_that_nobody_signed_is_refused(self):
        credential = ClientAssertionCredential(
            sandbox.TENANT, sandbox.CLIENT_ID, lambda: "a.b.c", **OWN
        )
        with self.assertRaisesRegex(ClientAuthenticationError, r"AADSTS\d+: "):
            credential.get_token(sandbox.SCOPE)

    def test_a_token_of_an_outside_issuer_stands_for_a_secret(self):
        now = int(time.time())
        claims = {
            "iss": "https://issuer.example",
            "sub": "repo:contoso/line:ref:refs/heads/main",
            "aud": "api://AzureADTokenExchange",
            "iat": now,
            "exp": now + 300,
        }
        credential = ClientAssertionCredential(
            sandbox.TENANT,
            sandbox.CLIENT_ID,
            lambda: jwt.encode(claims, sandbox.PRIVATE_KEY, algorithm="RS256"),
            **OWN,
        )
        self.good(credential.get_token(sandbox.SCOPE))

    def test_the_environment_names_everything(self):
        environment = {
            "AZURE_TENANT_ID": sandbox.TENANT,
            "AZURE_CLIENT_ID": sandbox.CLIENT_ID,
            "AZURE_CLIENT_SECRET": sandbox.CLIENT_SECRET,
            "AZURE_AUTHORITY_HOST": sandbox.ORIGIN,
        }
        with patch.dict(os.environ, environment):
            credential = EnvironmentCredential(disable_instance_discovery=True)
        self.good(credential.get_token(sandbox.SCOPE))

    def test_a_wrong_secret_is_refused(self):
        credential = ClientSecretCredential(sandbox.TENANT, sandbox.CLIENT_ID, "wrong", **OWN)
        with self.assertRaisesRegex(ClientAuthenticationError, "AADSTS7000215: "):
            credential.get_token(sandbox.SCOPE)

    def test_a_person_signs_in_and_the_code_is_redeemed_and_renewed(self):
        # The credential redeems a code that the application got by itself, and without PKCE.
        asked = {
            "client_id": sandbox.CLIENT_ID,
            "response_type": "code",
            "redirect_uri": sandbox.REDIRECT_URI,
            "scope": f"{sandbox.SCOPE} offline_access openid",
            "state": "s",
        }
        callback = pages.walk(f"{sandbox.AUTHORITY}/oauth2/v2.0/authorize?{urlencode(asked)}")
        credential = AuthorizationCodeCredential(
            sandbox.TENANT,
            sandbox.CLIENT_ID,
            callback.fields["code"],
            sandbox.REDIRECT_URI,
            client_secret=sandbox.CLIENT_SECRET,
            **OWN,
        )
        self.good(credential.get_token(sandbox.SCOPE))
        # Claims make the credential look past its cache; only the refresh token is left to it.
        self.good(credential.get_token(sandbox.SCOPE, claims='{"access_token":{}}'))

    def test_a_person_signs_in_on_another_device(self):
        def prompt(uri, code, _expires):
            self.assertIsNone(pages.walk(uri, code))

        credential = DeviceCodeCredential(
            sandbox.PUBLIC_CLIENT_ID, tenant_id=sandbox.TENANT, prompt_callback=prompt, **OWN
        )
        record = credential.authenticate(scopes=[sandbox.SCOPE])
        self.assertEqual(record.username, sandbox.USER)
        self.assertEqual(record.tenant_id, sandbox.TENANT)
        self.good(credential.get_token(sandbox.SCOPE))


if __name__ == "__main__":
    unittest.main(verbosity=2)
