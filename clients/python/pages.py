"""Walks the pages of the sign-in as a person with a browser does: fills the form that is there,
presses its button, and goes on until an application is reached or no form is left."""

from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import parse_qs, urljoin, urlsplit

import requests

import sandbox

_MOST_PAGES = 10


@dataclass
class Callback:
    """What an application is told at its reply URL."""

    url: str
    fields: dict
    posted: bool = False

    def deliver(self):
        """Goes there, as the browser would."""
        if self.posted:
            return requests.post(self.url, data=self.fields, timeout=30)
        return requests.get(self.url, timeout=30)


class _Form(HTMLParser):
    """The first form of a page."""

    def __init__(self, page):
        super().__init__()
        self.action, self.method, self.fields, self.buttons = None, "get", {}, []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form" and self.action is None:
            self.action, self._inside = attrs.get("action", ""), True
            self.method = attrs.get("method", "get").lower()
        elif self._inside and tag == "input" and attrs.get("name"):
            if attrs.get("type") not in ("checkbox", "submit"):
                self.fields[attrs["name"]] = attrs.get("value", "")
        elif self._inside and tag == "button" and attrs.get("name"):
            self.buttons.append((attrs["name"], attrs.get("value", "")))

    def handle_endtag(self, tag):
        if tag == "form":
            self._inside = False


def walk(url, user_code=None):
    """Opens an address, signs in, consents, and returns how the application is called back; None
    when the walk ends on a page that asks nothing more, as that of a device code does."""
    browser = requests.Session()
    answer = browser.get(url, allow_redirects=False)
    for _ in range(_MOST_PAGES):
        if answer.is_redirect:
            target = urljoin(answer.url, answer.headers["Location"])
            if not target.startswith(sandbox.ORIGIN + "/"):
                query = parse_qs(urlsplit(target).query)
                return Callback(target, {name: values[0] for name, values in query.items()})
            answer = browser.get(target, allow_redirects=False)
            continue
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text}"
        form = _Form(answer.text)
        if form.action is None:
            return None
        if not form.action.startswith("/") and not form.action.startswith(sandbox.ORIGIN):
            # response_mode=form_post: the page posts itself to the application.
            return Callback(form.action, form.fields, posted=True)
        answer = _press(browser, answer.url, form, user_code)
    raise AssertionError(f"the pages lead nowhere: {answer.text}")


def _press(browser, url, form, user_code):
    fields = dict(form.fields)
    if "login" in fields:
        fields["login"] = sandbox.USER
    if "passwd" in fields:
        fields["passwd"] = sandbox.PASSWORD
    for name in ("otc", "user_code"):
        if name in fields and not fields[name]:
            fields[name] = user_code
    yes = [
        button for button in form.buttons if button[1] in ("accept", "approve", "continue", "yes")
    ]
    fields.update(yes[:1] or form.buttons[:1])
    target = urljoin(url, form.action)
    if form.method == "post":
        return browser.post(target, data=fields, allow_redirects=False)
    return browser.get(target, params=fields, allow_redirects=False)
