//! The text of a FetchXML query as a tree. Strict about elements and values, as Dataverse is;
//! attributes that it does not know are left alone, as Dataverse does.

use roxmltree::{Document, Node, ParsingOptions};

use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::fetch::refused;
use crate::dataverse::fetch::tree::{
    Attribute, Condition, Entity, Fetch, Filter, Function, Link, LinkKind, Order, Part, Selected,
};
use crate::dataverse::plan::DatePart;

/// Elements, attributes' texts and comments that a query may have.
const NODES_MAX: u32 = 20_000;
/// Elements in elements.
const DEPTH_MAX: usize = 40;
const LINKS_MAX: usize = 15;
const CONDITIONS_MAX: usize = 500;
/// Values of one condition.
const VALUES_MAX: usize = 2_000;

/// Reads a query, and refuses what is too large or no FetchXML.
pub(crate) fn parse(text: &str) -> Outcome<Fetch> {
    if text.trim().is_empty() {
        return Err(refused("0x80041124", "The FetchXML text is empty."));
    }
    let options = ParsingOptions {
        nodes_limit: NODES_MAX,
        ..ParsingOptions::default()
    };
    let document =
        Document::parse_with_options(text.trim_start_matches('\u{feff}').trim(), options)
            .map_err(|error| refused("0x80040201", format!("Invalid XML. {error}.")))?;
    let root = document.root_element();
    if !root.has_tag_name("fetch") {
        return Err(unexpected(root, "fetch"));
    }
    Reader::default().fetch(root)
}

/// Counts what a query may have only so many of.
#[derive(Default)]
struct Reader {
    depth: usize,
    links: usize,
    conditions: usize,
}

impl Reader {
    fn fetch(&mut self, node: Node<'_, '_>) -> Outcome<Fetch> {
        let mut entity = None;
        for child in elements(node) {
            if !child.has_tag_name("entity") {
                return Err(unexpected(child, "entity"));
            }
            if entity.is_some() {
                return Err(refused(
                    "0x8004111c",
                    "A fetch element has one entity element, not several.",
                ));
            }
            entity = Some(self.entity(child)?);
        }
        let entity = entity
            .ok_or_else(|| refused("0x80041123", "The fetch element has no entity element."))?;
        Ok(Fetch {
            top: number(node, "top")?,
            count: number(node, "count")?,
            page: number(node, "page")?,
            cookie: text(node, "paging-cookie"),
            total: flag(node, "returntotalrecordcount", "0x80040203")?,
            distinct: flag(node, "distinct", "0x80041115")?,
            aggregate: flag(node, "aggregate", "0x8004111a")?,
            aggregate_limit: number(node, "aggregatelimit")?,
            raw_order: flag(node, "useraworderby", "0x800410fd")?,
            entity,
        })
    }

    fn entity(&mut self, node: Node<'_, '_>) -> Outcome<Entity> {
        self.enter()?;
        let mut entity = Entity {
            name: needed(node, "name")?,
            ..Entity::default()
        };
        for child in elements(node) {
            match child.tag_name().name() {
                "attribute" => entity.selected.attributes.push(attribute(child)?),
                "all-attributes" => entity.selected.all = true,
                "no-attrs" => entity.selected.none = true,
                "order" => entity.orders.push(order(child)?),
                "filter" => entity.filters.push(self.filter(child)?),
                "link-entity" => entity.links.push(self.link(child)?),
                name => {
                    let xml = node
                        .document()
                        .input_text()
                        .get(child.range())
                        .unwrap_or_default();
                    let xml: String = xml.chars().take(200).collect();
                    return Err(refused(
                        "0x8004111c",
                        format!(
                            "Invalid Child Node, valid nodes are filter, order, link-entity, attribute, all-attributes, no-attrs. NodeName = {name} NodeXml = {xml}"
                        ),
                    ));
                }
            }
        }
        self.depth -= 1;
        Ok(entity)
    }

