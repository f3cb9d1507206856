//! Query options, as they are written.

use crate::dataverse::error::{Fault, Outcome};

/// Parameter aliases, `@p1`, and their text.
#[derive(Debug, Default, Clone)]
pub(crate) struct Aliases(Vec<(String, String)>);

/// Everything behind the question mark, decoded.
#[derive(Debug, Default, Clone)]
pub(crate) struct QueryOptions {
    pairs: Vec<(String, String)>,
    pub(crate) aliases: Aliases,
}

/// One navigation property of `$expand`, with the options in its parentheses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpandItem {
    pub(crate) property: String,
    /// Behind `/$ref`: only the reference is wanted.
    pub(crate) reference: bool,
    pub(crate) options: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderItem {
    pub(crate) property: String,
    pub(crate) descending: bool,
}

/// Nested `$expand`s deeper than this are an attack, not a query.
const DEPTH_MAX: usize = 12;

impl Aliases {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, text)| text.as_str())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Aliases {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(
            pairs
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .to_vec(),
        )
    }
}

impl QueryOptions {
    /// Reads a query string. System options stand at most once.
    pub(crate) fn parse(query: &str) -> Outcome<Self> {
        let mut options = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()).into_owned() {
            if name.starts_with('@') {
                options.aliases.0.push((name, value));
            } else {
                options.add(name, value)?;
            }
        }
        Ok(options)
    }

    /// The options of an expanded navigation property; aliases are those of the request.
    pub(crate) fn nested(item: &ExpandItem, aliases: &Aliases) -> Outcome<Self> {
        let mut options = Self {
            pairs: Vec::new(),
            aliases: aliases.clone(),
        };
        for (name, value) in &item.options {
            options.add(name.clone(), value.clone())?;
        }
        Ok(options)
    }

    fn add(&mut self, name: String, value: String) -> Outcome<()> {
        if name.starts_with('$') && self.pairs.iter().any(|(known, _)| *known == name) {
            return Err(Fault::syntax(format!(
                "Query option '{name}' was specified more than once, but it must be specified at most once."
            )));
        }
        self.pairs.push((name, value));
        Ok(())
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Names of everything that was given, aliases apart.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|(name, _)| name.as_str())
    }

    /// A whole number that is not negative.
    pub(crate) fn number(&self, name: &str) -> Outcome<Option<u64>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        text.trim().parse().map(Some).map_err(|_| {
            Fault::syntax(format!(
                "Invalid value '{text}' for {name} query option found. The {name} query option requires a non-negative integer value."
            ))
        })
    }

    pub(crate) fn flag(&self, name: &str) -> Outcome<bool> {
        match self.text(name).map(str::trim) {
            None => Ok(false),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => Err(Fault::syntax(format!(
                "Invalid value '{other}' for {name} query option found. Valid values are 'true' and 'false'."
            ))),
        }
    }

    /// Names in `$select`; none when everything is wanted. A comma too many does no harm in Dataverse.
    pub(crate) fn select(&self) -> Option<Vec<&str>> {
        let names: Vec<&str> = self
            .text("$select")?
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect();
        (!names.is_empty() && !names.contains(&"*")).then_some(names)
    }

    pub(crate) fn order(&self) -> Outcome<Vec<OrderItem>> {
        let Some(text) = self.text("$orderby") else {
            return Ok(Vec::new());
        };
        let mut items = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let mut words = part.split_whitespace();
            let name = words.next().unwrap_or_default();
            let property = match name.strip_prefix('@') {
                Some(_) => self.aliases.text(name).unwrap_or_default(),
                None => name,
            };
            let descending = match (words.next(), words.next()) {
                (None | Some("asc"), None) => false,
                (Some("desc"), None) => true,
                _ => {
                    let at = text.find(part).unwrap_or_default() + name.len() + 1;
                    return Err(Fault::syntax(format!(
                        "Syntax error at position {at} in '{text}'."
                    )));
                }
            };
            items.push(OrderItem {
                property: property.trim().to_owned(),
                descending,
            });
        }
        Ok(items)
    }

    pub(crate) fn expand(&self) -> Outcome<Vec<ExpandItem>> {
        self.text("$expand")
            .map_or(Ok(Vec::new()), ExpandItem::list)
    }
}

