// The best known client of the Web API for JavaScript: `dynamics-web-api` on npm

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { ConfidentialClientApplication } from "@azure/msal-node";
import { DynamicsWebApi } from "dynamics-web-api";

import * as sandbox from "./sandbox.mjs";

const app = new ConfidentialClientApplication({
    auth: {
        clientId: sandbox.confidential.clientId,
        clientSecret: sandbox.confidential.clientSecret,
        authority: sandbox.authority,
        knownAuthorities: [sandbox.host],
    },
});
const nowhere = "00000000-0000-0000-0000-000000000001";
// A name that no other test uses, so that none depends on another's rows.
const unique = (word) => `${word} ${randomUUID().slice(0, 13)}`;

function client(more = {}) {
    return new DynamicsWebApi({
        serverUrl: `${sandbox.organization}/`,
        dataApi: { version: "9.2" },
        onTokenRefresh: async () =>
            sandbox.apiKey ??
            (await app.acquireTokenByClientCredential({ scopes: [sandbox.scope] })).accessToken,
        ...more,
    });
}
const api = client();

const create = (collection, data) => api.create({ collection, data });

async function family(name, children = 0) {
    const account = await create("accounts", { name });
    for (let child = 0; child < children; child += 1) {
        await create("contacts", {
            firstname: `Child ${child}`,
            lastname: name,
            preferredcontactmethodcode: 3,
            "parentcustomerid_account@odata.bind": `accounts(${account})`,
        });
    }
    return account;
}

test("a row is created, read, updated and deleted", async () => {
    const name = unique("Whole life");
    const key = await create("accounts", { name, description: "Grüße, 営業, 🚀" });
    const read = await api.retrieve({
        collection: "accounts",
        key,
        select: ["name", "description"],
    });
    assert.equal(read.name, name);
    assert.equal(read.description, "Grüße, 営業, 🚀");
    assert.match(read["@odata.etag"], /^W\/"\d+"$/);
    assert.equal(await api.update({ collection: "accounts", key, data: { fax: "1" } }), true);
    assert.equal(await api.deleteRecord({ collection: "accounts", key }), true);
    await assert.rejects(api.retrieve({ collection: "accounts", key }), {
        status: 404,
        code: "0x80040217",
    });
});

test("a row comes back when it is asked for", async () => {
    const name = unique("Representation");
    const created = await api.create({
        collection: "accounts",
        data: { name, numberofemployees: 7 },
        returnRepresentation: true,
        select: ["name", "numberofemployees"],
    });
    assert.equal(created.name, name);
    const updated = await api.update({
        collection: "accounts",
        key: created.accountid,
        data: { numberofemployees: 8 },
        returnRepresentation: true,
        select: ["numberofemployees", "modifiedon"],
    });
    assert.equal(updated.numberofemployees, 8);
    assert.ok(updated.modifiedon instanceof Date);
});

test("conditions keep one writer from overwriting another", async () => {
    const collection = "accounts";
    const key = await create(collection, { name: unique("Condition") });
    const first = await api.retrieve({ collection, key, select: ["name"] });
    const ifmatch = first["@odata.etag"];
    assert.equal(await api.update({ collection, key, ifmatch, data: { fax: "1" } }), true);
    // The row has changed since: 412 becomes false.
    assert.equal(await api.update({ collection, key, ifmatch, data: { fax: "2" } }), false);
    assert.equal(await api.deleteRecord({ collection, key, ifmatch }), false);
    const { fax, "@odata.etag": now } = await api.retrieve({ collection, key, select: ["fax"] });
    assert.equal(fax, "1");
    const strict = client({ propagateErrors: true });
    await assert.rejects(strict.update({ collection, key, ifmatch, data: { fax: "2" } }), {
        status: 412,
        code: "0x80060882",
        message:
            "The version of the existing record doesn't match the RowVersion property provided.",
    });
    // 304 has no body, so the library has nothing to give.
    const again = () => api.retrieve({ collection, key, select: ["fax"], ifnonematch: now });
    assert.equal(await again(), undefined);
    await api.update({ collection, key, data: { fax: "3" } });
    assert.equal((await again()).fax, "3");
});

