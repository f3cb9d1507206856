//! `$metadata`: the tables, the operations and the definitions as CSDL 4.0.

mod container;
mod tables;
mod types;

use std::fmt::Write;

use super::model::Schema;
use super::vocabulary::vocabulary;

/// Whether descriptions and permissions are wanted, as `?annotations=true` asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Annotations {
    Without,
    With,
}

/// Vocabularies that annotations are taken from.
const REFERENCES: [&str; 5] = [
    "OData.Community.Keys.V1",
    "OData.Community.Display.V1",
    "Org.OData.Core.V1",
    "Org.OData.Capabilities.V1",
    "Org.OData.Validation.V1",
];

/// The document.
pub(crate) fn metadata_document(schema: &Schema, annotations: Annotations) -> String {
    let mut xml = Xml::default();
    xml.text
        .push_str("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n");
    let namespace = "http://docs.oasis-open.org/odata/ns/edmx";
    xml.open(
        "edmx:Edmx",
        &[("Version", "4.0"), ("xmlns:edmx", namespace)],
    );
    for name in REFERENCES {
        let uri = format!("http://vocabularies.odata.org/{name}.xml");
        xml.open("edmx:Reference", &[("Uri", &uri)]);
        xml.leaf("edmx:Include", &[("Namespace", name)]);
        xml.leaf("edmx:IncludeAnnotations", &[("TermNamespace", name)]);
        xml.close("edmx:Reference");
    }
    xml.open("edmx:DataServices", &[]);
    let schema_attributes = [
        ("Namespace", "Microsoft.Dynamics.CRM"),
        ("Alias", "mscrm"),
        ("xmlns", "http://docs.oasis-open.org/odata/ns/edm"),
    ];
    xml.open("Schema", &schema_attributes);
    let vocabulary = vocabulary();
    tables::write(&mut xml, schema, annotations);
    types::write(&mut xml, vocabulary);
    container::write(&mut xml, schema, vocabulary);
    xml.close("Schema");
    xml.close("edmx:DataServices");
    xml.close("edmx:Edmx");
    xml.text
}

/// Elements, one a line.
#[derive(Default)]
struct Xml {
    text: String,
    depth: usize,
}

impl Xml {
    fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.begin(name, attributes);
        self.text.push_str(">\n");
        self.depth += 1;
    }

    fn close(&mut self, name: &str) {
        self.depth = self.depth.saturating_sub(1);
        self.indent();
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "</{name}>");
    }

    /// An element with nothing in it.
    fn leaf(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.begin(name, attributes);
        self.text.push_str(" />\n");
    }

    fn begin(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.indent();
        let _ = write!(self.text, "<{name}");
        for (attribute, value) in attributes {
            let _ = write!(self.text, " {attribute}=\"");
            self.escape(value);
            self.text.push('"');
        }
    }

    fn indent(&mut self) {
        for _ in 0..self.depth {
            self.text.push_str("  ");
        }
    }

    fn escape(&mut self, value: &str) {
        for character in value.chars() {
            match character {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                '\t' | '\n' | '\r' => self.text.push(' '),
                // XML 1.0 has no other control characters, not even escaped, and not these two.
                other if other.is_control() || matches!(other, '\u{fffe}' | '\u{ffff}') => {}
                other => self.text.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests;
