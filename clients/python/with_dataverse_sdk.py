"""Microsoft's Dataverse SDK for Python: PowerPlatform-Dataverse-Client on PyPI"""

import tempfile
import unittest
import uuid
from contextlib import contextmanager

from PowerPlatform.Dataverse.client import DataverseClient
from PowerPlatform.Dataverse.core.config import OperationContext
from PowerPlatform.Dataverse.core.errors import HttpError, MetadataError
from PowerPlatform.Dataverse.models.filters import col
from PowerPlatform.Dataverse.models.query_builder import ExpandOption
from PowerPlatform.Dataverse.models.upsert import UpsertItem

import sandbox

NOWHERE = "00000000-0000-0000-0000-000000000001"


def unique(word):
    """A name that no other test uses, so that none depends on another's rows."""
    return f"{word} {uuid.uuid4().hex[:12]}"


class Sdk(unittest.TestCase):
    def setUp(self):
        context = OperationContext(user_agent_context="app=rehearsal/1.0")
        self.client = DataverseClient(
            sandbox.ORGANIZATION, sandbox.credential(), context=context
        ).__enter__()
        self.addCleanup(self.client.close)
        self.records = self.client.records

    @contextmanager
    def refused(self, status, code):
        """Expects a refusal of Dataverse's."""
        with self.assertRaises(HttpError) as caught:
            yield caught
        error = caught.exception
        self.assertEqual(error.status_code, status, error)
        self.assertEqual(error.details.get("service_error_code"), code, error)
        self.assertTrue(error.details.get("service_request_id"), "a request id")


class Records(Sdk):
    def test_a_row_is_created_read_updated_and_deleted(self):
        name = unique("Whole life")
        row = self.records.create("account", {"Name": name, "numberofemployees": 7})
        read = self.records.retrieve("account", row, select=["name", "numberofemployees"])
        self.assertEqual((read["name"], read["numberofemployees"]), (name, 7))
        self.assertRegex(read.etag, r'^W/"\d+"$')
        self.records.update("account", row, {"numberofemployees": 8, "telephone1": "555-0100"})
        again = self.records.retrieve("account", row, select=["name", "numberofemployees"])
        self.assertEqual((again["name"], again["numberofemployees"]), (name, 8))
        self.assertNotEqual(again.etag, read.etag)
        self.records.delete("account", row)
        self.assertIsNone(self.records.retrieve("account", row))

    def test_a_lookup_is_bound_and_expanded(self):
        name = unique("Bound")
        account = self.records.create("account", {"name": name})
        contact = self.records.create(
            "contact",
            {"lastname": name, "parentcustomerid_account@odata.bind": f"/accounts({account})"},
        )
        read = self.records.retrieve(
            "contact",
            contact,
            select=["lastname", "_parentcustomerid_value"],
            expand=["parentcustomerid_account($select=name)"],
        )
        self.assertEqual(read["_parentcustomerid_value"], account)
        self.assertEqual(read["parentcustomerid_account"]["name"], name)

    def test_a_choice_is_written_by_its_label_and_read_with_it(self):
        # The SDK looks the label up in the metadata before it writes.
        account = self.records.create(
            "account", {"name": unique("Choice"), "preferredcontactmethodcode": "Phone"}
        )
        read = self.records.retrieve(
            "account",
            account,
            select=["preferredcontactmethodcode"],
            include_annotations="OData.Community.Display.V1.FormattedValue",
        )
        self.assertEqual(read["preferredcontactmethodcode"], 3)
        label = "preferredcontactmethodcode@OData.Community.Display.V1.FormattedValue"
        self.assertEqual(read[label], "Phone")

    def test_every_annotation_comes_when_all_are_asked_for(self):
        name = unique("Annotated")
        account = self.records.create("account", {"name": name})
        contact = self.records.create(
            "contact",
            {"lastname": name, "parentcustomerid_account@odata.bind": f"/accounts({account})"},
        )
        read = self.records.retrieve("contact", contact, include_annotations="*")
        lookup = "_parentcustomerid_value@"
        self.assertEqual(read[lookup + "Microsoft.Dynamics.CRM.lookuplogicalname"], "account")
        self.assertEqual(
            read[lookup + "Microsoft.Dynamics.CRM.associatednavigationproperty"],
            "parentcustomerid_account",
        )
        self.assertEqual(read[lookup + "OData.Community.Display.V1.FormattedValue"], name)

    def test_many_rows_are_created_updated_and_deleted_at_once(self):
        name = unique("Many")
        rows = self.records.create("account", [{"name": f"{name} {number}"} for number in range(5)])
        self.assertEqual(len(set(rows)), 5)
        self.records.update("account", rows, {"telephone1": "555-0101"})
        self.records.update("account", rows[:2], [{"fax": "1"}, {"fax": "2"}])
        read = self.records.list("account", filter=f"startswith(name,'{name}')", orderby=["name"])
        self.assertEqual([row["telephone1"] for row in read], ["555-0101"] * 5)
        self.assertEqual([row["fax"] for row in read], ["1", "2", None, None, None])
        self.records.delete("account", rows[:2], use_bulk_delete=False)
        self.assertEqual(len(self.records.list("account", filter=f"startswith(name,'{name}')")), 3)

    def test_many_rows_are_deleted_by_a_job(self):
        name = unique("Job")
        rows = self.records.create("account", [{"name": name}, {"name": name}])
        self.assertTrue(uuid.UUID(self.records.delete("account", rows)))

    def test_one_bad_row_of_many_stops_them_all(self):
        name = unique("Atomic")
        with self.refused(400, "0x80048d19"):
            self.records.create("account", [{"name": name}, {"no_such_column": 1}])
        self.assertFalse(self.records.list("account", filter=f"name eq '{name}'"))

    def test_a_row_is_upserted_by_its_alternate_key(self):
        number, name = uuid.uuid4().hex[:16], unique("Upserted")
        key = {"accountnumber": number}
        for phone in ("1", "2"):
            self.records.upsert("account", [UpsertItem(key, {"name": name, "telephone1": phone})])
        read = self.records.list("account", filter=f"accountnumber eq '{number}'")
        self.assertEqual([row["telephone1"] for row in read], ["2"])

    def test_many_rows_are_upserted_by_their_alternate_key(self):
        numbers, name = [uuid.uuid4().hex[:16] for _ in range(3)], unique("Upserted")
        for phone in ("1", "2"):
            self.records.upsert(
                "account",
                [
                    UpsertItem({"accountnumber": number}, {"name": name, "telephone1": phone})
                    for number in numbers
                ],
            )
        read = self.records.list("account", filter=f"name eq '{name}'")
        self.assertEqual(sorted(row["accountnumber"] for row in read), sorted(numbers))
        self.assertEqual({row["telephone1"] for row in read}, {"2"})