test("a row is upserted by key and by alternate key, as the conditions allow", async () => {
    const collection = "accounts";
    const name = unique("Upserted");
    const number = randomUUID().slice(0, 18);
    const upsert = (key, more) => api.upsert({ collection, key, data: { name }, ...more });
    await upsert(`accountnumber='${number}'`);
    await upsert(`accountnumber='${number}'`);
    const { value } = await api.retrieveMultiple({
        collection,
        filter: `name eq '${name}'`,
        select: ["accountnumber"],
    });
    assert.deepEqual(
        value.map((row) => row.accountnumber),
        [number],
    );
    const key = randomUUID();
    const made = await upsert(key, { returnRepresentation: true, select: ["name"] });
    assert.equal(made.accountid, key);
    // There already: 412 becomes null. Not there: 404 becomes null.
    assert.equal(await upsert(key, { ifnonematch: "*" }), null);
    assert.equal(await upsert(nowhere, { ifmatch: "*" }), null);
});

test("one property is set, read and cleared", async () => {
    const [collection, key] = [
        "accounts",
        await create("accounts", { name: unique("Property"), fax: "1" }),
    ];
    await api.updateSingleProperty({ collection, key, fieldValuePair: { fax: "2" } });
    const { value } = await api.retrieve({ collection, key, select: ["/fax"] });
    assert.equal(value, "2");
    await api.deleteRecord({ collection, key, property: "fax" });
    const { fax } = await api.retrieve({ collection, key, select: ["fax"] });
    assert.equal(fax, null);
});

test("rows are linked and unlinked", async () => {
    const name = unique("Linked");
    const account = await family(name);
    const contact = await create("contacts", { lastname: name });
    const parent = { collection: "contacts", key: contact, select: ["_parentcustomerid_value"] };
    const parentNow = async () => (await api.retrieve(parent))._parentcustomerid_value;

    const single = {
        collection: "contacts",
        primaryKey: contact,
        navigationProperty: "parentcustomerid_account",
    };
    await api.associateSingleValued({
        ...single,
        relatedCollection: "accounts",
        relatedKey: account,
    });
    assert.equal(await parentNow(), account);
    const reference = await api.retrieve({
        collection: "contacts",
        key: contact,
        select: ["parentcustomerid_account/$ref"],
    });
    assert.deepEqual([reference.id, reference.collection], [account, "accounts"]);
    await api.disassociateSingleValued(single);
    assert.equal(await parentNow(), null);

    const many = {
        collection: "accounts",
        primaryKey: account,
        relationshipName: "contact_customer_accounts",
    };
    await api.associate({ ...many, relatedCollection: "contacts", relatedKey: contact });
    assert.equal(await parentNow(), account);
    await api.disassociate({ ...many, relatedKey: contact });
    assert.equal(await parentNow(), null);
});

test("rows are read along a navigation property", async () => {
    const name = unique("Navigated");
    const key = await family(name, 2);
    const children = await api.retrieve({
        collection: "accounts",
        key,
        navigationProperty: "contact_customer_accounts",
        select: ["firstname"],
        orderBy: ["firstname desc"],
    });
    assert.deepEqual(
        children.value.map((row) => row.firstname),
        ["Child 1", "Child 0"],
    );
    const parent = await api.retrieve({
        collection: "contacts",
        key: children.value[0].contactid,
        navigationProperty: "parentcustomerid_account",
        select: ["name"],
    });
    assert.equal(parent.name, name);
});

