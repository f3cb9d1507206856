//! `$filter` against the schema: names become columns and joins, literals become values.

use rusqlite::types::Value;

use crate::dataverse::context::Context;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::odata::{Argument, Comparison, Expression, Lambda, Literal, Quantifier};
use crate::dataverse::plan::functions::{Operand, operator};
use crate::dataverse::plan::{Condition, Join, JoinKind, Select, Source, SourceId, Sources, Term};
use crate::dataverse::schema::{
    Collection, CollectionBy, Column, Kind, Schema, Side, Single, Table, TableKind,
};

/// What names mean at one place of an expression: the tables in reach, and the joins made for them.
pub(crate) struct Names<'c, 's> {
    pub(crate) context: &'c Context<'s>,
    pub(crate) sources: &'c mut Sources,
    /// The table that is asked, and that of every lambda variable around this place.
    scopes: Vec<Scope<'s>>,
}

struct Scope<'s> {
    variable: Option<String>,
    root: Source<'s>,
    joins: Vec<Join<'s>>,
    /// Which join follows which navigation property of which source.
    made: Vec<(SourceId, String, Source<'s>)>,
}

impl<'s> Scope<'s> {
    fn new(variable: Option<String>, root: Source<'s>) -> Self {
        Self {
            variable,
            root,
            joins: Vec::new(),
            made: Vec::new(),
        }
    }
}

/// A filter over a source's rows as a condition. Joins that it needs are put into the select.
pub(crate) fn condition<'s>(
    context: &Context<'s>,
    sources: &mut Sources,
    select: &mut Select<'s>,
    source: Source<'s>,
    filter: &Expression,
) -> Outcome<Condition<'s>> {
    let mut names = Names::of(context, sources, source);
    let condition = names.condition(filter)?;
    if let Some(scope) = names.scopes.pop() {
        select.joins.extend(scope.joins);
    }
    Ok(condition)
}

/// A managed property is an object to the real service, whose `Value` is what a row has here.
fn managed<'p>(last: &'p String, before: &'p [String]) -> (&'p String, &'p [String]) {
    match before.split_last() {
        Some((property, before)) if last == "Value" && property == "iscustomizable" => {
            (property, before)
        }
        _ => (last, before),
    }
}

/// The name of the row that a lookup leads to; none for other columns.
pub(crate) fn title<'s>(
    schema: &'s Schema,
    source: SourceId,
    column: &'s Column,
) -> Option<Term<'s>> {
    let Kind::Lookup { targets, .. } = &column.kind else {
        return None;
    };
    let tables = targets.iter().map(|target| schema.table(*target));
    let named: Vec<&'s Table> = tables
        .filter(|table| table.column(&table.title).is_some())
        .collect();
    Some(Term::Title(source, column, named))
}

impl<'c, 's> Names<'c, 's> {
    /// A place where only the columns of one source have names.
    pub(crate) fn of(context: &'c Context<'s>, sources: &'c mut Sources, root: Source<'s>) -> Self {
        Self {
            context,
            sources,
            scopes: vec![Scope::new(None, root)],
        }
    }

