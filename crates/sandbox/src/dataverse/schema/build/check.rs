//! What does not fit together, and the parts cannot see by themselves.

use std::collections::HashSet;

use super::super::model::{Kind, Schema, Table};

pub(super) fn check(schema: &Schema) -> Result<(), String> {
    let mut seen = HashSet::new();
    let one_to_many = schema.relationships.iter().map(|one| &one.schema_name);
    let many_to_many = schema.many_to_many.iter().map(|one| &one.schema_name);
    for name in one_to_many.chain(many_to_many) {
        if !seen.insert(name.to_lowercase()) {
            return Err(format!("there are two relationships named {name}"));
        }
    }
    let mut sets = HashSet::new();
    for set in &schema.option_sets {
        if !sets.insert(&set.name) {
            return Err(format!("there are two choices named {}", set.name));
        }
    }
    for table in &schema.tables {
        check_table(table)?;
        check_keys(table)?;
    }
    Ok(())
}

fn check_table(table: &Table) -> Result<(), String> {
    let name = &table.name;
    if !matches!(
        table.column(&table.key).map(|key| &key.kind),
        Some(Kind::Key)
    ) {
        return Err(format!(
            "the table {name} has no key column '{}'",
            table.key
        ));
    }
    if !table.title.is_empty() && table.column(&table.title).is_none() {
        return Err(format!(
            "the table {name} has no column '{}' to name rows",
            table.title
        ));
    }
    let states: Vec<i64> = table.states().iter().map(|state| state.value).collect();
    let reasons: Vec<i64> = table.statuses().iter().map(|reason| reason.value).collect();
    for reason in table.statuses() {
        if !states.contains(&reason.state) {
            return Err(format!(
                "the status reason {} of the table {name} belongs to no state",
                reason.value
            ));
        }
    }
    for state in table.states() {
        if !reasons.contains(&state.default_status) {
            return Err(format!(
                "the state {} of the table {name} has no status reason {}",
                state.value, state.default_status
            ));
        }
    }
    Ok(())
}

/// Dataverse keeps its keys to columns that an index can hold.
fn check_keys(table: &Table) -> Result<(), String> {
    let name = &table.name;
    let mut seen = HashSet::new();
    for key in &table.keys {
        if !seen.insert(&key.name) {
            return Err(format!("the table {name} has two keys named {}", key.name));
        }
        for column in &key.columns {
            let Some(known) = table.column(column) else {
                return Err(format!(
                    "the key {} of the table {name} names '{column}', which is no column",
                    key.name
                ));
            };
            let fits = matches!(
                known.kind,
                Kind::Text { .. }
                    | Kind::Whole { .. }
                    | Kind::Decimal { .. }
                    | Kind::DateTime
                    | Kind::Date
                    | Kind::Choice { .. }
                    | Kind::Lookup { .. }
            );
            if !fits {
                return Err(format!(
                    "the key {} of the table {name} names '{column}', whose type no key can have",
                    key.name
                ));
            }
        }
    }
    Ok(())
}