    fn link(&mut self, node: Node<'_, '_>) -> Outcome<Link> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(refused(
                "0x8004430d",
                "Number of link entities in query exceeded maximum limit.",
            ));
        }
        let on = match (text(node, "from"), text(node, "to")) {
            (Some(from), Some(to)) => Some((from, to)),
            (None, None) => None,
            _ => {
                return Err(refused(
                    "0x80041111",
                    "A link-entity element has both of 'from' and 'to', or neither.",
                ));
            }
        };
        let alias = text(node, "alias");
        if let Some(alias) = &alias {
            check_name(alias)?;
        }
        let word = text(node, "link-type").unwrap_or_default();
        let kind = link_kind(&word).ok_or_else(|| {
            refused(
                "0x80041117",
                format!("Invalid link-type specified: '{word}'."),
            )
        })?;
        Ok(Link {
            entity: self.entity(node)?,
            on,
            alias,
            kind,
        })
    }

    fn filter(&mut self, node: Node<'_, '_>) -> Outcome<Filter> {
        self.enter()?;
        let any = match text(node, "type")
            .unwrap_or_default()
            .to_ascii_lowercase()
            .as_str()
        {
            "" | "and" => false,
            "or" => true,
            other => {
                return Err(refused(
                    "0x80041122",
                    format!("Invalid filter type specified: '{other}'."),
                ));
            }
        };
        let mut parts = Vec::new();
        for child in elements(node) {
            parts.push(match child.tag_name().name() {
                "condition" => Part::Condition(self.condition(child)?),
                "filter" => Part::Filter(self.filter(child)?),
                "link-entity" => Part::Link(self.link(child)?),
                _ => return Err(unexpected(child, "filter, condition, link-entity")),
            });
        }
        self.depth -= 1;
        Ok(Filter { any, parts })
    }

    fn condition(&mut self, node: Node<'_, '_>) -> Outcome<Condition> {
        self.conditions += 1;
        if self.conditions > CONDITIONS_MAX {
            return Err(refused(
                "0x8004430c",
                "Number of conditions in query exceeded maximum limit.",
            ));
        }
        let mut values: Vec<String> = node
            .attribute("value")
            .map(str::to_owned)
            .into_iter()
            .collect();
        for child in elements(node) {
            if !child.has_tag_name("value") {
                return Err(unexpected(child, "value"));
            }
            let inner = child
                .descendants()
                .filter(Node::is_text)
                .filter_map(|part| part.text());
            values.push(inner.collect());
        }
        if values.len() > VALUES_MAX {
            return Err(refused(
                "0x8004430e",
                "Number of parameters in a condition exceeded maximum limit.",
            ));
        }
        Ok(Condition {
            attribute: needed(node, "attribute")?,
            operator: needed(node, "operator")?,
            values,
            value_of: text(node, "valueof"),
            entity: text(node, "entityname"),
        })
    }

    fn enter(&mut self) -> Outcome<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(refused(
                "0x8004111c",
                format!("The FetchXML nests its elements deeper than {DEPTH_MAX} levels."),
            ));
        }
        Ok(())
    }
}

fn attribute(node: Node<'_, '_>) -> Outcome<Attribute> {
    let alias = text(node, "alias");
    if let Some(alias) = &alias {
        check_name(alias)?;
    }
    let aggregate = text(node, "aggregate")
        .map(|word| {
            function(&word).ok_or_else(|| {
                refused(
                    "0x8004112f",
                    format!("Invalid aggregate function specified: '{word}'."),
                )
            })
        })
        .transpose()?;
    let part = text(node, "dategrouping")
        .map(|word| {
            date_part(&word).ok_or_else(|| {
                refused(
                    "0x80041135",
                    format!("Invalid date grouping specified: '{word}'."),
                )
            })
        })
        .transpose()?;
    let count_children = match text(node, "rowaggregate") {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("countchildren") => true,
        Some(word) => {
            return Err(refused(
                "0x8004112f",
                format!("Invalid row aggregate specified: '{word}'."),
            ));
        }
    };
    Ok(Attribute {
        name: needed(node, "name")?,
        alias,
        aggregate,
        group: flag(node, "groupby", "0x8004112e")?,
        part,
        distinct: flag(node, "distinct", "0x80041115")?,
        count_children,
    })
}

fn order(node: Node<'_, '_>) -> Outcome<Order> {
    Ok(Order {
        attribute: text(node, "attribute"),
        alias: text(node, "alias"),
        entity: text(node, "entityname"),
        descending: flag(node, "descending", "0x80041119")?,
    })
}