impl ExpandItem {
    fn list(text: &str) -> Outcome<Vec<Self>> {
        let mut items = Vec::new();
        for part in split(text, ',')? {
            let (name, inside) = match part.split_once('(') {
                Some((name, open)) => {
                    let inside = open.strip_suffix(')').ok_or_else(|| unbalanced(text))?;
                    (name.trim(), inside)
                }
                None => (part, ""),
            };
            let (property, reference) = match name.strip_suffix("/$ref") {
                Some(property) => (property, true),
                None => (name, false),
            };
            let mut options = Vec::new();
            for option in split(inside, ';')? {
                let (name, value) = option.split_once('=').ok_or_else(|| {
                    Fault::syntax(format!(
                        "Syntax error at position {} in '{inside}'.",
                        option.len()
                    ))
                })?;
                options.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            items.push(Self {
                property: property.to_owned(),
                reference,
                options,
            });
        }
        Ok(items)
    }
}

/// Parts between separators that stand in no parentheses and no quotes; empty ones are left out.
fn split(text: &str, separator: char) -> Outcome<Vec<&str>> {
    let (mut parts, mut depth, mut start, mut quoted) = (Vec::new(), 0_usize, 0, false);
    for (at, character) in text.char_indices() {
        match character {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1).ok_or_else(|| unbalanced(text))?,
            other if other == separator && depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + separator.len_utf8();
            }
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(Fault::syntax(
                "The recursion limit has been exceeded while parsing the query.",
            ));
        }
    }
    if depth != 0 || quoted {
        return Err(unbalanced(text));
    }
    parts.push(text.get(start..).unwrap_or_default());
    Ok(parts
        .into_iter()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect())
}

fn unbalanced(text: &str) -> Fault {
    Fault::syntax(format!("Found an unbalanced bracket expression: '{text}'."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_nest_and_keep_their_options_apart() {
        let query = "$expand=a($select=x,y;$expand=b($filter=c eq ';)')),d/$ref,";
        let options = QueryOptions::parse(query).expect("options");
        let items = options.expand().expect("items");
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].options[0], ("$select".into(), "x,y".into()));
        assert_eq!(
            items[0].options[1],
            ("$expand".into(), "b($filter=c eq ';)')".into())
        );
        assert!(items[1].reference && items[1].property == "d");
        assert!(
            QueryOptions::parse("$expand=a(")
                .expect("options")
                .expand()
                .is_err()
        );
        assert!(
            QueryOptions::parse("$expand=a)")
                .expect("options")
                .expand()
                .is_err()
        );
    }

    #[test]
    fn a_system_option_stands_once() {
        assert!(QueryOptions::parse("$top=1&%24top=2").is_err());
        assert!(QueryOptions::parse("tag=1&tag=2").is_ok());
    }

    #[test]
    fn orders_take_aliases_and_refuse_other_words() {
        let options =
            QueryOptions::parse("$orderby=@p1 asc,name desc&@p1=revenue").expect("options");
        let order = options.order().expect("an order");
        assert_eq!(
            order[0],
            OrderItem {
                property: "revenue".into(),
                descending: false
            }
        );
        assert!(order[1].descending);
        assert!(
            QueryOptions::parse("$orderby=name up")
                .expect("options")
                .order()
                .is_err()
        );
    }

    #[test]
    fn numbers_and_flags_say_what_they_take() {
        let options = QueryOptions::parse("$top=-1&$count=yes").expect("options");
        assert!(options.number("$top").is_err() && options.flag("$count").is_err());
    }
}
