"""Microsoft's own library for Python: msal on PyPI"""

import threading
import unittest
import webbrowser
from urllib.parse import urlsplit

import msal
import requests

import pages
import sandbox

SCOPES = [sandbox.SCOPE]


def confidential(credential=sandbox.CLIENT_SECRET, authority=sandbox.AUTHORITY):
    return msal.ConfidentialClientApplication(
        sandbox.CLIENT_ID,
        client_credential=credential,
        authority=authority,
        # The sandbox's name is none of Microsoft's, whom MSAL would ask about it.
        instance_discovery=False,
    )


class Instead(requests.adapters.HTTPAdapter):
    """Takes the sandbox for a host of Microsoft's, as a line in /etc/hosts would."""

    def send(self, request, **more):
        host = urlsplit(request.url).netloc
        request.headers["Host"] = host
        request.url = request.url.replace(f"https://{host}", sandbox.ORIGIN, 1)
        return super().send(request, **more)


def public():
    return msal.PublicClientApplication(
        sandbox.PUBLIC_CLIENT_ID, authority=sandbox.AUTHORITY, instance_discovery=False
    )


def sign_in(app, redirect_uri, **more):
    """The authorization code flow with PKCE, state and nonce, which MSAL makes and checks."""
    flow = app.initiate_auth_code_flow(SCOPES, redirect_uri=redirect_uri, **more)
    return app.acquire_token_by_auth_code_flow(flow, pages.walk(flow["auth_uri"]).fields)


class Browser(webbrowser.BaseBrowser):
    """Opened by MSAL, which listens at a port of its own for where the walk ends."""

    def open(self, url, new=0, autoraise=True):
        threading.Thread(target=lambda: pages.walk(url).deliver()).start()
        return True