test("pages, counts, orders and annotations", async () => {
    const name = unique("Paged");
    await family(name, 5);
    const asked = {
        collection: "contacts",
        select: ["firstname", "_parentcustomerid_value", "preferredcontactmethodcode"],
        filter: `lastname eq '${name}'`,
        orderBy: ["firstname asc"],
        count: true,
        maxPageSize: 2,
        includeAnnotations: "*",
    };
    const first = await api.retrieveMultiple(asked);
    assert.equal(first.value.length, 2);
    assert.equal(first.oDataCount, 5);
    assert.ok(first.oDataNextLink.startsWith(`${sandbox.api}/contacts?`));
    const [row] = first.value;
    assert.equal(row._parentcustomerid_value_Formatted, name);
    assert.equal(row._parentcustomerid_value_LogicalName, "account");
    assert.equal(row._parentcustomerid_value_NavigationProperty, "parentcustomerid_account");
    assert.equal(row.preferredcontactmethodcode_Formatted, "Phone");
    const second = await api.retrieveMultiple(asked, first.oDataNextLink);
    assert.equal(second.value[0].firstname, "Child 2");
    const all = await api.retrieveAll(asked);
    assert.deepEqual(
        all.value.map((row) => row.firstname),
        [0, 1, 2, 3, 4].map((n) => `Child ${n}`),
    );
    assert.equal(await api.count({ collection: "contacts", filter: asked.filter }), 5);
    assert.ok((await api.count({ collection: "contacts" })) >= 5);
});

test("collections and lookups are expanded with options", async () => {
    const name = unique("Expanded");
    await family(name, 4);
    const { value } = await api.retrieveMultiple({
        collection: "accounts",
        select: ["name"],
        filter: `name eq '${name}'`,
        expand: [
            {
                property: "contact_customer_accounts",
                select: ["firstname"],
                filter: "firstname ne 'Child 3'",
                orderBy: ["firstname desc"],
                top: 2,
            },
            { property: "createdby", select: ["fullname"] },
        ],
    });
    assert.equal(value.length, 1);
    assert.deepEqual(
        value[0].contact_customer_accounts.map((row) => row.firstname),
        ["Child 2", "Child 1"],
    );
    assert.ok(value[0].createdby.systemuserid);
});

test("lambdas and query functions filter", async () => {
    const name = unique("Lambda");
    await family(name, 2);
    await family(`${name} alone`);
    const found = async (filter) => {
        const asked = { collection: "accounts", select: ["name"], filter, orderBy: ["name"] };
        return (await api.retrieveMultiple(asked)).value.map((row) => row.name);
    };
    const ours = `startswith(name,'${name}')`;
    assert.deepEqual(
        await found(`${ours} and contact_customer_accounts/any(c:c/firstname eq 'Child 1')`),
        [name],
    );
    assert.deepEqual(await found(`${ours} and not contact_customer_accounts/any()`), [
        `${name} alone`,
    ]);
    assert.equal(
        (await found(`${ours} and Microsoft.Dynamics.CRM.Today(PropertyName='createdon')`)).length,
        2,
    );
});

test("a question too long for a URL goes by batch", async () => {
    const name = unique("Long");
    await family(name);
    const others = Array.from({ length: 60 }, () => `name eq '${unique("Nobody")}'`).join(" or ");
    const { value } = await api.retrieveMultiple({
        collection: "accounts",
        select: ["name"],
        filter: `name eq '${name}' or ${others}`,
    });
    assert.deepEqual(
        value.map((row) => row.name),
        [name],
    );
});

