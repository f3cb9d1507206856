//! Tables and columns: facts of Microsoft's published table reference, for the columns that a
//! contact centre works with.

use std::sync::LazyLock;

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text of a length at most, in UTF-16 units.
    Text(usize),
    Whole,
    Decimal,
    Boolean,
    /// A moment in UTC.
    DateTime,
    Date,
    Guid,
    /// A number with a label.
    Choice(Vec<(i64, &'static str)>),
    /// Tables that it may point at.
    Lookup(Vec<&'static str>),
}

#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Whether only the service itself writes it.
    pub(crate) read_only: bool,
}

#[derive(Debug)]
pub(crate) struct Table {
    /// Logical name.
    pub(crate) name: &'static str,
    /// Entity set name.
    pub(crate) set: &'static str,
    pub(crate) key: &'static str,
    /// The column that names a row to people.
    pub(crate) title: &'static str,
    pub(crate) type_code: u32,
    pub(crate) columns: Vec<Column>,
    /// Columns with which a row can be addressed in place of its key.
    pub(crate) alternate_keys: Vec<&'static str>,
}

impl Table {
    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The lookup that `_<column>_value` reads.
    pub(crate) fn lookup_value(&self, property: &str) -> Option<&Column> {
        let name = property.strip_prefix('_')?.strip_suffix("_value")?;
        self.column(name)
            .filter(|column| matches!(column.kind, Kind::Lookup(_)))
    }

    /// The lookup that a single-valued navigation property leads along, and where to.
    pub(crate) fn navigation(&self, property: &str) -> Option<(&Column, &'static str)> {
        self.columns.iter().find_map(|column| {
            let Kind::Lookup(targets) = &column.kind else {
                return None;
            };
            let target = targets.iter().find(|target| {
                let alone = targets.len() == 1 || column.name == "ownerid";
                (alone && property == column.name)
                    || property == format!("{}_{target}", column.name)
                    || property == format!("{}_{target}_{}", column.name, self.name)
            })?;
            Some((column, *target))
        })
    }
}

impl Column {
    /// The label of a choice's value.
    pub(crate) fn label(&self, value: i64) -> Option<&'static str> {
        let Kind::Choice(choices) = &self.kind else {
            return None;
        };
        choices
            .iter()
            .find(|(known, _)| *known == value)
            .map(|(_, label)| *label)
    }
}

pub(crate) fn tables() -> &'static [Table] {
    &TABLES
}

pub(crate) fn by_name(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

pub(crate) fn by_set(set: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.set == set)
}

static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| read(TEXT));

/// `table` logical name, set, key, title, type code, alternate keys; then its columns: name, kind,
/// and a `!` in front of those that only the service writes.
const TEXT: &str = "
table account accounts accountid name 1
name text 160
accountnumber text 20
telephone1 text 50
telephone2 text 50
telephone3 text 50
address1_telephone1 text 50
fax text 50
emailaddress1 text 100
emailaddress2 text 100
websiteurl text 200
address1_line1 text 250
address1_line2 text 250
address1_city text 80
address1_stateorprovince text 50
address1_postalcode text 20
address1_country text 80
description text 2000
numberofemployees whole
revenue decimal
creditonhold boolean
donotphone boolean
industrycode choice 1:Accounting|3:Agriculture and Non-petrol Natural Resource Extraction|6:Business Services|7:Consulting|16:Financial|21:Insurance|33:Wholesale
customertypecode choice 1:Competitor|3:Customer|5:Influencer|8:Prospect|10:Supplier
primarycontactid lookup contact
parentaccountid lookup account
statecode choice 0:Active|1:Inactive
statuscode choice 1:Active|2:Inactive

table contact contacts contactid fullname 2
!fullname text 160
firstname text 50
middlename text 50
lastname text 50
salutation text 100
jobtitle text 100
department text 100
telephone1 text 50
telephone2 text 50
telephone3 text 50
mobilephone text 50
assistantphone text 50
managerphone text 50
callback text 50
company text 50
pager text 50
address1_telephone1 text 50
fax text 50
emailaddress1 text 100
emailaddress2 text 100
emailaddress3 text 100
address1_line1 text 250
address1_line2 text 250
address1_city text 80
address1_stateorprovince text 50
address1_postalcode text 20
address1_country text 80
description text 2000
birthdate date
anniversary date
gendercode choice 1:Male|2:Female
preferredcontactmethodcode choice 1:Any|2:Email|3:Phone|4:Fax|5:Mail
creditlimit decimal
numberofchildren whole
creditonhold boolean
donotphone boolean
donotemail boolean
parentcustomerid lookup account,contact
statecode choice 0:Active|1:Inactive
statuscode choice 1:Active|2:Inactive