    /// The joins that were made for names of the outermost table.
    pub(crate) fn into_joins(mut self) -> Vec<Join<'s>> {
        self.scopes
            .pop()
            .map(|scope| scope.joins)
            .unwrap_or_default()
    }

    /// What a path of `$orderby` sorts by: of a lookup, the name of the row that it leads to. A
    /// choice goes by its number, which FetchXML does otherwise.
    pub(crate) fn ordered(&mut self, path: &str) -> Outcome<(Term<'s>, &'s Column)> {
        let path: Vec<String> = path.split('/').map(str::to_owned).collect();
        let (source, column) = self.column(&path)?;
        let term = title(self.context.schema, source, column);
        Ok((term.unwrap_or(Term::Column(source, column)), column))
    }

    fn condition(&mut self, expression: &Expression) -> Outcome<Condition<'s>> {
        match expression {
            Expression::And(all) => Ok(Condition::And(self.conditions(all)?)),
            Expression::Or(all) => Ok(Condition::Or(self.conditions(all)?)),
            Expression::Not(inner) => Ok(self.condition(inner)?.negated()),
            Expression::Compare(left, comparison, right) => self.compare(left, *comparison, right),
            Expression::Call(name, arguments) => self.call(name, arguments),
            Expression::Lambda(lambda) => self.lambda(lambda),
            Expression::Literal(Literal::Boolean(true)) => Ok(Condition::Always),
            Expression::Literal(Literal::Boolean(false)) => Ok(Condition::Never),
            Expression::Path(path) => {
                let (source, column) = self.column(path)?;
                if matches!(column.kind, Kind::Boolean { .. }) {
                    return Ok(Condition::same(
                        Term::Column(source, column),
                        Term::Value(Value::Integer(1)),
                    ));
                }
                Err(not_boolean())
            }
            Expression::Literal(_) | Expression::List(_) => Err(not_boolean()),
        }
    }

    fn conditions(&mut self, all: &[Expression]) -> Outcome<Vec<Condition<'s>>> {
        all.iter().map(|part| self.condition(part)).collect()
    }

    fn compare(
        &mut self,
        left: &Expression,
        comparison: Comparison,
        right: &Expression,
    ) -> Outcome<Condition<'s>> {
        let (left, comparison, right) = match (left, right) {
            (Expression::Literal(_), Expression::Path(_)) => (right, comparison.mirrored(), left),
            _ => (left, comparison, right),
        };
        match (left, right) {
            (Expression::Path(path), Expression::Literal(literal)) => {
                let (source, column) = self.column(path)?;
                let value = literal_value(column, literal, comparison)?;
                if value == Value::Null && !matches!(comparison, Comparison::Eq | Comparison::Ne) {
                    return Ok(Condition::Never);
                }
                Ok(Condition::Compare(
                    Term::Column(source, column),
                    comparison,
                    Term::Value(value),
                ))
            }
            (Expression::Path(left), Expression::Path(right)) => {
                let (left_source, left) = self.column(left)?;
                let (right_source, right) = self.column(right)?;
                if !alike(left, right) {
                    return Err(incompatible(left.edm(), right.edm(), comparison));
                }
                let (left, right) = (
                    Term::Column(left_source, left),
                    Term::Column(right_source, right),
                );
                Ok(Condition::Compare(left, comparison, right))
            }
            (Expression::Literal(left), Expression::Literal(right)) => {
                constant(left, comparison, right)
            }
            (condition, Expression::Literal(Literal::Boolean(wanted))) => {
                let condition = self.condition(condition)?;
                match (comparison, wanted) {
                    (Comparison::Eq, true) | (Comparison::Ne, false) => Ok(condition),
                    (Comparison::Eq, false) | (Comparison::Ne, true) => Ok(condition.negated()),
                    _ => Err(incompatible("Edm.Boolean", "Edm.Boolean", comparison)),
                }
            }
            _ => Err(Fault::syntax(
                "The query node on a side of the comparison is not supported.",
            )),
        }
    }

    // === functions ===

    fn call(&mut self, name: &str, arguments: &[Argument]) -> Outcome<Condition<'s>> {
        match name {
            "contains" | "startswith" | "endswith" => self.text_function(name, arguments),
            _ => self.query_function(name, arguments),
        }
    }

    fn text_function(&mut self, name: &str, arguments: &[Argument]) -> Outcome<Condition<'s>> {
        let mismatch = || {
            Fault::syntax(format!(
                "No function signature for the function with name '{name}' matches the specified arguments. The function signatures considered are: {name}(Edm.String Nullable=true, Edm.String Nullable=true)."
            ))
        };
        let [subject, pattern] = arguments else {
            return Err(mismatch());
        };
        let (Expression::Path(path), Expression::Literal(literal)) =
            (&subject.value, &pattern.value)
        else {
            return Err(mismatch());
        };
        let (source, column) = self.column(path)?;
        if !matches!(
            column.kind,
            Kind::Text { .. } | Kind::Memo { .. } | Kind::EntityName
        ) {
            return Err(mismatch());
        }
        let text = match literal {
            Literal::Text(text) => text,
            Literal::Null => return Ok(Condition::Never),
            _ => return Err(mismatch()),
        };
        let begin = if name == "startswith" { "" } else { "%" };
        let end = if name == "endswith" { "" } else { "%" };
        Ok(Condition::Like(
            Term::Column(source, column),
            format!("{begin}{text}{end}"),
        ))
    }

    fn query_function(&mut self, name: &str, arguments: &[Argument]) -> Outcome<Condition<'s>> {
        let (scope, bare) = match name.rsplit_once('/') {
            Some((path, bare)) => (
                Some(path.split('/').map(str::to_owned).collect::<Vec<_>>()),
                bare,
            ),
            None => (None, name),
        };
        let short = bare
            .strip_prefix("Microsoft.Dynamics.CRM.")
            .or_else(|| bare.strip_prefix("mscrm."));
        let Some(operator) = short.and_then(operator) else {
            return Err(unknown_function(name));
        };
        let (mut property, mut operands) = (None, Vec::new());
        for argument in arguments {
            match (argument.name.as_deref(), &argument.value) {
                (Some("PropertyName"), Expression::Literal(Literal::Text(text))) => {
                    property = Some(text.clone())
                }
                (Some("PropertyName"), Expression::Path(path)) => property = Some(path.join("/")),
                (Some("PropertyValues"), Expression::List(list)) => {
                    for item in list {
                        operands.push(operand(item).ok_or_else(|| unknown_function(name))?);
                    }
                }
                (Some(_), value) => {
                    operands.push(operand(value).ok_or_else(|| unknown_function(name))?)
                }
                (None, _) => return Err(unknown_function(name)),
            }
        }
        let property = property.ok_or_else(|| {
            Fault::syntax(format!("The function {name} takes the parameter PropertyName, the name of a column in quotes."))
        })?;
        let mut path = match scope {
            Some(path) => path,
            // Inside of a lambda, the function speaks of the lambda's own rows.
            None => self
                .scopes
                .last()
                .and_then(|scope| scope.variable.clone())
                .into_iter()
                .collect(),
        };
        path.extend(property.split('/').map(str::to_owned));
        let (source, column) = self.named_column(&path)?;
        operator.condition(
            self.context,
            Term::Column(source, column),
            column,
            &operands,
        )
    }

    // === lambdas ===

    fn lambda(&mut self, lambda: &Lambda) -> Outcome<Condition<'s>> {
        let Some((last, before)) = lambda.path.split_last() else {
            return Err(Fault::no_segment(""));
        };
        let (at, rest) = self.scope_of(before);
        let mut source = self.scope_root(at);
        for part in rest {
            source = self.follow(at, source, part)?;
        }
        let collection = source
            .table
            .collection(last)
            .ok_or_else(|| Fault::no_property(last, &source.table.name))?;
        let mut select = related(self.context, self.sources, source, collection)?;
        let target = select.joins.last().map_or(select.root, |join| join.source);
        self.context.demand_read(target.table)?;
        if let Some(body) = &lambda.body {
            self.scopes
                .push(Scope::new(Some(lambda.variable.clone()), target));
            let inner = self.condition(body);
            let joins = self
                .scopes
                .pop()
                .map(|scope| scope.joins)
                .unwrap_or_default();
            select.joins.extend(joins);
            let inner = match lambda.quantifier {
                Quantifier::Any => inner?,
                Quantifier::All => inner?.negated(),
            };
            select.condition =
                std::mem::replace(&mut select.condition, Condition::Always).and(inner);
        }
        let exists = Condition::Exists(Box::new(select));
        Ok(match lambda.quantifier {
            Quantifier::Any => exists,
            Quantifier::All => exists.negated(),
        })
    }

    // === names ===

    /// Which scope a path begins in, and what is left of it. A name without a variable is one of the
    /// table that is asked.
    fn scope_of<'p>(&self, path: &'p [String]) -> (usize, &'p [String]) {
        let Some((first, rest)) = path.split_first() else {
            return (0, path);
        };
        let found = self
            .scopes
            .iter()
            .rposition(|scope| scope.variable.as_ref() == Some(first));
        match found {
            Some(at) => (at, rest),
            None if first == "$it" => (0, rest),
            None => (0, path),
        }
    }

    fn scope_root(&self, at: usize) -> Source<'s> {
        self.scopes[at].root
    }

    /// The column at the end of a path.
    pub(crate) fn column(&mut self, path: &[String]) -> Outcome<(SourceId, &'s Column)> {
        let (at, rest) = self.scope_of(path);
        let Some((last, before)) = rest.split_last() else {
            return Err(Fault::syntax("A lambda variable alone has no value."));
        };
        let (last, before) = managed(last, before);
        let mut source = self.scope_root(at);
        for (place, part) in before.iter().enumerate() {
            // The key behind a lookup is the lookup itself: no join is needed.
            if place + 1 == before.len()
                && let Some(single) = source.table.single(part)
                && single.also.is_empty()
                && self.context.schema.table(single.target).key == *last
            {
                let column = &source.table.columns[single.column];
                if !column.has_several_targets() {
                    return Ok((source.id, column));
                }
            }
            source = self.follow(at, source, part)?;
        }
        let column = source
            .table
            .readable(last)
            .ok_or_else(|| Fault::no_property(last, &source.table.name))?;
        Ok((source.id, column))
    }

    /// The column that a query function names: a lookup goes by its logical name as well.
    fn named_column(&mut self, path: &[String]) -> Outcome<(SourceId, &'s Column)> {
        self.column(path).or_else(|fault| {
            let (last, before) = path.split_last().ok_or_else(|| fault.clone())?;
            let mut other = before.to_vec();
            other.push(format!("_{last}_value"));
            self.column(&other).map_err(|_| fault)
        })
    }

    /// The table behind a single-valued navigation property, joined once.
    fn follow(&mut self, at: usize, source: Source<'s>, part: &str) -> Outcome<Source<'s>> {
        let scope = &self.scopes[at];
        let made = scope
            .made
            .iter()
            .find(|(id, name, _)| *id == source.id && name == part);
        if let Some((_, _, joined)) = made {
            return Ok(*joined);
        }
        let single = source
            .table
            .single(part)
            .ok_or_else(|| Fault::no_property(part, &source.table.name))?;
        let target = self.context.schema.table(single.target);
        self.context.demand_read(target)?;
        let joined = Source {
            id: self.sources.next(),
            table: target,
        };
        let on = to_target(source, single, joined);
        let scope = &mut self.scopes[at];
        scope.joins.push(Join {
            source: joined,
            kind: JoinKind::Left,
            on,
        });
        scope.made.push((source.id, part.to_owned(), joined));
        Ok(joined)
    }
}