test("fetch goes through its pages by cookie", async () => {
    const name = unique("Fetched");
    await family(name, 5);
    const fetchXml = `<fetch count="2"><entity name="contact"><attribute name="firstname"/>
        <order attribute="firstname"/><filter><condition attribute="lastname" operator="eq" value="${name}"/></filter>
        <link-entity name="account" from="accountid" to="parentcustomerid" alias="parent"><attribute name="name"/></link-entity>
        </entity></fetch>`;
    const first = await api.fetch({ collection: "contacts", fetchXml, includeAnnotations: "*" });
    assert.equal(first.value.length, 2);
    assert.equal(first.value[0]["parent.name"], name);
    assert.equal(first.PagingInfo.nextPage, 2);
    assert.match(first.PagingInfo.cookie, /^&lt;cookie page=&quot;1&quot;/);
    const all = await api.fetchAll({ collection: "contacts", fetchXml, includeAnnotations: "*" });
    assert.deepEqual(
        all.value.map((row) => row.firstname),
        [0, 1, 2, 3, 4].map((n) => `Child ${n}`),
    );
});

test("a deep insert makes parent and children at once", async () => {
    const name = unique("Deep");
    const key = await create("accounts", {
        name,
        primarycontactid: { lastname: name, firstname: "Primary" },
        contact_customer_accounts: [{ lastname: name, firstname: "Child" }],
    });
    const read = await api.retrieve({
        collection: "accounts",
        key,
        select: ["name"],
        expand: [{ property: "primarycontactid", select: ["firstname"] }],
    });
    assert.equal(read.primarycontactid.firstname, "Primary");
    const filter = `_parentcustomerid_value eq ${key}`;
    const { value } = await api.retrieveMultiple({
        collection: "contacts",
        select: ["firstname"],
        filter,
    });
    assert.deepEqual(
        value.map((row) => row.firstname),
        ["Child"],
    );
});

test("a batch holds a change set whose rows refer to each other", async () => {
    const name = unique("Batch");
    api.startBatch();
    api.create({ collection: "accounts", data: { name }, contentId: "1" });
    api.create({
        collection: "contacts",
        data: { lastname: name, "parentcustomerid_account@odata.bind": "$1" },
        contentId: "2",
    });
    api.associateSingleValued({
        contentId: "$1",
        primaryKey: undefined,
        navigationProperty: "primarycontactid",
        relatedKey: "$2",
    });
    api.retrieveMultiple({ collection: "accounts", select: ["name"], filter: `name eq '${name}'` });
    api.count({ collection: "contacts" });
    const [account, contact, , found, count] = await api.executeBatch();
    assert.match(account, /^[0-9a-f-]{36}$/);
    assert.match(contact, /^[0-9a-f-]{36}$/);
    assert.deepEqual(
        found.value.map((row) => row.accountid),
        [account],
    );
    assert.equal(typeof count, "number");
    const linked = await api.retrieve({
        collection: "accounts",
        key: account,
        select: ["_primarycontactid_value"],
    });
    assert.equal(linked._primarycontactid_value, contact);
});

test("a change set that fails leaves nothing behind", async () => {
    const name = unique("Nothing");
    api.startBatch();
    api.create({ collection: "accounts", data: { name } });
    api.update({ collection: "accounts", key: nowhere, data: { name } });
    await assert.rejects(api.executeBatch(), ([error]) => {
        assert.deepEqual([error.status, error.error?.code], [404, "0x80040217"]);
        return true;
    });
    assert.equal(await api.count({ collection: "accounts", filter: `name eq '${name}'` }), 0);
});

test("a batch goes on after an error when it is told to", async () => {
    const name = unique("Goes on");
    api.startBatch();
    api.retrieve({ collection: "accounts", key: nowhere });
    api.create({ collection: "accounts", data: { name }, inChangeSet: false });
    const [refused, created] = await api.executeBatch({ continueOnError: true });
    assert.equal(refused.status, 404);
    assert.match(created, /^[0-9a-f-]{36}$/);
});