table incident incidents incidentid title 112
title text 200
ticketnumber text 100
description text 2000
emailaddress text 100
caseorigincode choice 1:Phone|2:Email|3:Web|2483:Facebook|3986:Twitter
casetypecode choice 1:Question|2:Problem|3:Request
prioritycode choice 1:High|2:Normal|3:Low
customersatisfactioncode choice 1:Very Dissatisfied|2:Dissatisfied|3:Neutral|4:Satisfied|5:Very Satisfied
followupby date
isescalated boolean
customerid lookup account,contact
primarycontactid lookup contact
statecode choice 0:Active|1:Resolved|2:Canceled
statuscode choice 1:In Progress|2:On Hold|3:Waiting for Details|4:Researching|5:Problem Solved|1000:Information Provided|6:Canceled|2000:Merged

table phonecall phonecalls activityid subject 4210
subject text 200
description text 2000
phonenumber text 200
directioncode boolean
leftvoicemail boolean
actualdurationminutes whole
actualstart datetime
actualend datetime
scheduledstart datetime
scheduledend datetime
category text 250
subcategory text 250
prioritycode choice 0:Low|1:Normal|2:High
!activitytypecode text 64
regardingobjectid lookup account,contact,incident
statecode choice 0:Open|1:Completed|2:Canceled
statuscode choice 1:Open|2:Made|4:Received|3:Canceled

table systemuser systemusers systemuserid fullname 8
fullname text 200
firstname text 64
lastname text 64
domainname text 1024
internalemailaddress text 100
mobilephone text 64
homephone text 50
address1_telephone1 text 64
title text 128
!azureactivedirectoryobjectid guid
!applicationid guid
isdisabled boolean
accessmode choice 0:Read-Write|4:Non-interactive
";

/// Columns of every table.
const COMMON: &str = "
!createdon datetime
!modifiedon datetime
!versionnumber whole
";

/// Columns of tables whose rows have an owner.
const OWNED: &str = "
!createdby lookup systemuser
!modifiedby lookup systemuser
ownerid lookup systemuser
";

fn read(text: &'static str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let words: Vec<&'static str> = line.split(' ').collect();
        if let ["table", name, set, key, title, code] = words[..] {
            let alternate_keys = match name {
                "account" => vec!["accountnumber"],
                "contact" => vec!["emailaddress1"],
                "incident" => vec!["ticketnumber"],
                _ => Vec::new(),
            };
            let own = Column {
                name: key,
                kind: Kind::Guid,
                read_only: false,
            };
            tables.push(Table {
                name,
                set,
                key,
                title,
                type_code: code.parse().unwrap_or_default(),
                columns: vec![own],
                alternate_keys,
            });
        } else if let Some(table) = tables.last_mut() {
            table.columns.push(column(line));
        }
    }
    for table in &mut tables {
        let owned = if table.name == "systemuser" {
            ""
        } else {
            OWNED
        };
        let lines = COMMON
            .lines()
            .chain(owned.lines())
            .filter(|line| !line.is_empty());
        table.columns.extend(lines.map(column));
    }
    tables
}

fn column(line: &'static str) -> Column {
    let read_only = line.starts_with('!');
    let line = line.trim_start_matches('!');
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (kind, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let kind = match kind {
        "whole" => Kind::Whole,
        "decimal" => Kind::Decimal,
        "boolean" => Kind::Boolean,
        "datetime" => Kind::DateTime,
        "date" => Kind::Date,
        "guid" => Kind::Guid,
        "lookup" => Kind::Lookup(rest.split(',').collect()),
        "choice" => Kind::Choice(
            rest.split('|')
                .filter_map(|choice| {
                    let (value, label) = choice.split_once(':')?;
                    Some((value.parse().ok()?, label))
                })
                .collect(),
        ),
        _ => Kind::Text(rest.parse().unwrap_or(100)),
    };
    Column {
        name,
        kind,
        read_only,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_read_whole() {
        assert_eq!(tables().len(), 5);
        let contact = by_set("contacts").expect("contacts");
        assert_eq!(
            contact.column("telephone1").expect("a column").kind,
            Kind::Text(50)
        );
        assert!(contact.column("fullname").expect("a column").read_only);
        assert!(contact.lookup_value("_parentcustomerid_value").is_some());
        assert_eq!(
            contact
                .navigation("parentcustomerid_account")
                .expect("a way")
                .1,
            "account"
        );
        assert!(
            contact.navigation("parentcustomerid").is_none(),
            "it leads to two tables"
        );
        let call = by_name("phonecall").expect("phone calls");
        assert!(
            call.navigation("regardingobjectid_contact_phonecall")
                .is_some()
        );
        assert!(call.navigation("regardingobjectid_contact").is_some());
        let state = by_name("incident")
            .expect("cases")
            .column("statuscode")
            .expect("a column");
        assert_eq!(state.label(5), Some("Problem Solved"));
    }
}
