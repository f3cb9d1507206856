//! A plan as SQL. Every value is a parameter; every name comes from the schema.

use rusqlite::types::Value;

use crate::dataverse::odata::Comparison;
use crate::dataverse::plan::{Condition, Join, JoinKind, Order, Query, Select, SourceId, Term};
use crate::dataverse::schema::Kind;
use crate::dataverse::store::{COLLATION, LIKE, prefix, quoted, type_column};

/// A statement with its parameters.
#[derive(Debug, Default)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) parameters: Vec<Value>,
}

impl Statement {
    /// Rows, one column for each term.
    pub(crate) fn rows(query: &Query<'_>) -> Self {
        let mut statement = Self::default();
        statement.query(query);
        statement
    }

    /// How many rows there are, counted up to a limit.
    pub(crate) fn count(query: &Query<'_>, limit: u64) -> Self {
        let mut statement = Self::default();
        statement.push("SELECT count(*) FROM (SELECT ");
        if query.distinct {
            statement.push("DISTINCT ");
            statement.terms(&query.columns);
        } else {
            statement.push("1");
        }
        statement.from(&query.select);
        statement.push(&format!(" LIMIT {limit})"));
        statement
    }

    /// Rows with a number for each that begins anew with every value of the first column, up to a
    /// limit.
    pub(crate) fn ranked(query: &Query<'_>, limit: u64) -> Self {
        let mut statement = Self::default();
        statement.push("SELECT * FROM (SELECT ");
        statement.terms(&query.columns);
        statement.push(", row_number() OVER (PARTITION BY ");
        if let Some(first) = query.columns.first() {
            statement.term(first);
        }
        statement.order(&query.order);
        statement.push(") AS rank");
        statement.from(&query.select);
        statement.push(&format!(") WHERE rank <= {limit} ORDER BY rank"));
        statement
    }

    pub(super) fn push(&mut self, text: &str) {
        self.sql.push_str(text);
    }

    pub(super) fn value(&mut self, value: &Value) {
        self.parameters.push(value.clone());
        self.sql.push('?');
    }

    fn query(&mut self, query: &Query<'_>) {
        self.push(if query.distinct {
            "SELECT DISTINCT "
        } else {
            "SELECT "
        });
        self.terms(&query.columns);
        self.from(&query.select);
        if let Some(after) = &query.after {
            self.push(" AND ");
            self.begin_at(&query.order, after);
            self.after(&query.order, after);
        }
        for (at, term) in query.group.iter().enumerate() {
            self.push(if at == 0 { " GROUP BY " } else { ", " });
            self.term(term);
        }
        self.order(&query.order);
        if query.limit.is_some() || query.offset > 0 {
            let limit = query
                .limit
                .map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
            self.push(&format!(" LIMIT {limit}"));
        }
        if query.offset > 0 {
            self.push(&format!(" OFFSET {}", query.offset));
        }
    }