fn function(word: &str) -> Option<Function> {
    Some(match word.to_ascii_lowercase().as_str() {
        "count" => Function::Count,
        "countcolumn" => Function::CountColumn,
        "sum" => Function::Sum,
        "avg" => Function::Average,
        "min" => Function::Least,
        "max" => Function::Greatest,
        _ => return None,
    })
}

fn date_part(word: &str) -> Option<DatePart> {
    Some(match word.to_ascii_lowercase().as_str() {
        "day" => DatePart::Day,
        "week" => DatePart::Week,
        "month" => DatePart::Month,
        "quarter" => DatePart::Quarter,
        "year" => DatePart::Year,
        "fiscal-period" => DatePart::FiscalPeriod,
        "fiscal-year" => DatePart::FiscalYear,
        _ => return None,
    })
}

fn link_kind(word: &str) -> Option<LinkKind> {
    Some(match word.to_ascii_lowercase().as_str() {
        "" | "inner" | "natural" => LinkKind::Inner,
        "outer" => LinkKind::Outer,
        "exists" => LinkKind::Exists,
        "in" => LinkKind::In,
        "matchfirstrowusingcrossapply" => LinkKind::First,
        "any" => LinkKind::Any,
        "not any" => LinkKind::NotAny,
        "all" => LinkKind::All,
        "not all" => LinkKind::NotAll,
        _ => return None,
    })
}

fn elements<'a, 'i>(node: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(Node::is_element)
}