/// A lookup's row is the joined one.
pub(crate) fn to_target<'s>(
    source: Source<'s>,
    single: &Single,
    target: Source<'s>,
) -> Condition<'s> {
    let column = &source.table.columns[single.column];
    let same = Condition::same(target.key(), Term::Column(source.id, column));
    if column.has_several_targets() && !any_activity(target.table) {
        let kind = Term::Target(source.id, column);
        return same.and(Condition::same(kind, Term::text(&target.table.name)));
    }
    same
}

/// The rows of a collection of an outer row: the collection's table is the root, or the last join.
pub(crate) fn related<'s>(
    context: &Context<'s>,
    sources: &mut Sources,
    outer: Source<'s>,
    collection: &Collection,
) -> Outcome<Select<'s>> {
    let schema = context.schema;
    let target = schema.table(collection.target);
    match &collection.by {
        CollectionBy::OneToMany(relationship) => {
            let relationship = &schema.relationships[*relationship];
            let root = Source {
                id: sources.next(),
                table: target,
            };
            let condition = points_at(root, &relationship.column, outer.key(), outer.table)?;
            Ok(Select {
                root,
                joins: Vec::new(),
                condition,
            })
        }
        CollectionBy::ManyToMany(index, side) => {
            let relationship = &schema.many_to_many[*index];
            let (own, other) = match side {
                Side::First => (&relationship.first_column, &relationship.second_column),
                Side::Second => (&relationship.second_column, &relationship.first_column),
            };
            let root = Source {
                id: sources.next(),
                table: schema.table(relationship.intersect),
            };
            let joined = Source {
                id: sources.next(),
                table: target,
            };
            let missing = || Fault::no_segment(&collection.name);
            let (own, other) = (
                root.term(own).ok_or_else(missing)?,
                root.term(other).ok_or_else(missing)?,
            );
            let on = Condition::same(joined.key(), other);
            let condition = Condition::same(own, outer.key());
            let joins = vec![Join {
                source: joined,
                kind: JoinKind::Inner,
                on,
            }];
            Ok(Select {
                root,
                joins,
                condition,
            })
        }
    }
}

