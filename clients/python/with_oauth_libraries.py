"""Libraries that know OAuth and nothing of Microsoft, at both generations of the endpoints:
requests-oauthlib on PyPI and Authlib on PyPI"""

import os
import unittest
from urllib.parse import quote_plus

import requests
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error
from requests_oauthlib import OAuth2Session

import pages
import sandbox

V1 = f"{sandbox.AUTHORITY}/oauth2"
V2 = f"{sandbox.AUTHORITY}/oauth2/v2.0"
PERMISSIONS = ["openid", "offline_access", sandbox.SCOPE]


class Libraries(unittest.TestCase):
    def setUp(self):
        # The scope of the answer lists what was granted, in Entra's words and order.
        os.environ["OAUTHLIB_RELAX_TOKEN_SCOPE"] = "1"
        os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"

    def works(self, session):
        answer = session.get(f"{sandbox.API}/WhoAmI", timeout=30)
        self.assertEqual(answer.status_code, 200, answer.text)

    def test_requests_oauthlib_signs_an_application_in_at_v1_which_answers_in_strings(self):
        session = OAuth2Session(client=BackendApplicationClient(sandbox.CLIENT_ID))
        token = session.fetch_token(
            f"{V1}/token",
            client_id=sandbox.CLIENT_ID,
            client_secret=sandbox.CLIENT_SECRET,
            include_client_id=True,
            resource=sandbox.ORIGIN,
        )
        self.assertEqual(token["resource"].rstrip("/"), sandbox.ORIGIN)
        self.assertIsInstance(token["not_before"], str)
        self.works(session)

    def test_requests_oauthlib_signs_an_application_in_by_basic(self):
        session = OAuth2Session(
            client=BackendApplicationClient(sandbox.CLIENT_ID, scope=[sandbox.SCOPE])
        )
        # Both halves are form-encoded first (RFC 6749, 2.3.1); this secret shows whether.
        halves = (quote_plus(sandbox.CLIENT_ID), quote_plus(sandbox.CLIENT_SECRET))
        session.fetch_token(f"{V2}/token", auth=requests.auth.HTTPBasicAuth(*halves))
        self.works(session)

    def test_requests_oauthlib_signs_a_person_in_at_v1_and_renews(self):
        session = OAuth2Session(sandbox.CLIENT_ID, redirect_uri=sandbox.REDIRECT_URI)
        url, _state = session.authorization_url(f"{V1}/authorize", resource=sandbox.ORIGIN)
        first = session.fetch_token(
            f"{V1}/token",
            authorization_response=pages.walk(url).url,
            client_secret=sandbox.CLIENT_SECRET,
            include_client_id=True,
        )
        self.assertEqual(first["scope"], ["user_impersonation"])
        self.works(session)
        own = {"client_id": sandbox.CLIENT_ID, "client_secret": sandbox.CLIENT_SECRET}
        second = session.refresh_token(f"{V1}/token", **own)
        self.assertNotEqual(second["refresh_token"], first["refresh_token"])
        self.works(session)
        # The old refresh token is good as well: a lost answer costs nobody a consent.
        session.refresh_token(f"{V1}/token", refresh_token=first["refresh_token"], **own)
        self.works(session)

    def test_requests_oauthlib_signs_a_person_in_at_v2_with_pkce(self):
        session = OAuth2Session(
            sandbox.CLIENT_ID, redirect_uri=sandbox.REDIRECT_URI, scope=PERMISSIONS, pkce="S256"
        )
        url, _state = session.authorization_url(f"{V2}/authorize")
        token = session.fetch_token(
            f"{V2}/token",
            authorization_response=pages.walk(url).url,
            client_secret=sandbox.CLIENT_SECRET,
            include_client_id=True,
        )
        self.assertIsInstance(token["expires_in"], int)
        self.works(session)

    def test_requests_oauthlib_hears_of_a_wrong_secret(self):
        session = OAuth2Session(client=BackendApplicationClient(sandbox.CLIENT_ID))
        with self.assertRaises(OAuth2Error) as caught:
            session.fetch_token(
                f"{V1}/token",
                client_id=sandbox.CLIENT_ID,
                client_secret="wrong",
                include_client_id=True,
                resource=sandbox.ORIGIN,
            )
        self.assertEqual(caught.exception.error, "invalid_client")
        self.assertIn("AADSTS7000215: ", caught.exception.description)

    def test_authlib_signs_an_application_in_by_either_way_to_send_a_secret(self):
        # Authlib does not encode the halves of Basic as RFC 6749 (2.3.1) has it: the secret that
        # needs it may travel in the form only.
        ways = {
            "client_secret_basic": sandbox.PLAIN_SECRET,
            "client_secret_post": sandbox.CLIENT_SECRET,
        }
        for method, secret in ways.items():
            with self.subTest(method):
                session = AuthlibSession(
                    sandbox.CLIENT_ID,
                    secret,
                    scope=sandbox.SCOPE,
                    token_endpoint_auth_method=method,
                )
                session.fetch_token(f"{V2}/token", grant_type="client_credentials")
                self.works(session)

    def test_authlib_signs_a_person_in_with_pkce_and_renews(self):
        session = AuthlibSession(
            sandbox.CLIENT_ID,
            sandbox.CLIENT_SECRET,
            scope=" ".join(PERMISSIONS),
            redirect_uri=sandbox.REDIRECT_URI,
            code_challenge_method="S256",
            token_endpoint_auth_method="client_secret_post",
        )
        verifier = "0123456789-0123456789-0123456789-0123456789"
        url, state = session.create_authorization_url(f"{V2}/authorize", code_verifier=verifier)
        session.fetch_token(
            f"{V2}/token",
            authorization_response=pages.walk(url).url,
            code_verifier=verifier,
            state=state,
        )
        self.works(session)
        session.refresh_token(f"{V2}/token")
        self.works(session)


if __name__ == "__main__":
    unittest.main(verbosity=2)
