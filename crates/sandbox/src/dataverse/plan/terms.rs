//! Terms that are computed: names behind lookups, labels of choices, parts of moments, aggregates.

use rusqlite::types::Value;

use crate::dataverse::plan::{Aggregate, DatePart, SourceId, Statement, Term};
use crate::dataverse::schema::{Column, Kind, Table};
use crate::dataverse::store::{COLLATION, quoted, type_column};

impl Statement {
    /// The row's own name for people. A lookup with several targets asks the table that it names.
    pub(super) fn title(&mut self, source: SourceId, column: &Column, tables: &[&Table]) {
        let several = column.has_several_targets();
        self.push("(CASE ");
        for table in tables {
            if several {
                self.push("WHEN ");
                self.name(source, &type_column(&column.name));
                self.push(" = ");
                self.value(&Value::Text(table.name.clone()));
            } else {
                self.push("WHEN 1");
            }
            let (title, name, key) = (
                quoted(&table.title),
                quoted(&table.name),
                quoted(&table.key),
            );
            self.push(&format!(
                " THEN (SELECT named.{title} FROM {name} AS named WHERE named.{key} = "
            ));
            self.name(source, &column.name);
            self.push(") ");
        }
        if tables.is_empty() {
            self.push("WHEN 0 THEN NULL ");
        }
        // What is computed has lost the collation of its column.
        self.push(&format!("END COLLATE {COLLATION})"));
    }

    pub(super) fn label(&mut self, source: SourceId, column: &Column) {
        let labels = labels(column);
        self.push("(CASE ");
        self.name(source, &column.name);
        for (value, label) in &labels {
            self.push(&format!(" WHEN {value} THEN "));
            self.value(&Value::Text((*label).to_owned()));
        }
        if labels.is_empty() {
            self.push(" WHEN NULL THEN NULL");
        }
        self.push(&format!(" END COLLATE {COLLATION})"));
    }

    /// As SQL Server counts them: weeks begin on Sunday, and the first holds the first of January.
    pub(super) fn part(&mut self, source: SourceId, column: &Column, part: DatePart) {
        let column = format!("s{source}.{}", quoted(&column.name));
        let number =
            |form: &str| format!("CAST(strftime('{form}', {column}, 'unixepoch') AS INTEGER)");
        let first =
            format!("CAST(strftime('%w', {column}, 'unixepoch', 'start of year') AS INTEGER)");
        let quarter = format!("({} + 2) / 3", number("%m"));
        let text = match part {
            DatePart::Day => number("%d"),
            DatePart::Week => format!("({} + {first} - 1) / 7 + 1", number("%j")),
            DatePart::Month => number("%m"),
            DatePart::Quarter => quarter,
            DatePart::Year | DatePart::FiscalYear => number("%Y"),
            DatePart::FiscalPeriod => format!("{} * 10 + {quarter}", number("%Y")),
        };
        self.push(&format!("({text})"));
    }

    pub(super) fn aggregate(&mut self, aggregate: Aggregate, term: &Term<'_>) {
        let (begin, end) = match aggregate {
            Aggregate::Count => return self.push("count(*)"),
            Aggregate::CountColumn => ("count(", ")"),
            Aggregate::CountDistinct => ("count(DISTINCT ", ")"),
            // Of nothing but empty columns, the sum is none; it is shown as 0.
            Aggregate::Sum => ("coalesce(sum(", "), 0)"),
            Aggregate::Average => ("avg(", ")"),
            Aggregate::WholeAverage => ("CAST(avg(", ") AS INTEGER)"),
            Aggregate::Least => ("min(", ")"),
            Aggregate::Greatest => ("max(", ")"),
        };
        self.push(begin);
        self.term(term);
        self.push(end);
    }
}

/// Values that have a name, with their names.
fn labels(column: &Column) -> Vec<(i64, &str)> {
    match &column.kind {
        Kind::Choice { options, .. } => options
            .iter()
            .map(|one| (one.value, one.label.as_str()))
            .collect(),
        Kind::State { options } => options
            .iter()
            .map(|one| (one.value, one.label.as_str()))
            .collect(),
        Kind::Status { options } => options
            .iter()
            .map(|one| (one.value, one.label.as_str()))
            .collect(),
        Kind::Boolean { no, yes, .. } => vec![(0, no), (1, yes)],
        _ => Vec::new(),
    }
}