/// A lookup of a source holds this key, of a row of this table.
pub(crate) fn points_at<'s>(
    source: Source<'s>,
    column: &str,
    key: Term<'s>,
    table: &Table,
) -> Outcome<Condition<'s>> {
    let column = source
        .table
        .column(column)
        .ok_or_else(|| Fault::no_property(column, &source.table.name))?;
    let same = Condition::same(Term::Column(source.id, column), key);
    if column.has_several_targets() && !any_activity(table) {
        return Ok(same.and(Condition::same(
            Term::Target(source.id, column),
            Term::text(&table.name),
        )));
    }
    Ok(same)
}

/// Whether a table shows the activities of all kinds: what points at one of them bears the name of
/// its own table.
fn any_activity(table: &Table) -> bool {
    table.kind == TableKind::ActivityPointer
}

// === literals ===

/// A literal as a value of a column, when their types go together.
pub(crate) fn literal_value(
    column: &Column,
    literal: &Literal,
    comparison: Comparison,
) -> Outcome<Value> {
    let value = match (&column.kind, literal) {
        (_, Literal::Null) => Some(Value::Null),
        (
            Kind::Text { .. } | Kind::Memo { .. } | Kind::EntityName | Kind::Choices { .. },
            Literal::Text(text),
        ) => Some(Value::Text(text.clone())),
        (
            Kind::Whole { .. }
            | Kind::Big
            | Kind::Version
            | Kind::Choice { .. }
            | Kind::State { .. }
            | Kind::Status { .. },
            Literal::Whole(whole),
        ) => Some(Value::Integer(*whole)),
        (Kind::Whole { .. } | Kind::Big | Kind::Version, Literal::Decimal(real)) => {
            Some(Value::Real(*real))
        }
        (
            Kind::Decimal { .. } | Kind::Double { .. } | Kind::Money { .. },
            Literal::Whole(whole),
        ) => Some(Value::Integer(*whole)),
        (
            Kind::Decimal { .. } | Kind::Double { .. } | Kind::Money { .. },
            Literal::Decimal(real),
        ) => Some(Value::Real(*real)),
        (Kind::Boolean { .. }, Literal::Boolean(value)) => Some(Value::Integer(i64::from(*value))),
        (Kind::DateTime | Kind::Date, Literal::Moment(moment)) => {
            Some(match moment.timestamp_subsec_micros() {
                0 => Value::Integer(moment.timestamp()),
                micros => Value::Real(moment.timestamp() as f64 + f64::from(micros) / 1e6),
            })
        }
        (Kind::DateTime | Kind::Date, Literal::Date(date)) => Some(Value::Integer(
            date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp(),
        )),
        (Kind::Guid | Kind::Key | Kind::Lookup { .. }, Literal::Guid(id)) => {
            Some(Value::Text(id.to_string()))
        }
        _ => None,
    };
    value.ok_or_else(|| incompatible(column.edm(), literal.edm(), comparison))
}