    fn terms(&mut self, terms: &[Term<'_>]) {
        for (at, term) in terms.iter().enumerate() {
            if at > 0 {
                self.push(", ");
            }
            self.term(term);
        }
        if terms.is_empty() {
            self.push("1");
        }
    }

    /// From `FROM` to the end of the condition, which is always there.
    pub(super) fn from(&mut self, select: &Select<'_>) {
        self.push(&format!(
            " FROM {} AS s{}",
            quoted(&select.root.table.name),
            select.root.id
        ));
        for join in &select.joins {
            self.join(join);
        }
        self.push(" WHERE ");
        self.condition(&select.condition);
    }

    fn join(&mut self, join: &Join<'_>) {
        let kind = match join.kind {
            JoinKind::Inner => "JOIN",
            JoinKind::Left => "LEFT JOIN",
        };
        self.push(&format!(
            " {kind} {} AS s{} ON ",
            quoted(&join.source.table.name),
            join.source.id
        ));
        self.condition(&join.on);
    }

    fn order(&mut self, order: &[Order<'_>]) {
        for (at, order) in order.iter().enumerate() {
            self.push(if at == 0 { " ORDER BY " } else { ", " });
            self.term(&order.term);
            if order.descending {
                self.push(" DESC");
            }
        }
    }

    /// Rows behind the last one of a page. Nothing comes first in SQLite as in SQL Server, and last
    /// when the order is turned round.
    ///
    /// The plus in front of a column tells SQLite to find no rows by it: alternatives that are looked
    /// up one by one would have to be sorted again.
    fn after(&mut self, order: &[Order<'_>], last: &[Value]) {
        let [first, rest @ ..] = order else {
            return self.push("0");
        };
        let [value, values @ ..] = last else {
            return self.push("0");
        };
        self.push("(");
        match (value, first.descending) {
            (Value::Null, false) => {
                self.loose(&first.term);
                self.push(" IS NOT NULL");
            }
            (Value::Null, true) => self.push("0"),
            (value, false) => {
                self.loose(&first.term);
                self.push(" > ");
                self.value(value);
            }
            (value, true) => {
                self.push("(");
                self.loose(&first.term);
                self.push(" < ");
                self.value(value);
                self.push(" OR ");
                self.loose(&first.term);
                self.push(" IS NULL)");
            }
        }
        if !rest.is_empty() {
            self.push(" OR (");
            self.loose(&first.term);
            self.push(" IS ");
            self.value(value);
            self.push(" AND ");
            self.after(rest, values);
            self.push(")");
        }
        self.push(")");
    }

    /// A term that no index is used for.
    fn loose(&mut self, term: &Term<'_>) {
        self.push("+");
        self.term(term);
    }

    /// Where an index has to begin: nothing behind the last row lies before this.
    fn begin_at(&mut self, order: &[Order<'_>], last: &[Value]) {
        if let ([first, ..], [value, ..]) = (order, last)
            && !first.descending
            && *value != Value::Null
        {
            self.term(&first.term);
            self.push(" >= ");
            self.value(value);
            self.push(" AND ");
        }
    }

    pub(super) fn term(&mut self, term: &Term<'_>) {
        match term {
            // Images are not kept: every row is without one.
            Term::Column(_, column) if column.kind == Kind::Image => self.push("NULL"),
            Term::Column(source, column) => self.name(*source, &column.name),
            Term::Target(source, column) => self.name(*source, &type_column(&column.name)),
            Term::Value(value) => self.value(value),
            Term::Title(source, column, tables) => self.title(*source, column, tables),
            Term::Label(source, column) => self.label(*source, column),
            Term::Part(source, column, part) => self.part(*source, column, *part),
            Term::CountOf(select) => {
                self.push("(SELECT count(*)");
                self.from(select);
                self.push(")");
            }
            Term::Aggregate(aggregate, term) => self.aggregate(*aggregate, term),
        }
    }

    pub(super) fn name(&mut self, source: SourceId, column: &str) {
        self.push(&format!("s{source}.{}", quoted(column)));
    }

    fn condition(&mut self, condition: &Condition<'_>) {
        match condition {
            Condition::Always => self.push("1"),
            Condition::Never => self.push("0"),
            Condition::And(all) => self.joined(all, " AND ", "1"),
            Condition::Or(all) => self.joined(all, " OR ", "0"),
            Condition::Not(inner) => {
                self.push("((");
                self.condition(inner);
                self.push(") IS NOT TRUE)");
            }
            Condition::Compare(left, comparison, right) => self.compare(left, *comparison, right),
            Condition::IsNull(term) => {
                self.term(term);
                self.push(" IS NULL");
            }
            Condition::In(term, values) => self.among(term, values),
            Condition::Like(term, pattern) => self.like(term, pattern),
            Condition::Within(term, from, to) => self.within(term, *from, *to),
            Condition::HasChoice(term, choices) => self.has_choice(term, choices),
            Condition::Exists(select) => {
                self.push("EXISTS (SELECT 1");
                self.from(select);
                self.push(")");
            }
            Condition::InSelect(outer, inner, select) => {
                self.term(outer);
                self.push(" IN (SELECT ");
                self.term(inner);
                self.from(select);
                self.push(")");
            }
            Condition::IsFirst(outer, inner, select) => {
                self.term(outer);
                self.push(" = (SELECT min(");
                self.term(inner);
                self.push(")");
                self.from(select);
                self.push(")");
            }
        }
    }

    /// Halves, not a chain: SQLite limits how deep an expression is, not how wide.
    fn joined(&mut self, all: &[Condition<'_>], word: &str, none: &str) {
        match all {
            [] => self.push(none),
            [only] => {
                self.push("(");
                self.condition(only);
                self.push(")");
            }
            many => {
                let (left, right) = many.split_at(many.len() / 2);
                self.push("(");
                self.joined(left, word, none);
                self.push(word);
                self.joined(right, word, none);
                self.push(")");
            }
        }
    }

    fn compare(&mut self, left: &Term<'_>, comparison: Comparison, right: &Term<'_>) {
        let null = |term: &Term<'_>| matches!(term, Term::Value(Value::Null));
        let sign = match (comparison, null(left) || null(right)) {
            (Comparison::Eq, true) => " IS ",
            (Comparison::Eq, false) => " = ",
            // An empty column differs from every value.
            (Comparison::Ne, _) => " IS NOT ",
            (Comparison::Gt, _) => " > ",
            (Comparison::Ge, _) => " >= ",
            (Comparison::Lt, _) => " < ",
            (Comparison::Le, _) => " <= ",
        };
        self.term(left);
        self.push(sign);
        self.term(right);
    }

    fn among(&mut self, term: &Term<'_>, values: &[Value]) {
        if values.is_empty() {
            return self.push("0");
        }
        self.term(term);
        self.push(" IN (");
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                self.push(", ");
            }
            self.value(value);
        }
        self.push(")");
    }

    fn like(&mut self, term: &Term<'_>, pattern: &str) {
        self.push(&format!("({LIKE}("));
        self.term(term);
        self.push(", ");
        self.value(&Value::Text(pattern.to_owned()));
        self.push(")");
        // The index finds what begins so; the pattern decides.
        let begin = prefix(pattern).trim_end_matches(' ');
        let text = matches!(term, Term::Column(_, column) if matches!(column.kind, Kind::Text { .. } | Kind::Memo { .. }));
        if text && !begin.is_empty() {
            for (sign, bound) in [
                (" >= ", begin.to_owned()),
                (" <= ", format!("{begin}\u{10ffff}")),
            ] {
                self.push(" AND ");
                self.term(term);
                self.push(sign);
                self.value(&Value::Text(bound));
                self.push(&format!(" COLLATE {COLLATION}"));
            }
        }
        self.push(")");
    }

    fn within(&mut self, term: &Term<'_>, from: Option<i64>, to: Option<i64>) {
        self.push("(");
        match (from, to) {
            (None, None) => {
                self.term(term);
                self.push(" IS NOT NULL");
            }
            (from, to) => {
                for (at, (sign, bound)) in [(" >= ", from), (" < ", to)].into_iter().enumerate() {
                    let Some(bound) = bound else { continue };
                    if at == 1 && from.is_some() {
                        self.push(" AND ");
                    }
                    self.term(term);
                    self.push(sign);
                    self.value(&Value::Integer(bound));
                }
            }
        }
        self.push(")");
    }

    fn has_choice(&mut self, term: &Term<'_>, choices: &[i64]) {
        if choices.is_empty() {
            return self.push("0");
        }
        self.push("(");
        for (at, choice) in choices.iter().enumerate() {
            self.push(if at > 0 { " OR " } else { "" });
            self.push("instr(',' || ");
            self.term(term);
            self.push(" || ',', ");
            self.value(&Value::Text(format!(",{choice},")));
            self.push(") > 0");
        }
        self.push(")");
    }
}
