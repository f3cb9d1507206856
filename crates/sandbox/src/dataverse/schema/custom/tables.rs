//! Custom tables and columns in the written form of the standard ones.

use std::collections::{BTreeMap, HashMap};

use super::super::model::{Ownership, Required, TableKind};
use super::super::raw::{RawColumn, RawKey, RawKind, RawSchema, RawTable};
use super::{
    ColumnSeed, ColumnType, ExtensionSeed, KeySeed, OwnershipSeed, RequiredSeed, TableSeed, names,
    options, raw_delete, raw_kind,
};

/// Object type codes of custom tables begin here.
const FIRST_CODE: i32 = 10_900;

/// Activities whose `regardingobjectid` can point at custom tables, with the ending of the
/// relationship's name.
const ACTIVITIES: [(&str, &str); 9] = [
    ("activitypointer", "ActivityPointers"),
    ("appointment", "Appointments"),
    ("email", "Emails"),
    ("fax", "Faxes"),
    ("letter", "Letters"),
    ("phonecall", "PhoneCalls"),
    ("recurringappointmentmaster", "RecurringAppointmentMasters"),
    ("socialactivity", "SocialActivities"),
    ("task", "Tasks"),
];

pub(super) fn code(index: usize) -> Result<i32, String> {
    i32::try_from(index)
        .ok()
        .and_then(|index| FIRST_CODE.checked_add(index))
        .ok_or_else(|| "there are too many tables".to_owned())
}

/// A custom table with the columns that the platform gives it.
pub(super) fn table(seed: &TableSeed, code: i32) -> Result<RawTable, String> {
    let place = format!("the table {}", seed.name);
    names::check(&seed.name).map_err(|why| format!("{place} {why}"))?;
    let name = seed.name.to_lowercase();
    let label = seed
        .label
        .clone()
        .unwrap_or_else(|| names::label(&seed.name));
    let (key, title, own) = own_columns(seed, &name, &label)?;
    let mut columns = own;
    columns.extend(custom_columns(&name, &seed.name, &seed.columns)?);
    let user = seed.ownership == OwnershipSeed::User;
    let include: &[&str] = match (seed.activity, user) {
        (true, _) => &["activity"],
        (false, true) => &["audited", "owned"],
        (false, false) => &["audited"],
    };
    let mut include: Vec<String> = include.iter().map(|&group| group.to_owned()).collect();
    if !seed.activity
        && seed
            .columns
            .iter()
            .any(|column| column.kind == ColumnType::Money)
    {
        include.push("money".to_owned());
    }
    Ok(RawTable {
        schema: seed.name.clone(),
        set: seed.set.clone().unwrap_or_else(|| names::plural(&name)),
        key,
        title,
        code,
        plural: seed.plural.clone().unwrap_or_else(|| names::plural(&label)),
        label,
        kind: if seed.activity {
            TableKind::Activity
        } else {
            TableKind::Standard
        },
        ownership: if user {
            Ownership::User
        } else {
            Ownership::Organization
        },
        changes: seed.change_tracking,
        concurrency: true,
        duplicates: seed.duplicate_detection,
        // Custom activities have privileges of their own.
        privilege: Some(seed.name.clone()),
        include,
        relationships: HashMap::from([("ownerid>owner".to_owned(), format!("owner_{name}"))]),
        navigation: HashMap::new(),
        columns,
        keys: keys(&name, &seed.keys)?,
        description: seed.description.clone().unwrap_or_default(),
        id: None,
        custom: true,
        name,
    })
}

/// Key, title and state: the columns that every custom table has, with the names of the first two.
fn own_columns(
    seed: &TableSeed,
    name: &str,
    label: &str,
) -> Result<(String, String, Vec<RawColumn>), String> {
    let mut columns = state(seed);
    if seed.activity {
        if seed.primary.is_some() {
            return Err(format!(
                "the table {} is an activity and has a 'primary' column: its rows are named by subject",
                seed.name
            ));
        }
        return Ok(("activityid".to_owned(), "subject".to_owned(), columns));
    }
    let key = format!("{name}id");
    columns.push(RawColumn::new(
        &key,
        &format!("{}Id", seed.name),
        label,
        RawKind::Key,
    ));
    let primary = match &seed.primary {
        Some(primary) if primary.kind != ColumnType::Text => {
            return Err(format!(
                "the column {} of the table {} names rows and must be a text",
                primary.name, seed.name
            ));
        }
        Some(primary) => column(name, &seed.name, primary)?,
        None => {
            let schema = format!("{}_Name", names::prefix(&seed.name));
            RawColumn {
                max: Some(100.0),
                custom: true,
                ..RawColumn::new(&schema.to_lowercase(), &schema, "Name", RawKind::Text)
            }
        }
    };
    let title = primary.name.clone();
    columns.push(RawColumn {
        index: true,
        ..primary
    });
    Ok((key, title, columns))
}