/// An attribute that says something.
fn text(node: Node<'_, '_>, name: &str) -> Option<String> {
    node.attribute(name)
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn needed(node: Node<'_, '_>, name: &str) -> Outcome<String> {
    text(node, name).ok_or_else(|| {
        let element = node.tag_name().name();
        refused(
            "0x8004111e",
            format!("Required attribute '{name}' is missing from the {element} element."),
        )
    })
}

fn flag(node: Node<'_, '_>, name: &str, code: &'static str) -> Outcome<bool> {
    match node
        .attribute(name)
        .map(str::trim)
        .unwrap_or_default()
        .to_ascii_lowercase()
        .as_str()
    {
        "" | "false" | "0" => Ok(false),
        "true" | "1" => Ok(true),
        other => Err(refused(
            code,
            format!("Invalid value for {name} specified: '{other}'. It is true, false, 1 or 0."),
        )),
    }
}

fn number(node: Node<'_, '_>, name: &str) -> Outcome<Option<u64>> {
    let Some(text) = text(node, name) else {
        return Ok(None);
    };
    let number: Option<u64> = text.parse().ok().filter(|number| *number > 0);
    number.map(Some).ok_or_else(|| {
        refused("0x8004110c", format!("The value of the attribute '{name}' must be a whole number greater than zero, not '{text}'."))
    })
}

/// Aliases become names of properties and of elements in paging cookies.
fn check_name(alias: &str) -> Outcome<()> {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    let fits = alias.starts_with(letter)
        && alias.len() <= 128
        && alias
            .chars()
            .all(|c| letter(c) || c.is_ascii_digit() || matches!(c, '.' | '-'));
    if fits {
        return Ok(());
    }
    Err(refused(
        "0x80041109",
        format!(
            "Only characters within the ranges [A-Z], [a-z] or [0-9] or _ are allowed. The first character may only be in the ranges [A-Z], [a-z] or _. The alias is '{alias}'."
        ),
    ))
}

fn unexpected(node: Node<'_, '_>, wanted: &str) -> Fault {
    let name = node.tag_name().name();
    refused(
        "0x8004111c",
        format!("Invalid Child Node, valid nodes are {wanted}. NodeName = {name}"),
    )
}

impl Selected {
    /// Whether nothing at all was said of what is to be shown.
    pub(crate) fn silent(&self) -> bool {
        !self.all && !self.none && self.attributes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dataverse::plan::operator;

    const QUERY: &str = "<fetch version='1.0' mapping='logical' count='3' page='2' no-lock='true'><entity name='account'>\
        <attribute name='name'/><attribute name='createdon' alias='year' groupby='true' dategrouping='year'/>\
        <order attribute='name' descending='true'/><filter type='or'><condition attribute='name' operator='in'>\
        <value>a &amp; b</value><value><![CDATA[<c>]]></value></condition><filter><condition attribute='name' operator='eq' \
        valueof='c.fullname'/></filter></filter><link-entity name='contact' from='contactid' to='primarycontactid' alias='c' \
        link-type='outer'><all-attributes/></link-entity></entity></fetch>";

    fn code(text: &str) -> String {
        parse(text).expect_err("a refusal").code.into_owned()
    }

    #[test]
    fn a_query_is_read_with_everything_in_it() {
        let fetch = parse(QUERY).expect("a query");
        assert_eq!(
            (fetch.count, fetch.page, fetch.top),
            (Some(3), Some(2), None)
        );
        let entity = &fetch.entity;
        assert_eq!(entity.selected.attributes[1].part, Some(DatePart::Year));
        assert!(entity.orders[0].descending && entity.filters[0].any);
        let Part::Condition(condition) = &entity.filters[0].parts[0] else {
            panic!("a condition")
        };
        assert_eq!(condition.values, ["a & b", "<c>"]);
        assert_eq!(
            (entity.links[0].kind, entity.links[0].entity.selected.all),
            (LinkKind::Outer, true)
        );
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let entity =
            |inside: &str| format!("<fetch><entity name='contact'>{inside}</entity></fetch>");
        let many = format!(
            "<filter>{}</filter>",
            "<condition attribute='x' operator='null'/>".repeat(501)
        );
        assert_eq!(code(&entity(&many)), "0x8004430c");
        let values = format!(
            "<filter><condition attribute='x' operator='in'>{}</condition></filter>",
            "<value>1</value>".repeat(2_001)
        );
        assert_eq!(code(&entity(&values)), "0x8004430e");
        assert_eq!(
            code(&format!("<fetch>{}</fetch>", "<a/>".repeat(30_000))),
            "0x80040201"
        );
    }

    #[test]
    fn deep_elements_end_no_stack() {
        for depth in [41, 15_000, 200_000] {
            let text = format!(
                "<fetch><entity name='a'>{}{}</entity></fetch>",
                "<filter>".repeat(depth),
                "</filter>".repeat(depth)
            );
            assert!(parse(&text).is_err());
            assert!(parse(&"<filter>".repeat(depth)).is_err());
        }
    }

    #[test]
    fn documents_do_not_define_anything() {
        assert_eq!(
            code("<!DOCTYPE fetch [<!ENTITY a 'b'>]><fetch><entity name='&a;'/></fetch>"),
            "0x80040201"
        );
    }

    #[test]
    fn every_published_operator_is_known() {
        let names = "above begins-with between contain-values ends-with eq eq-businessid eq-or-above eq-or-under eq-userid \
            eq-userlanguage eq-useroruserhierarchy eq-useroruserhierarchyandteams eq-useroruserteams eq-userteams ge gt in \
            in-fiscal-period in-fiscal-period-and-year in-fiscal-year in-or-after-fiscal-period-and-year \
            in-or-before-fiscal-period-and-year last-fiscal-period last-fiscal-year last-month last-seven-days last-week \
            last-x-days last-x-fiscal-periods last-x-fiscal-years last-x-hours last-x-months last-x-weeks last-x-years last-year \
            le like lt ne ne-businessid ne-userid neq next-fiscal-period next-fiscal-year next-month next-seven-days next-week \
            next-x-days next-x-fiscal-periods next-x-fiscal-years next-x-hours next-x-months next-x-weeks next-x-years next-year \
            not-begin-with not-between not-contain-values not-end-with not-in not-like not-null not-under null \
            olderthan-x-days olderthan-x-hours olderthan-x-minutes olderthan-x-months olderthan-x-weeks olderthan-x-years \
            on on-or-after on-or-before this-fiscal-period this-fiscal-year this-month this-week this-year today tomorrow under yesterday";
        for name in names.split_whitespace() {
            assert!(operator(name).is_some(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn damaged_queries_are_read_or_refused(at in 0..QUERY.len(), length in 0..40_usize, other in "[<>/='\" a-z&;\\-]{0,12}") {
            let mut bytes = QUERY.as_bytes().to_vec();
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, other.bytes());
            let _ = parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
