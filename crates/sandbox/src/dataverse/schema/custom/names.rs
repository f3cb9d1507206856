//! Names of custom tables and columns: a publisher's prefix, an underscore, and the rest.

/// Refuses a name that Dataverse would not give.
pub(super) fn check(name: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{why}, as 'cr_Vehicle' does"));
    let Some((prefix, rest)) = name.split_once('_') else {
        return wrong("must begin with a prefix and an underscore");
    };
    let letters = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let first = prefix.bytes().next().unwrap_or(b'0');
    if !(2..=8).contains(&prefix.len()) || !letters(prefix) || !first.is_ascii_alphabetic() {
        return wrong("must begin with a prefix of two to eight letters and digits");
    }
    if prefix.to_ascii_lowercase().starts_with("mscrm") {
        return wrong("must not begin with mscrm; take a prefix of your own");
    }
    if rest.is_empty() || !rest.split('_').all(letters) {
        return wrong("may hold only letters, digits and underscores after its prefix");
    }
    // The longest name of a column; those of tables may be a little longer.
    if name.len() > 100 {
        return wrong("is longer than 100 characters");
    }
    Ok(())
}

/// `cr` of `cr_Vehicle`.
pub(super) fn prefix(name: &str) -> &str {
    name.split_once('_').map_or(name, |(prefix, _)| prefix)
}

/// `Vehicle` of `cr_Vehicle`.
pub(super) fn rest(name: &str) -> &str {
    name.split_once('_').map_or(name, |(_, rest)| rest)
}

/// What people read when nothing else is said: `Next Service` of `cr_NextService`.
pub(super) fn label(name: &str) -> String {
    let mut label = String::new();
    let mut small = false;
    for character in rest(name).chars() {
        if small && character.is_uppercase() {
            label.push(' ');
        }
        small = character.is_lowercase() || character.is_ascii_digit();
        label.push(if character == '_' { ' ' } else { character });
    }
    label
}

/// The plural that the platform makes of a name.
pub(super) fn plural(name: &str) -> String {
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    match name.strip_suffix('y') {
        Some(stem) if !ends(&["ay", "ey", "oy", "uy"]) => format!("{stem}ies"),
        _ if ends(&["s", "x", "z", "ch", "sh"]) => format!("{name}es"),
        _ => format!("{name}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_prefix_and_nothing_odd() {
        for good in ["cr_Vehicle", "new_callnote", "contoso_Sensor_Data2"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "vehicle",
            "c_Vehicle",
            "toolongpre_x",
            "1a_x",
            "mscrm_x",
            "cr_",
            "cr_a b",
            "cr_é",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_and_plurals_come_from_names() {
        assert_eq!(label("cr_NextServiceOn"), "Next Service On");
        assert_eq!(plural("cr_vehicle"), "cr_vehicles");
        assert_eq!(plural("cr_box"), "cr_boxes");
        assert_eq!(plural("cr_city"), "cr_cities");
        assert_eq!(plural("cr_key"), "cr_keys");
    }
}