class Queries(Sdk):
    def test_pages_follow_the_absolute_link(self):
        name = unique("Paged")
        self.records.create("account", [{"name": f"{name} {number}"} for number in range(7)])
        pages = self.records.list_pages(
            "account",
            filter=f"startswith(name,'{name}')",
            select=["name"],
            orderby=["name desc"],
            page_size=3,
            count=True,
        )
        pages = [[row["name"] for row in page] for page in pages]
        self.assertEqual([len(page) for page in pages], [3, 3, 1])
        everything = [row for page in pages for row in page]
        self.assertEqual(everything, [f"{name} {number}" for number in range(6, -1, -1)])

    def test_the_builder_s_filters_mean_what_they_say(self):
        name = unique("Filter o'Brien & Co. 100%")
        for employees in (1, 2, 3, None):
            self.records.create("account", {"name": name, "numberofemployees": employees})

        def found(expression):
            query = self.client.query.builder("account").select("numberofemployees")
            rows = query.where((col("name") == name) & expression).execute()
            return sorted(row["numberofemployees"] or 0 for row in rows)

        employees = col("numberofemployees")
        self.assertEqual(found((employees == 1) | (employees >= 3)), [1, 3])
        self.assertEqual(found(employees.between(2, 3)), [2, 3])
        self.assertEqual(found(employees.in_([1, 2])), [1, 2])
        # Unlike in SQL, what is empty is not in a list either.
        self.assertEqual(found(employees.not_in([1, 2])), [0, 3])
        self.assertEqual(found(employees.is_null()), [0])
        self.assertEqual(found(~employees.is_null() & ~(employees == 2)), [1, 3])
        self.assertEqual(found(col("name").contains("O'BRIEN")), [0, 1, 2, 3])
        self.assertEqual(found(col("name").endswith("no end")), [])

    def test_the_builder_orders_cuts_and_expands(self):
        name = unique("Parent")
        account = self.records.create("account", {"name": name})
        for last in ("Beta", "Alpha", "Gamma"):
            self.records.create(
                "contact",
                {"lastname": last, "parentcustomerid_account@odata.bind": f"/accounts({account})"},
            )
        children = ExpandOption("contact_customer_accounts").select("lastname")
        children = children.order_by("lastname", descending=True).top(2)
        rows = (
            self.client.query.builder("account")
            .select("name")
            .where(col("name") == name)
            .expand(children)
            .include_formatted_values()
            .top(1)
            .execute()
        )
        children = [child["lastname"] for child in rows[0]["contact_customer_accounts"]]
        self.assertEqual(children, ["Gamma", "Beta"])

    def test_fetch_goes_through_its_pages(self):
        name = unique("Fetched")
        account = self.records.create("account", {"name": name})
        self.records.create(
            "contact",
            [
                {
                    "lastname": f"{name} {number}",
                    "parentcustomerid_account@odata.bind": f"/accounts({account})",
                }
                for number in range(5)
            ],
        )
        pages = self.client.query.fetchxml(f"""
            <fetch count="2">
              <entity name="contact">
                <attribute name="lastname" />
                <order attribute="lastname" />
                <link-entity name="account" from="accountid" to="parentcustomerid" alias="parent">
                  <attribute name="name" />
                  <filter><condition attribute="name" operator="eq" value="{name}" /></filter>
                </link-entity>
              </entity>
            </fetch>""").execute_pages()
        pages = [list(page) for page in pages]
        self.assertEqual([len(page) for page in pages], [2, 2, 1])
        everything = [row for page in pages for row in page]
        self.assertEqual([row["lastname"] for row in everything], [f"{name} {n}" for n in range(5)])
        self.assertEqual({row["parent.name"] for row in everything}, {name})

    def test_a_frame_of_pandas_is_read(self):
        name = unique("Frame")
        self.records.create("account", [{"name": name, "fax": "1"}, {"name": name, "fax": "2"}])
        rows = self.records.list("account", filter=f"name eq '{name}'", select=["name", "fax"])
        self.assertEqual(sorted(rows.to_dataframe()["fax"]), ["1", "2"])