test("functions and actions are called, unbound and bound", async () => {
    const { UserId, OrganizationId } = await api.callFunction("WhoAmI");
    assert.match(OrganizationId, /^[0-9a-f-]{36}$/);
    const { Version } = await api.callFunction({ name: "RetrieveVersion" });
    assert.match(Version, /^9\.2\./);
    const { EntityRecordCountCollection } = await api.callFunction({
        name: "RetrieveTotalRecordCount",
        parameters: { EntityNames: ["account"] },
    });
    assert.deepEqual(EntityRecordCountCollection.Keys, ["account"]);
    const privileges = await api.callFunction({
        collection: "systemusers",
        key: UserId,
        name: "Microsoft.Dynamics.CRM.RetrieveUserPrivileges",
    });
    assert.ok(privileges.RolePrivileges.length > 0);
    const account = await family(unique("Case"));
    const incident = await create("incidents", {
        title: unique("Case"),
        "customerid_account@odata.bind": `/accounts(${account})`,
    });
    await api.callAction({
        actionName: "CloseIncident",
        action: {
            IncidentResolution: {
                "@odata.type": "Microsoft.Dynamics.CRM.incidentresolution",
                subject: "Done",
                "incidentid@odata.bind": `/incidents(${incident})`,
            },
            Status: -1,
        },
    });
    const { statecode } = await api.retrieve({
        collection: "incidents",
        key: incident,
        select: ["statecode"],
    });
    assert.equal(statecode, 1);
});

test("somebody else is impersonated by either header", async () => {
    const { value } = await api.retrieveMultiple({
        collection: "systemusers",
        select: ["azureactivedirectoryobjectid", "internalemailaddress"],
        filter: `internalemailaddress eq '${sandbox.user.upn}'`,
    });
    const [other] = value;
    const { UserId } = await api.callFunction({ name: "WhoAmI" });
    assert.notEqual(other.systemuserid, UserId);
    const asOther = [
        { impersonate: other.systemuserid },
        { impersonateAAD: other.azureactivedirectoryobjectid },
    ];
    for (const way of asOther) {
        const row = await api.create({
            collection: "accounts",
            data: { name: unique("Impersonated") },
            returnRepresentation: true,
            ...way,
        });
        assert.equal(row._createdby_value, other.systemuserid);
        assert.equal(row._createdonbehalfby_value, UserId);
    }
    await assert.rejects(
        api.create({ collection: "accounts", data: { name: "x" }, impersonate: nowhere }),
    );
});

test("changes are tracked", async () => {
    const name = unique("Tracked");
    await family(name);
    const asked = { collection: "accounts", select: ["name"], trackChanges: true };
    const { oDataDeltaLink } = await api.retrieveAll(asked);
    assert.match(oDataDeltaLink, /deltatoken=/);
    const gone = await family(`${name} gone`);
    const made = await family(`${name} made`);
    await api.deleteRecord({ collection: "accounts", key: gone });
    const { value } = await api.retrieveMultiple(asked, oDataDeltaLink);
    const changed = value.filter((row) => row.accountid === made);
    assert.deepEqual(
        changed.map((row) => row.name),
        [`${name} made`],
    );
    const deleted = value.filter((row) => row.id === gone);
    assert.deepEqual(
        deleted.map((row) => row.reason),
        ["deleted"],
    );
});

