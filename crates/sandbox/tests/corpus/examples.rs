//! Where the examples lie, and what one of them is.

use std::path::Path;

use serde_json::Value;

/// The lines of a file of examples; none, with a word about it, when it is not there.
#[expect(
    clippy::print_stdout,
    reason = "who runs the tests sees what they left out"
)]
pub(crate) fn read(name: &str) -> Vec<Value> {
    // A working copy may lie deeper than the project itself does.
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data").join(name))
        .find_map(|file| std::fs::read_to_string(file).ok());
    let Some(text) = found else {
        println!("The published examples are absent: there is no {name} beside the project.");
        return Vec::new();
    };
    // One page lost a group of an identifier.
    let text = text.replace(
        "00000000-0000-0000-000000000001",
        "00000000-0000-0000-0000-000000000001",
    );
    // And one lost an underscore.
    let text = text.replace(
        "\"transactioncurrencyid_value",
        "\"_transactioncurrencyid_value",
    );
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

/// A request of the Web API, and the answer that was printed, if one was.
pub(crate) struct Example<'v> {
    pub(crate) id: &'v str,
    pub(crate) area: &'v str,
    pub(crate) method: &'v str,
    pub(crate) url: String,
    pub(crate) request: &'v Value,
    pub(crate) response: &'v Value,
}

impl<'v> Example<'v> {
    pub(crate) fn of(value: &'v Value) -> Self {
        let text = |value: &'v Value| value.as_str().unwrap_or_default();
        let request = &value["request"];
        Self {
            id: text(&value["id"]),
            area: text(&value["area"]),
            method: text(&request["method"]),
            url: whole(text(&request["url"])),
            request,
            response: &value["response"],
        }
    }

    /// What stands behind the address of the service.
    pub(crate) fn path(&self) -> &str {
        behind_service(&self.url).unwrap_or(&self.url)
    }

    pub(crate) fn headers(&self) -> Vec<(&'v str, &'v str)> {
        // The length is the client's own to count, and tokens are the test's.
        const OWN: [&str; 5] = [
            "content-length",
            "host",
            "authorization",
            "headers",
            "mscrm.sessiontoken",
        ];
        let all = self.request["headers"].as_object().into_iter().flatten();
        all.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
            .filter(|(name, _)| !OWN.contains(&name.to_ascii_lowercase().as_str()))
            .collect()
    }

    /// The printed status, as it is today: a duplicate was the server's fault once.
    pub(crate) fn status(&self) -> u16 {
        match self.response["status"].as_u64() {
            Some(500) => 412,
            Some(status) => u16::try_from(status).unwrap_or_default(),
            None if self.method == "GET" => 200,
            None => 204,
        }
    }
}

/// `contacts?…` of `[Organization URI]/api/data/v9.0/contacts?…`.
pub(crate) fn behind_service(text: &str) -> Option<&str> {
    let at = text.find("/api/data/v9.")?;
    text.get(at + "/api/data/v9.0/".len()..)
}

/// Mends what the pages lost: single-encoded FetchXML, spaces, whole identifiers, one question
/// mark.
fn whole(url: &str) -> String {
    let mut url = url.to_owned();
    if url.contains("fetchXml=") {
        url = url.replace("%25", "%");
    }
    url = spaced(&url);
    let filled = "00000000-0000-0000-0000-00000000000a";
    url = url
        .replace("?@id=<id>", &format!("&@id={filled}"))
        .replace("?@id=<stepid>", &format!("&@id={filled}"))
        .replace("<Entity Logical Name>", "account")
        .replace("<Guid Value>", filled);
    url
}

/// Puts back the spaces around operators that three examples lost.
fn spaced(url: &str) -> String {
    [
        (" ando/", " and o/"),
        (" andc/", " and c/"),
        (" andendswith", " and endswith"),
        (" orcontains", " or contains"),
        (" andopportunity", " and opportunity"),
    ]
    .iter()
    .fold(url.to_owned(), |url, (lost, whole)| {
        url.replace(lost, whole)
    })
}
