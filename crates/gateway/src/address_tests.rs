use super::*;

fn turned(side: Side, address: &str) -> Option<String> {
    let turned = Turning::example(side).turn(address.as_bytes());
    turned.map(|turned| String::from_utf8(turned).expect("UTF-8"))
}

#[test]
fn addresses_of_the_organization_are_known_in_every_spelling() {
    for (address, expected) in [
        (
            "https://contoso.crm.dynamics.com/api/x?a#b",
            Some("http://gw:8421/Contoso%20Sales/api/x?a#b"),
        ),
        (
            "HTTPS://CONTOSO.crm.dynamics.com:443/api/x",
            Some("http://gw:8421/Contoso%20Sales/api/x"),
        ),
        (
            "https://contoso.crm.dynamics.com",
            Some("http://gw:8421/Contoso%20Sales"),
        ),
        (
            "https://contoso.crm.dynamics.com?x",
            Some("http://gw:8421/Contoso%20Sales?x"),
        ),
        ("/api/data/v9.2/x", Some("/Contoso%20Sales/api/data/v9.2/x")),
        ("https://contoso.crm.dynamics.com:8443/api/x", None),
        ("https://contoso.crm.dynamics.com.evil.example/api", None),
        ("https://contoso.crm.dynamics.com@evil.example/api", None),
        ("http://contoso.crm.dynamics.com/api/x", None),
        ("//contoso.crm.dynamics.com/api/x", None),
        ("/contacts(1)", None),
        ("/apix", None),
        ("contacts(1)", None),
        ("#Microsoft.Dynamics.CRM.contact", None),
        ("", None),
    ] {
        assert_eq!(
            turned(Side::Back, address).as_deref(),
            expected,
            "{address}"
        );
    }
}

#[test]
fn addresses_of_the_gateway_are_known_by_any_name_of_the_account() {
    let organization = "https://contoso.crm.dynamics.com";
    for (address, expected) in [
        (
            "http://gw:8421/Contoso%20Sales/api/x",
            Some(format!("{organization}/api/x")),
        ),
        (
            "https://GW:8421/contoso%20sales/api/x",
            Some(format!("{organization}/api/x")),
        ),
        (
            "http://gw:8421/01jd0000000000000000000000/api/x",
            Some(format!("{organization}/api/x")),
        ),
        // The port was lost on the way; the account is said by header or host.
        (
            "http://gw/api/data/v9.2/x",
            Some(format!("{organization}/api/data/v9.2/x")),
        ),
        (
            "http://gw:80/api/data/v9.2/x",
            Some(format!("{organization}/api/data/v9.2/x")),
        ),
        ("http://gw:8421", Some(organization.to_owned())),
        (
            "http://gw:8421/Contoso%20Sales",
            Some(organization.to_owned()),
        ),
        (
            "/Contoso%20Sales/api/data/v9.2/x",
            Some("/api/data/v9.2/x".to_owned()),
        ),
        (
            "/Contoso Sales/api/data/v9.2/x",
            Some("/api/data/v9.2/x".to_owned()),
        ),
        ("/api/data/v9.2/x", None),
        ("http://gw:8421/Fabrikam/api/x", None),
        ("/Fabrikam/api/x", None),
        ("/Contoso%20Sales/other", None),
        ("/contacts(1)", None),
        ("/$1", None),
        ("$1/lastname", None),
        ("http://gw:8422/api/x", None),
        ("http://gw.example/api/x", None),
    ] {
        assert_eq!(turned(Side::There, address), expected, "{address}");
    }
}

#[test]
fn a_beginning_is_undecided_until_it_can_be_told() {
    let turning = Turning::example(Side::There);
    let address = "http://gw:8421/Contoso%20Sales/api/data";
    for end in 0..address.len() {
        let verdict = turning.look(&address.as_bytes()[..end], Escapes::None, Whole::NotYet);
        // The account's segment is over once its slash has come.
        let known = end > "http://gw:8421/Contoso%20Sales".len();
        assert_eq!(verdict != Verdict::More, known, "{}", &address[..end]);
    }
}