test("tables, columns, relationships and choices are described", async () => {
    const { value: tables } = await api.retrieveEntities({
        select: ["LogicalName", "EntitySetName"],
        filter: "LogicalName eq 'account'",
    });
    assert.equal(tables[0].EntitySetName, "accounts");
    const entityKey = tables[0].MetadataId;
    const whole = await api.retrieveEntity({
        key: entityKey,
        select: ["SchemaName"],
        expand: [
            { property: "Attributes", select: ["LogicalName"], filter: "LogicalName eq 'name'" },
        ],
    });
    assert.deepEqual([whole.SchemaName, whole.Attributes.length], ["Account", 1]);
    const byName = await api.retrieveEntity({
        key: "LogicalName='account'",
        select: ["ObjectTypeCode"],
    });
    assert.equal(byName.ObjectTypeCode, 1);

    const { value: texts } = await api.retrieveAttributes({
        entityKey: "LogicalName='account'",
        castType: "Microsoft.Dynamics.CRM.StringAttributeMetadata",
        select: ["LogicalName", "MaxLength"],
    });
    assert.equal(texts.find((column) => column.LogicalName === "name").MaxLength, 160);
    const choice = await api.retrieveAttribute({
        entityKey: "LogicalName='account'",
        attributeKey: "LogicalName='preferredcontactmethodcode'",
        castType: "Microsoft.Dynamics.CRM.PicklistAttributeMetadata",
        select: ["LogicalName"],
        expand: [{ property: "OptionSet", select: ["Options"] }, { property: "GlobalOptionSet" }],
    });
    assert.deepEqual(
        choice.OptionSet.Options.map((option) => option.Value),
        [1, 2, 3, 4, 5],
    );
    assert.equal(choice.OptionSet.Options[2].Label.UserLocalizedLabel.Label, "Phone");

    const castType = "Microsoft.Dynamics.CRM.OneToManyRelationshipMetadata";
    const { value: relationships } = await api.retrieveRelationships({
        castType,
        select: ["SchemaName", "ReferencingEntity"],
        filter: "ReferencedEntity eq 'account'",
    });
    const found = relationships.find((one) => one.SchemaName === "contact_customer_accounts");
    assert.equal(found.ReferencingEntity, "contact");
    const one = await api.retrieveRelationship({
        key: found.MetadataId,
        castType,
        select: ["SchemaName"],
    });
    assert.equal(one.SchemaName, "contact_customer_accounts");

    const { value: choices } = await api.retrieveGlobalOptionSets({
        castType: "Microsoft.Dynamics.CRM.OptionSetMetadata",
    });
    assert.ok(choices.length > 0);
    const global = await api.retrieveGlobalOptionSet({ key: `Name='${choices[0].Name}'` });
    assert.equal(global.MetadataId, choices[0].MetadataId);
});

test("entity names are turned into set names by the metadata", async () => {
    const named = client({ useEntityNames: true });
    const name = unique("Named");
    const key = await named.create({ collection: "account", data: { name } });
    const read = await named.retrieve({ collection: "account", key, select: ["name"] });
    assert.equal(read.name, name);
});

test("the schema is read as XML", async () => {
    const schema = await api.retrieveCsdlMetadata();
    assert.match(schema, /<edmx:Edmx [^>]*Version="4.0"/);
    assert.match(schema, /<EntityType Name="account"/);
});

test("what is wrong is said in Dataverse's words", async () => {
    const wrong = { collection: "accounts", select: ["no_such_column"] };
    await assert.rejects(api.retrieveMultiple(wrong), {
        status: 400,
        code: "0x80060888",
        message:
            "Could not find a property named 'no_such_column' on type 'Microsoft.Dynamics.CRM.account'.",
    });
    await assert.rejects(api.retrieveMultiple({ collection: "nothings" }), {
        status: 404,
        message: "Resource not found for the segment 'nothings'.",
    });
    await assert.rejects(client({ onTokenRefresh: async () => "x" }).callFunction("WhoAmI"), {
        status: 401,
    });
});

test("what the sandbox does not have yet is said by the sandbox", async () => {
    const calls = {
        "a table": () => api.createEntity({ data: { SchemaName: "new_thing" } }),
        "a choice": () => api.createGlobalOptionSet({ data: { Name: "new_choice" } }),
        "a search": () => api.query({ query: { search: "x" } }),
        "an aggregate": () =>
            api.retrieveMultiple({ collection: "accounts", apply: "aggregate($count as n)" }),
        "a view": () => api.retrieveMultiple({ collection: "accounts", savedQuery: nowhere }),
    };
    for (const [what, call] of Object.entries(calls)) {
        await assert.rejects(call(), (error) => {
            assert.match(error.message, /sandbox/, what);
            assert.ok([400, 405, 501].includes(error.status), `${what}: ${error.status}`);
            return true;
        });
    }
});
