//! Columns that follow from others: names and addresses in one piece.

use crate::dataverse::records::{Cell, Cells};
use crate::dataverse::schema::Table;
use crate::dataverse::write::activity;

/// Beginnings of the columns of an address, and the line ends in its one piece.
const ADDRESSES: [&str; 4] = ["address1_", "address2_", "address3_", ""];
const LINE: &str = "\r\n";
/// Parts of an address that its one piece shows.
const PARTS: [&str; 7] = [
    "line1",
    "line2",
    "line3",
    "city",
    "stateorprovince",
    "postalcode",
    "country",
];

/// Fills what follows from changed cells; what did not change is among the old ones.
pub(super) fn complete(table: &Table, old: &Cells, cells: &mut Cells) {
    full_name(table, old, cells);
    for prefix in ADDRESSES {
        address(table, prefix, old, cells);
    }
    files(table, cells);
    activity::plan(table, old, cells);
    object_type(table, cells);
}

fn part<'a>(old: &'a Cells, cells: &'a Cells, name: &str) -> Option<&'a str> {
    let text = cells
        .get(name)
        .or_else(|| old.get(name))
        .and_then(Cell::as_text);
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn text(parts: &[&str], between: &str) -> Cell {
    if parts.is_empty() {
        Cell::NULL
    } else {
        Cell::text(parts.join(between))
    }
}

/// First and last name, as organizations write names that are in English.
fn full_name(table: &Table, old: &Cells, cells: &mut Cells) {
    const NAMES: [&str; 2] = ["firstname", "lastname"];
    let has = ["fullname", "firstname", "lastname"]
        .iter()
        .all(|name| table.column(name).is_some());
    if !has || !NAMES.iter().any(|name| cells.contains_key(*name)) {
        return;
    }
    let parts: Vec<&str> = NAMES
        .iter()
        .filter_map(|name| part(old, cells, name))
        .collect();
    let name = text(&parts, " ");
    cells.insert("fullname".to_owned(), name);
}

fn address(table: &Table, prefix: &str, old: &Cells, cells: &mut Cells) {
    // Most rows have no second address, let alone a third.
    if !prefix.is_empty() && !cells.keys().any(|name| name.starts_with(prefix)) {
        return;
    }
    let composite = format!("{prefix}composite");
    if table.column(&composite).is_none() {
        return;
    }
    let names = PARTS.map(|name| format!("{prefix}{name}"));
    if !names.iter().any(|name| cells.contains_key(name)) {
        return;
    }
    let [line1, line2, line3, city, state, code, country] =
        names.each_ref().map(|name| part(old, cells, name));
    let place: Vec<&str> = [state, code].into_iter().flatten().collect();
    let place = place.join(" ");
    let place = Some(place.as_str()).filter(|place| !place.is_empty());
    let town: Vec<&str> = [city, place].into_iter().flatten().collect();
    let town = town.join(", ");
    let town = Some(town.as_str()).filter(|town| !town.is_empty());
    let lines: Vec<&str> = [line1, line2, line3, town, country]
        .into_iter()
        .flatten()
        .collect();
    let whole = text(&lines, LINE);
    cells.insert(composite, whole);
}

/// A note with a file knows how large it is.
fn files(table: &Table, cells: &mut Cells) {
    if table.column("filesize").is_none() {
        return;
    }
    let Some(body) = ["documentbody", "body"]
        .iter()
        .find_map(|name| cells.get(*name))
    else {
        return;
    };
    let text = body.as_text().unwrap_or_default();
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    let size = (text.len() / 4 * 3).saturating_sub(padding);
    let has_file = !text.is_empty();
    cells.insert(
        "filesize".to_owned(),
        Cell::whole(i64::try_from(size).unwrap_or(i64::MAX)),
    );
    if table.column("isdocument").is_some() {
        cells.insert("isdocument".to_owned(), has_file.into());
    }
}

/// Which table the row is about, for those who do not read lookups.
fn object_type(table: &Table, cells: &mut Cells) {
    use crate::dataverse::schema::Kind;
    if table
        .column("objecttypecode")
        .is_none_or(|column| column.kind != Kind::EntityName)
    {
        return;
    }
    let about = ["objectid", "parentid"]
        .iter()
        .find_map(|name| cells.get(*name)?.as_row());
    if let Some((target, _)) = about {
        let target = Cell::text(target);
        cells.insert("objecttypecode".to_owned(), target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataverse::schema::Schema;

    fn completed(old: &[(&str, &str)], new: &[(&str, &str)]) -> Cells {
        let schema = Schema::standard();
        let table = schema.by_name("contact").expect("contacts");
        let cells = |pairs: &[(&str, &str)]| -> Cells {
            pairs
                .iter()
                .map(|(name, text)| ((*name).to_owned(), Cell::text(*text)))
                .collect()
        };
        let mut new = cells(new);
        complete(table, &cells(old), &mut new);
        new
    }

    #[test]
    fn a_full_name_follows_its_parts() {
        let cells = completed(
            &[("firstname", "Ada"), ("lastname", "Byron")],
            &[("lastname", "Lovelace")],
        );
        assert_eq!(cells["fullname"], Cell::text("Ada Lovelace"));
        assert!(
            !completed(&[("firstname", "Ada")], &[("jobtitle", "Countess")])
                .contains_key("fullname")
        );
    }

    #[test]
    fn an_address_in_one_piece_leaves_out_what_is_missing() {
        let cells = completed(
            &[("address1_line1", "1 Main Street")],
            &[
                ("address1_city", "Redmond"),
                ("address1_stateorprovince", "WA"),
                ("address1_postalcode", "98052"),
            ],
        );
        assert_eq!(
            cells["address1_composite"],
            Cell::text("1 Main Street\r\nRedmond, WA 98052")
        );
        let cells = completed(&[], &[("address1_country", "Japan")]);
        assert_eq!(cells["address1_composite"], Cell::text("Japan"));
    }
}
