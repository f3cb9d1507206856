"""A general OData client, which learns everything from $metadata:
python-odata on PyPI"""

import datetime
import unittest
import uuid

import requests
from odata import ODataService
from odata.exceptions import ODataError
from odata.flags import ODataServerFlags

import sandbox


def unique(word):
    """A name that no other test uses, so that none depends on another's rows."""
    return f"{word} {uuid.uuid4().hex[:12]}"


def service():
    credential = sandbox.credential()
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {credential.get_token(sandbox.SCOPE).token}"
    # The library learns a new row's key from the row itself.
    session.headers["Prefer"] = "return=representation"
    return ODataService(
        f"{sandbox.API}/",
        session=session,
        reflect_entities=True,
        quiet_progress=True,
        server_flags=ODataServerFlags(skip_null_properties=True),
    )


class PythonOdata(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Reading $metadata takes the library a while; the tests share what it learned.
        cls.service = service()
        cls.Account = cls.service.entities["accounts"]
        cls.Contact = cls.service.entities["contacts"]

    def account(self, name, **values):
        account = self.Account()
        account.name = name
        for column, value in values.items():
            setattr(account, column, value)
        self.service.save(account)
        return account

    def test_the_schema_is_understood(self):
        account = self.Account.__odata_schema__
        self.assertEqual(account["type"], "Microsoft.Dynamics.CRM.account")
        kinds = {name: type(prop).__name__ for name, prop in self.Account().__odata__.properties}
        self.assertEqual(kinds["accountid"], "UUIDProperty")
        self.assertEqual(kinds["name"], "StringProperty")
        self.assertEqual(kinds["numberofemployees"], "IntegerProperty")
        self.assertEqual(kinds["revenue"], "DecimalProperty")
        self.assertEqual(kinds["createdon"], "DatetimeProperty")
        self.assertEqual(kinds["donotphone"], "BooleanProperty")
        keys = [name for name, _ in self.Account().__odata__.primary_key_properties]
        self.assertEqual(keys, ["accountid"])
        self.assertIn("primarycontactid", dict(self.Account().__odata__.navigation_properties))
        self.assertIn("WhoAmI", self.service.functions)

    def test_a_row_is_created_read_updated_and_deleted(self):
        name = unique("Whole life")
        account = self.account(name, numberofemployees=7)
        self.assertTrue(uuid.UUID(account.accountid))
        read = self.service.query(self.Account).get(account.accountid)
        self.assertEqual((read.name, read.numberofemployees), (name, 7))
        self.assertIsInstance(read.createdon, datetime.datetime)
        read.numberofemployees = 8
        self.service.save(read)
        self.assertEqual(read.numberofemployees, 8)
        self.service.delete(read)
        found = self.service.query(self.Account).filter(self.Account.name == name).all()
        self.assertEqual(list(found), [])

    def test_queries_filter_order_cut_and_count(self):
        name, Account = unique("O'Brien"), self.Account
        for employees in (3, 1, 2):
            self.account(name, numberofemployees=employees)
        query = self.service.query(Account).filter(Account.name == name)
        ordered = query.order_by(Account.numberofemployees.desc())
        self.assertEqual([row.numberofemployees for row in ordered], [3, 2, 1])
        self.assertEqual([row.numberofemployees for row in ordered.limit(2)], [3, 2])
        some = query.filter((Account.numberofemployees > 2) | (Account.numberofemployees == 1))
        self.assertEqual(some.count(), 2)
        self.assertEqual(query.filter(Account.name.contains("o'brien")).count(), 3)
        self.assertEqual(query.filter(Account.name.lacks("brien")).count(), 0)
        today = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
        self.assertEqual(query.filter(Account.createdon > today).count(), 3)
        chosen = query.select(Account.name).limit(1).all()
        self.assertEqual([row["name"] for row in chosen], [name])

    def test_a_lookup_is_bound_and_expanded(self):
        name, Contact = unique("Bound"), self.Contact
        account = self.account(name)
        contact = Contact()
        contact.lastname = name
        contact.parentcustomerid_account = account
        self.service.save(contact)
        query = self.service.query(Contact).filter(Contact.lastname == name)
        read = query.expand(Contact.parentcustomerid_account).first()
        self.assertEqual(read.parentcustomerid_account.name, name)

    def test_a_function_is_called(self):
        # The library hands on the member `value` alone, which WhoAmI does not have.
        self.service.functions["WhoAmI"]()

    def test_an_error_is_understood(self):
        with self.assertRaises(ODataError) as caught:
            self.service.query(self.Account).raw({"$filter": "no_such_column eq 1"})
        self.assertEqual(caught.exception.status_code, "HTTP 400")
        self.assertEqual(caught.exception.code, "0x80060888")
        self.assertIn("'no_such_column'", caught.exception.message)


if __name__ == "__main__":
    unittest.main(verbosity=2)