fn operand(value: &Expression) -> Option<Operand> {
    Some(match value {
        Expression::Literal(Literal::Null) => Operand(String::new()),
        Expression::Literal(Literal::Text(text)) => Operand(text.clone()),
        Expression::Literal(Literal::Whole(whole)) => Operand(whole.to_string()),
        Expression::Literal(Literal::Decimal(real)) => Operand(real.to_string()),
        Expression::Literal(Literal::Boolean(value)) => Operand(value.to_string()),
        Expression::Literal(Literal::Guid(id)) => Operand(id.to_string()),
        Expression::Literal(Literal::Date(date)) => Operand(date.to_string()),
        Expression::Literal(Literal::Moment(moment)) => Operand(moment.to_rfc3339()),
        _ => return None,
    })
}

fn alike(left: &Column, right: &Column) -> bool {
    let group = |column: &Column| match column.edm() {
        "Edm.Int32" | "Edm.Int64" | "Edm.Decimal" | "Edm.Double" => "number",
        "Edm.DateTimeOffset" | "Edm.Date" => "moment",
        other => other,
    };
    group(left) == group(right)
}

/// Two literals: Dataverse takes such tautologies.
fn constant<'s>(left: &Literal, comparison: Comparison, right: &Literal) -> Outcome<Condition<'s>> {
    let value = |literal: &Literal| match literal {
        Literal::Whole(whole) => Some(Value::Integer(*whole)),
        Literal::Decimal(real) => Some(Value::Real(*real)),
        Literal::Text(text) => Some(Value::Text(text.clone())),
        Literal::Boolean(value) => Some(Value::Integer(i64::from(*value))),
        Literal::Null => Some(Value::Null),
        _ => None,
    };
    match (value(left), value(right)) {
        (Some(left_value), Some(right_value)) if left.edm() == right.edm() => {
            Ok(Condition::Compare(
                Term::Value(left_value),
                comparison,
                Term::Value(right_value),
            ))
        }
        _ => Err(incompatible(left.edm(), right.edm(), comparison)),
    }
}

fn incompatible(left: &str, right: &str, comparison: Comparison) -> Fault {
    Fault::syntax(format!(
        "A binary operator with incompatible types was detected. Found operand types '{left}' and '{right}' for operator kind '{}'.",
        comparison.kind()
    ))
}

fn unknown_function(name: &str) -> Fault {
    Fault::syntax(format!(
        "An unknown function with name '{name}' was found. This may also be a function import or a key lookup on a navigation property, which is not allowed."
    ))
}

fn not_boolean() -> Fault {
    Fault::syntax("The $filter expression must evaluate to a single boolean value.")
}