#[test]
fn a_row_to_take_off_is_named_by_its_address_in_the_query() {
    let query = |target: &str| {
        let turned = Turning::example(Side::There).turn_query(target.as_bytes());
        turned.map(|turned| String::from_utf8(turned).expect("UTF-8"))
    };
    let reference = "/api/data/v9.2/accounts(1)/contact_customer_accounts/$ref";
    for address in [
        "http://gw:8421/Contoso%20Sales/api/data/v9.2/contacts(2)",
        "http%3A%2F%2Fgw%3a8421%2FContoso%2520Sales%2Fapi/data/v9.2/contacts(2)",
    ] {
        for name in ["$id", "%24id", "@odata.id"] {
            assert_eq!(
                query(&format!("{reference}?x=1&{name}={address}&y")).as_deref(),
                Some(&*format!(
                    "{reference}?x=1&{name}=https://contoso.crm.dynamics.com{}&y",
                    &address[address.find("api").map_or(0, |at| {
                        let slash = if address.starts_with("http:") { 1 } else { 3 };
                        at - slash
                    })..]
                )),
            );
        }
    }
    assert_eq!(
        query("/api/x(T=@t)?@t={'@odata.id':'http://gw/api/data/v9.2/c(1)'}").as_deref(),
        Some("/api/x(T=@t)?@t={'@odata.id':'https://contoso.crm.dynamics.com/api/data/v9.2/c(1)'}"),
    );
    assert_eq!(
        query("/api/x(T=@t)?%40t=%7B%22%40odata.id%22%3A%20%22http://gw/api/c(1)%22%7D").as_deref(),
        Some(
            "/api/x(T=@t)?%40t=%7B%22%40odata.id%22%3A%20%22https://contoso.crm.dynamics.com/api/c(1)%22%7D"
        ),
    );
    // Text that only looks like it, and what is another's.
    for target in [
        "/api/x?$filter=websiteurl eq 'http://gw:8421/api/x' and $id",
        "/api/x?$id=contacts(1)",
        "/api/x?$id=https://elsewhere.example/api/x",
        "/api/x?@p='odata.id http://gw/api/x'",
        "/api/x",
        "/api/x?",
    ] {
        assert_eq!(query(target), None, "{target}");
    }
}

#[test]
fn on_premises_the_organizations_name_stands_in_front() {
    let mut there = Turning::example(Side::There);
    (there.absolute, there.path) = (
        "https://crm.local/Contoso".into(),
        "https://crm.local".len(),
    );
    let turned = there.turn(b"/api/data/v9.2/x");
    assert_eq!(turned.as_deref(), Some(&b"/Contoso/api/data/v9.2/x"[..]));
    let mut back = Turning::example(Side::Back);
    back.spelling = Arc::new(Spelling {
        schemes: &["https://"],
        authorities: vec!["crm.local".into()],
        origins: vec!["https://crm.local".into()],
        base: Base::Front("/Contoso".into()),
        usual: "https://crm.local/Contoso".into(),
    });
    for (address, expected) in [
        (
            "https://crm.local/contoso/api/x",
            Some("http://gw:8421/Contoso%20Sales/api/x"),
        ),
        ("/Contoso/api/x", Some("/Contoso%20Sales/api/x")),
        ("https://crm.local/Fabrikam/api/x", None),
        ("https://crm.local/ContosoX/api/x", None),
    ] {
        let turned = back.turn(address.as_bytes());
        assert_eq!(turned.as_deref(), expected.map(str::as_bytes), "{address}");
    }
}

#[test]
fn a_host_that_cannot_be_one_is_not_repeated_in_links() {
    for sound in ["gw:8421", "[::1]:8421", "contoso.gateway.example"] {
        assert_eq!(called(sound), Some(sound));
    }
    for unsound in ["", "a\"b", "a b", "user@gw", "a/b", "a\\b"] {
        assert_eq!(called(unsound), None, "{unsound}");
    }
}