fn state(seed: &TableSeed) -> Vec<RawColumn> {
    let named = |words: &[(i64, &str, i64)]| -> Vec<(i64, String, i64)> {
        words
            .iter()
            .map(|(value, label, other)| (*value, (*label).to_owned(), *other))
            .collect()
    };
    let (mut states, mut statuses) = if seed.activity {
        (
            named(&[
                (0, "Open", 1),
                (1, "Completed", 2),
                (2, "Canceled", 3),
                (3, "Scheduled", 4),
            ]),
            named(&[
                (1, "Open", 0),
                (2, "Completed", 1),
                (3, "Canceled", 2),
                (4, "Scheduled", 3),
            ]),
        )
    } else {
        (
            named(&[(0, "Active", 1), (1, "Inactive", 2)]),
            named(&[(1, "Active", 0), (2, "Inactive", 1)]),
        )
    };
    for status in &seed.statuses {
        statuses.retain(|known| known.0 != status.value);
        statuses.push((status.value, status.label.clone(), status.state));
    }
    for state in &mut states {
        // A status reason may have been moved to another state.
        let own = |value: i64| {
            statuses
                .iter()
                .any(|known| known.0 == value && known.2 == state.0)
        };
        if !own(state.2) {
            let first = statuses.iter().find(|known| known.2 == state.0);
            state.2 = first.map_or(state.2, |known| known.0);
        }
    }
    vec![
        RawColumn {
            states,
            required: Required::System,
            access: "ur".to_owned(),
            ..RawColumn::new("statecode", "statecode", "Status", RawKind::State)
        },
        RawColumn {
            statuses,
            ..RawColumn::new("statuscode", "statuscode", "Status Reason", RawKind::Status)
        },
    ]
}

/// Written columns, and the amounts in the base currency that go with money.
fn custom_columns(
    table: &str,
    schema: &str,
    seeds: &[ColumnSeed],
) -> Result<Vec<RawColumn>, String> {
    let mut columns = Vec::with_capacity(seeds.len());
    for seed in seeds {
        let own = column(table, schema, seed)?;
        let base = (seed.kind == ColumnType::Money).then(|| RawColumn {
            precision: Some(4),
            access: "r".to_owned(),
            custom: true,
            ..RawColumn::new(
                &format!("{}_base", own.name),
                &format!("{}_Base", own.schema),
                &format!("{} (Base)", own.label),
                RawKind::Money,
            )
        });
        columns.push(own);
        columns.extend(base);
    }
    Ok(columns)
}

fn column(table: &str, schema: &str, seed: &ColumnSeed) -> Result<RawColumn, String> {
    let place = format!("the column {} of the table {table}", seed.name);
    names::check(&seed.name).map_err(|why| format!("{place} {why}"))?;
    let choice = matches!(seed.kind, ColumnType::Choice | ColumnType::Choices);
    if choice && (seed.options.is_empty() == seed.global.is_none()) {
        return Err(format!("{place} needs either 'options' or 'global'"));
    }
    if !choice && (seed.global.is_some() || !seed.options.is_empty()) {
        return Err(format!("{place} has options, but is no choice"));
    }
    let targets = match seed.kind {
        ColumnType::Lookup if seed.to.is_empty() => {
            return Err(format!(
                "{place} is a lookup and needs 'to', the tables it leads to"
            ));
        }
        ColumnType::Lookup => seed.to.clone(),
        ColumnType::Customer => vec!["account".to_owned(), "contact".to_owned()],
        _ if seed.to.is_empty() => Vec::new(),
        _ => return Err(format!("{place} has 'to', but is no lookup")),
    };
    if seed.auto_number.is_some() && seed.kind != ColumnType::Text {
        return Err(format!("{place} has 'auto_number', but is no text"));
    }
    let label = seed
        .label
        .clone()
        .unwrap_or_else(|| names::label(&seed.name));
    Ok(RawColumn {
        max: seed.max,
        min: seed.min,
        precision: seed.precision,
        format: seed.format.clone(),
        options: options(&seed.options),
        global: seed.global.as_ref().map(|name| name.to_lowercase()),
        default: seed.default,
        on: seed.on,
        no: seed.no.clone(),
        yes: seed.yes.clone(),
        to: relationships(schema, seed, &targets),
        delete: seed.delete.map(raw_delete),
        required: match seed.required {
            RequiredSeed::No => Required::No,
            RequiredSeed::Recommended => Required::Recommended,
            RequiredSeed::Application => Required::Application,
        },
        index: seed.index || !targets.is_empty(),
        auto: seed.auto_number.clone(),
        description: seed.description.clone().unwrap_or_default(),
        custom: true,
        ..RawColumn::new(
            &seed.name.to_lowercase(),
            &seed.name,
            &label,
            raw_kind(seed.kind),
        )
    })
}