class Batches(Sdk):
    def test_a_change_set_links_its_own_rows(self):
        name = unique("Change set")
        batch = self.client.batch.new()
        with batch.changeset() as changes:
            account = changes.records.create("account", {"name": name})
            changes.records.create(
                "contact", {"lastname": name, "parentcustomerid_account@odata.bind": account}
            )
            changes.records.update("account", account, {"telephone1": "555-0102"})
        with batch.changeset() as changes:
            changes.records.create("account", {"name": f"{name} 2"})
        result = batch.execute()
        self.assertFalse(result.has_errors, result)
        self.assertEqual([part.status_code for part in result.responses], [204] * 4)
        self.assertEqual([part.content_id for part in result.responses], ["1", "2", "3", "4"])
        rows = self.records.list(
            "contact",
            filter=f"lastname eq '{name}'",
            expand=["parentcustomerid_account($select=name,telephone1)"],
        )
        self.assertEqual(rows[0]["parentcustomerid_account"]["telephone1"], "555-0102")

    def test_a_change_set_that_fails_leaves_nothing_behind(self):
        name = unique("All or nothing")
        batch = self.client.batch.new()
        with batch.changeset() as changes:
            changes.records.create("account", {"name": name})
            changes.records.update("account", NOWHERE, {"name": name})
        result = batch.execute()
        self.assertEqual([part.status_code for part in result.responses], [404])
        self.assertEqual(result.responses[0].error_code, "0x80040217")
        self.assertFalse(self.records.list("account", filter=f"name eq '{name}'"))

    def test_every_kind_of_request_stands_in_a_batch(self):
        # The SDK writes filters into a batch as they are: no ampersand, no plus sign.
        name, number = unique("Grünwald, Söhne (Köln)"), uuid.uuid4().hex[:16]
        account = self.records.create("account", {"name": name})
        batch = self.client.batch.new()
        batch.records.retrieve("account", account, select=["name"], include_annotations="*")
        batch.records.list("account", filter=f"name eq '{name}'", orderby=["name asc"], top=5)
        batch.records.create("account", [{"name": name}, {"name": name}])
        batch.records.upsert("account", [UpsertItem({"accountnumber": number}, {"name": name})])
        batch.records.update("account", account, {"fax": "1"})
        batch.tables.get("account")
        batch.tables.list(filter="LogicalName eq 'contact'", select=["LogicalName"])
        batch.records.delete("account", account)
        result = batch.execute()
        self.assertFalse(result.has_errors, result.failed)
        retrieved, listed, created = result.responses[:3]
        self.assertEqual(retrieved.data["name"], name)
        self.assertEqual([row["name"] for row in listed.data["value"]], [name])
        self.assertEqual(len(created.data["Ids"]), 2)
        self.assertEqual(len(result.responses), 8)

    def test_the_first_failure_stops_a_batch_unless_it_shall_go_on(self):
        name = unique("Go on")

        def batch():
            new = self.client.batch.new()
            new.records.retrieve("account", NOWHERE)
            new.records.create("account", {"name": name})
            return new

        stopped = batch().execute()
        self.assertEqual([part.status_code for part in stopped.responses], [404])
        went_on = batch().execute(continue_on_error=True)
        self.assertEqual([part.status_code for part in went_on.responses], [404, 204])