class Msal(unittest.TestCase):
    def good(self, result):
        self.assertIn("access_token", result, result)
        self.assertIsInstance(result["expires_in"], int)
        answer = requests.get(
            f"{sandbox.API}/WhoAmI",
            headers={"Authorization": f"Bearer {result['access_token']}"},
            timeout=30,
        )
        self.assertEqual(answer.status_code, 200, answer.text)
        return result

    def refused(self, result, error, code):
        self.assertEqual(result.get("error"), error, result)
        self.assertIn(f"AADSTS{code}: ", result["error_description"])
        self.assertEqual(result["error_codes"], [code])
        for member in ("timestamp", "trace_id", "correlation_id"):
            self.assertIn(member, result)

    def test_an_application_signs_in_by_its_secret(self):
        app = confidential()
        result = self.good(app.acquire_token_for_client(SCOPES))
        self.assertNotIn("refresh_token", result)
        again = app.acquire_token_for_client(SCOPES)
        self.assertEqual(again["token_source"], "cache")

    def test_an_application_signs_in_by_its_certificate(self):
        app = confidential(
            {"private_key": sandbox.PRIVATE_KEY, "public_certificate": sandbox.CERTIFICATE}
        )
        self.good(app.acquire_token_for_client(SCOPES))

    def test_an_application_signs_in_by_the_old_thumbprint_of_its_certificate(self):
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        certificate = x509.load_pem_x509_certificate(sandbox.CERTIFICATE.encode())
        app = confidential(
            {
                "private_key": sandbox.PRIVATE_KEY,
                "thumbprint": certificate.fingerprint(hashes.SHA1()).hex(),
            }
        )
        self.good(app.acquire_token_for_client(SCOPES))

    def test_a_certificate_that_nobody_registered_is_refused(self):
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        other = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        app = confidential(
            {"private_key": other.decode(), "public_certificate": sandbox.CERTIFICATE}
        )
        self.refused(app.acquire_token_for_client(SCOPES), "invalid_client", 700027)

    def test_a_wrong_secret_is_refused(self):
        result = confidential("wrong").acquire_token_for_client(SCOPES)
        self.refused(result, "invalid_client", 7000215)

    def test_microsoft_s_own_host_names_need_no_setting_of_msal(self):
        session = requests.Session()
        session.mount("https://", Instead())
        app = msal.ConfidentialClientApplication(
            sandbox.CLIENT_ID,
            client_credential=sandbox.CLIENT_SECRET,
            authority=f"https://login.microsoftonline.com/{sandbox.TENANT}",
            http_client=session,
        )
        organization = "https://contoso.crm.dynamics.com"
        result = app.acquire_token_for_client([f"{organization}/.default"])
        self.assertIn("access_token", result, result)
        bearer = {"Authorization": f"Bearer {result['access_token']}"}
        answer = session.get(f"{organization}/api/data/v9.2/WhoAmI", headers=bearer, timeout=30)
        self.assertEqual(answer.status_code, 200, answer.text)
        # A host that nobody knows is looked up among those that Microsoft names.
        with self.assertRaisesRegex(ValueError, "invalid_instance"):
            msal.ConfidentialClientApplication(
                sandbox.CLIENT_ID,
                client_credential=sandbox.CLIENT_SECRET,
                authority="https://login.nowhere.example/common",
                http_client=session,
            ).acquire_token_for_client([f"{organization}/.default"])

    def test_an_unknown_tenant_is_refused(self):
        with self.assertRaisesRegex(
            ValueError, "[Uu]nable to get authority configuration|AADSTS90002|invalid_tenant"
        ):
            confidential(authority=f"{sandbox.ORIGIN}/nowhere.example").acquire_token_for_client(
                SCOPES
            )

    def test_a_resource_that_is_not_there_is_refused(self):
        result = confidential().acquire_token_for_client(
            ["https://nowhere.crm.dynamics.com/.default"]
        )
        self.refused(result, "invalid_resource", 500011)

    def test_a_person_signs_in_and_the_token_is_renewed_silently(self):
        app = confidential()
        result = self.good(sign_in(app, sandbox.REDIRECT_URI))
        self.assertEqual(result["id_token_claims"]["preferred_username"], sandbox.USER)
        account = app.get_accounts(username=sandbox.USER)[0]
        # client_info says who the account is: object and tenant.
        self.assertTrue(account["home_account_id"].endswith("." + sandbox.TENANT), account)
        self.assertEqual(account["realm"], sandbox.TENANT)
        cached = app.acquire_token_silent(SCOPES, account)
        self.assertEqual(cached["token_source"], "cache")
        renewed = self.good(app.acquire_token_silent(SCOPES, account, force_refresh=True))
        self.assertEqual(renewed["token_source"], "identity_provider")

    def test_a_person_signs_in_by_form_post(self):
        self.good(sign_in(confidential(), sandbox.REDIRECT_URI, response_mode="form_post"))

    def test_a_person_signs_in_to_a_public_client(self):
        self.good(sign_in(public(), f"{sandbox.PUBLIC_REDIRECT_URI}:51234"))

    def test_a_person_signs_in_by_the_browser_that_msal_opens(self):
        webbrowser.register("walk", None, Browser("walk"), preferred=True)
        result = self.good(public().acquire_token_interactive(SCOPES, timeout=30))
        self.assertEqual(result["id_token_claims"]["tid"], sandbox.TENANT)

    def test_a_person_signs_in_wherever_their_work_account_is_at_home(self):
        app = msal.ConfidentialClientApplication(
            sandbox.MULTI_TENANT_CLIENT_ID,
            client_credential=sandbox.PLAIN_SECRET,
            authority=f"{sandbox.ORIGIN}/organizations",
            instance_discovery=False,
        )
        result = self.good(sign_in(app, sandbox.REDIRECT_URI))
        self.assertEqual(result["id_token_claims"]["tid"], sandbox.TENANT)

    def test_an_application_alone_has_no_business_at_common(self):
        app = confidential(authority=f"{sandbox.ORIGIN}/common")
        result = app.acquire_token_for_client(SCOPES)
        self.assertIn("AADSTS9001023: ", result["error_description"])

    def test_a_person_hints_at_who_signs_in_and_consents_again(self):
        result = sign_in(
            confidential(), sandbox.REDIRECT_URI, prompt="consent", login_hint=sandbox.USER
        )
        self.good(result)

    def test_a_client_that_understands_claims_challenges_signs_in(self):
        app = msal.ConfidentialClientApplication(
            sandbox.CLIENT_ID,
            client_credential=sandbox.CLIENT_SECRET,
            authority=sandbox.AUTHORITY,
            instance_discovery=False,
            client_capabilities=["cp1"],
        )
        self.good(sign_in(app, sandbox.REDIRECT_URI))
        claims = '{"access_token":{"nbf":{"essential":true,"value":"1600000000"}}}'
        self.good(app.acquire_token_for_client(SCOPES, claims_challenge=claims))

    def test_a_person_signs_in_on_another_device(self):
        app = public()
        flow = app.initiate_device_flow(SCOPES)
        self.assertIn("user_code", flow, flow)
        self.assertEqual(flow["expires_in"], 900)
        self.assertIn(flow["user_code"], flow["message"])
        early = app.acquire_token_by_device_flow(flow, exit_condition=lambda _: True)
        self.assertEqual(early.get("error"), "authorization_pending", early)
        self.assertIsNone(pages.walk(flow["verification_uri"], flow["user_code"]))
        result = self.good(app.acquire_token_by_device_flow(flow))
        self.assertIn("refresh_token", result)


if __name__ == "__main__":
    unittest.main(verbosity=2)