/// A relationship for each target of a lookup.
fn relationships(table: &str, seed: &ColumnSeed, targets: &[String]) -> BTreeMap<String, String> {
    let prefix = names::prefix(&seed.name);
    let begin = match &seed.relationship {
        Some(name) => name.clone(),
        None if table.starts_with(&format!("{prefix}_")) => {
            format!("{table}_{}", names::rest(&seed.name))
        }
        None => format!("{prefix}_{table}_{}", names::rest(&seed.name)),
    };
    let alone = targets.len() == 1 && seed.relationship.is_some();
    let name = |target: &String| {
        if alone {
            begin.clone()
        } else {
            format!("{begin}_{target}")
        }
    };
    targets
        .iter()
        .map(|target| (target.clone(), name(target)))
        .collect()
}

fn keys(table: &str, seeds: &[KeySeed]) -> Result<Vec<RawKey>, String> {
    let key = |seed: &KeySeed| {
        let place = format!("the key {} of the table {table}", seed.name);
        names::check(&seed.name).map_err(|why| format!("{place} {why}"))?;
        if seed.columns.is_empty() {
            return Err(format!("{place} has no columns"));
        }
        Ok(RawKey {
            name: seed.name.to_lowercase(),
            schema: seed.name.clone(),
            label: seed
                .label
                .clone()
                .unwrap_or_else(|| names::label(&seed.name)),
            columns: seed
                .columns
                .iter()
                .map(|column| column.to_lowercase())
                .collect(),
        })
    };
    seeds.iter().map(key).collect()
}

/// Adds columns and keys to a table that is there already.
pub(super) fn extend(raw: &mut RawSchema, seed: &ExtensionSeed) -> Result<(), String> {
    let missing = || format!("'{}' is extended, but is no table", seed.table);
    let table = raw.table(&seed.table).ok_or_else(missing)?;
    let columns = custom_columns(&table.name, &table.name.clone(), &seed.columns)?;
    let money = seed
        .columns
        .iter()
        .any(|column| column.kind == ColumnType::Money);
    table.columns.extend(columns);
    table.keys.extend(keys(&seed.table, &seed.keys)?);
    let has_currency = table
        .include
        .iter()
        .any(|group| group == "money" || group == "activity");
    if money && !has_currency {
        table.include.push("money".to_owned());
    }
    Ok(())
}

/// Lets standard tables point at a custom one: activities that regard it, its notes, its parties.
pub(super) fn attach(raw: &mut RawSchema, seed: &TableSeed) -> Result<(), String> {
    let name = seed.name.to_lowercase();
    if seed.activities {
        for (activity, ending) in ACTIVITIES {
            point(
                raw,
                activity,
                "regardingobjectid",
                &name,
                format!("{name}_{ending}"),
            )?;
        }
    }
    if seed.notes {
        point(
            raw,
            "annotation",
            "objectid",
            &name,
            format!("{name}_Annotations"),
        )?;
    }
    if !seed.activity {
        return Ok(());
    }
    point(
        raw,
        "activityparty",
        "activityid",
        &name,
        format!("{name}_activity_parties"),
    )?;
    // A custom activity regards what the standard ones regard.
    let pointer = raw.table("activitypointer");
    let regarding = pointer
        .and_then(|table| {
            table
                .columns
                .iter()
                .find(|column| column.name == "regardingobjectid")
        })
        .cloned()
        .ok_or("the table activitypointer has no regardingobjectid")?;
    let targets = regarding.to.keys();
    let to = targets
        .map(|target| (target.clone(), format!("{target}_{name}s")))
        .collect();
    if let Some(table) = raw.table(&name) {
        table.columns.push(RawColumn { to, ..regarding });
    }
    Ok(())
}

fn point(
    raw: &mut RawSchema,
    table: &str,
    column: &str,
    target: &str,
    relationship: String,
) -> Result<(), String> {
    let columns = raw.table(table).map(|table| &mut table.columns);
    let column = columns
        .and_then(|columns| columns.iter_mut().find(|known| known.name == column))
        .ok_or_else(|| format!("the table {table} has no {column}"))?;
    column.to.insert(target.to_owned(), relationship);
    Ok(())
}