class Metadata(Sdk):
    def test_a_table_is_described(self):
        table = self.client.tables.get("account")
        self.assertEqual(table.logical_name, "account")
        self.assertEqual(table.schema_name, "Account")
        self.assertEqual(table.entity_set_name, "accounts")
        self.assertEqual(table.primary_name_attribute, "name")
        self.assertEqual(table.primary_id_attribute, "accountid")
        self.assertTrue(uuid.UUID(table.metadata_id))
        self.assertIsNone(self.client.tables.get("no_such_table"))

    def test_tables_are_listed(self):
        tables = self.client.tables.list(select=["LogicalName", "EntitySetName"])
        names = {table["LogicalName"]: table["EntitySetName"] for table in tables}
        self.assertEqual(names["contact"], "contacts")
        some = self.client.tables.list(
            filter="LogicalName eq 'account' or LogicalName eq 'contact'"
        )
        self.assertEqual(sorted(table["LogicalName"] for table in some), ["account", "contact"])

    def test_columns_are_listed(self):
        columns = self.client.query.sql_columns("account")
        by_name = {column["name"]: column for column in columns}
        self.assertTrue(by_name["accountid"]["is_pk"])
        self.assertTrue(by_name["name"]["is_name"])
        self.assertEqual(by_name["name"]["type"], "String")
        self.assertEqual(by_name["name"]["label"], "Account Name")
        self.assertEqual(by_name["primarycontactid"]["type"], "Lookup")

    def test_one_column_is_described(self):
        column = self.client.tables.get_column("account", "name")
        self.assertEqual(
            column["@odata.type"].lstrip("#"), "Microsoft.Dynamics.CRM.StringAttributeMetadata"
        )
        self.assertEqual(column["MaxLength"], 160)
        self.assertIsNone(self.client.tables.get_column("account", "no_such_column"))

    def test_relationships_and_keys_are_listed(self):
        found = self.client.tables.list_table_relationships("contact")
        by_name = {relationship["SchemaName"]: relationship for relationship in found}
        parent = by_name["contact_customer_accounts"]
        self.assertEqual(parent["ReferencedEntity"], "account")
        self.assertEqual(parent["ReferencingAttribute"], "parentcustomerid")
        self.assertEqual(
            parent["ReferencingEntityNavigationPropertyName"], "parentcustomerid_account"
        )
        one = self.client.tables.get_relationship("contact_customer_accounts")
        self.assertEqual(one.referencing_entity, "contact")
        keys = self.client.tables.get_alternate_keys("account")
        self.assertIn(["accountnumber"], [key.key_attributes for key in keys])

    def test_navigation_properties_are_found(self):
        expands = self.client.query.odata_expands("contact")
        parent = [way for way in expands if way["nav_property"] == "parentcustomerid_account"]
        self.assertEqual(parent[0]["target_entity_set"], "accounts")


class Refusals(Sdk):
    def test_what_is_not_there_is_refused_in_dataverse_s_words(self):
        with self.refused(404, "0x80040217") as refused:
            self.records.update("account", NOWHERE, {"fax": "1"})
        self.assertEqual(refused.exception.message, f"account With Id = {NOWHERE} Does Not Exist")
        with self.refused(400, "0x80060888") as refused:
            self.records.list("account", filter="no_such_column eq 1")
        self.assertEqual(
            refused.exception.message,
            "Could not find a property named 'no_such_column' on type 'Microsoft.Dynamics.CRM.account'.",
        )
        with self.assertRaises(MetadataError):
            self.records.list("no_such_table")

    def test_what_the_sandbox_does_not_have_yet_is_said_by_the_sandbox(self):
        client, tables = self.client, self.client.tables
        with tempfile.NamedTemporaryFile(suffix=".txt") as file:
            file.write(b"content")
            file.flush()
            row = self.records.create("account", {"name": unique("File")})
            calls = {
                "a table": lambda: tables.create("new_Thing", {"new_Title": "string"}),
                "a column": lambda: tables.add_columns("account", {"new_Size": "int"}),
                "a key": lambda: tables.create_alternate_key("account", "new_Key", ["fax"]),
                "a lookup": lambda: tables.create_lookup_field("account", "new_Other", "contact"),
                "sql": lambda: client.query.sql("SELECT TOP 1 name FROM account"),
                "a file": lambda: client.files.upload("account", row, "new_Document", file.name),
            }
            for what, call in calls.items():
                with self.subTest(what), self.assertRaises(HttpError) as caught:
                    call()
                error = caught.exception
                self.assertIn("sandbox", error.message, what)
                self.assertIn(error.status_code, (400, 405, 501), what)
                self.assertRegex(error.details["service_error_code"], "^0x8", what)


if __name__ == "__main__":
    unittest.main(verbosity=2)
