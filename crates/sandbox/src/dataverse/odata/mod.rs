//! The text of OData: expressions, query options and resource paths. Knows no table.

mod expression;
mod lexer;
mod options;
mod path;

pub(crate) use expression::{Argument, Comparison, Expression, Lambda, Literal, Quantifier};
pub(crate) use options::{Aliases, ExpandItem, QueryOptions};
pub(crate) use path::{KeyPart, Segment, segments};
