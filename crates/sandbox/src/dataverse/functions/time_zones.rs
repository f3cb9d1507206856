//! Time zones by the numbers that the platform gives them.

use axum::http::StatusCode;
use serde_json::json;

use crate::dataverse::answer::Answer;
use crate::dataverse::error::{Fault, Outcome};
use crate::dataverse::functions::Call;

/// Codes and standard names, as Windows has them in English.
const ZONES: [(i64, &str); 90] = [
    (0, "Dateline Standard Time"),
    (1, "Samoa Standard Time"),
    (2, "Hawaiian Standard Time"),
    (3, "Alaskan Standard Time"),
    (4, "Pacific Standard Time"),
    (5, "Pacific Standard Time (Mexico)"),
    (6, "UTC-11"),
    (7, "Aleutian Standard Time"),
    (8, "Marquesas Standard Time"),
    (10, "Mountain Standard Time"),
    (12, "Mountain Standard Time (Mexico)"),
    (15, "US Mountain Standard Time"),
    (20, "Central Standard Time"),
    (25, "Canada Central Standard Time"),
    (29, "Central Standard Time (Mexico)"),
    (33, "Central America Standard Time"),
    (35, "Eastern Standard Time"),
    (40, "US Eastern Standard Time"),
    (45, "SA Pacific Standard Time"),
    (47, "Venezuela Standard Time"),
    (50, "Atlantic Standard Time"),
    (55, "SA Western Standard Time"),
    (56, "Pacific SA Standard Time"),
    (59, "Paraguay Standard Time"),
    (60, "Newfoundland Standard Time"),
    (65, "E. South America Standard Time"),
    (69, "Argentina Standard Time"),
    (70, "SA Eastern Standard Time"),
    (73, "Greenland Standard Time"),
    (74, "Montevideo Standard Time"),
    (75, "Mid-Atlantic Standard Time"),
    (76, "UTC-02"),
    (80, "Azores Standard Time"),
    (83, "Cape Verde Standard Time"),
    (84, "Morocco Standard Time"),
    (85, "GMT Standard Time"),
    (90, "Greenwich Standard Time"),
    (92, "UTC"),
    (95, "Central Europe Standard Time"),
    (100, "Central European Standard Time"),
    (105, "Romance Standard Time"),
    (110, "W. Europe Standard Time"),
    (113, "W. Central Africa Standard Time"),
    (115, "E. Europe Standard Time"),
    (120, "Egypt Standard Time"),
    (125, "FLE Standard Time"),
    (129, "Jordan Standard Time"),
    (130, "GTB Standard Time"),
    (131, "Middle East Standard Time"),
    (133, "Syria Standard Time"),
    (134, "Turkey Standard Time"),
    (135, "Israel Standard Time"),
    (140, "South Africa Standard Time"),
    (141, "Namibia Standard Time"),
    (145, "Russian Standard Time"),
    (150, "Arab Standard Time"),
    (155, "E. Africa Standard Time"),
    (158, "Arabic Standard Time"),
    (160, "Iran Standard Time"),
    (165, "Arabian Standard Time"),
    (169, "Azerbaijan Standard Time"),
    (170, "Caucasus Standard Time"),
    (172, "Mauritius Standard Time"),
    (173, "Georgian Standard Time"),
    (175, "Afghanistan Standard Time"),
    (180, "Ekaterinburg Standard Time"),
    (184, "Pakistan Standard Time"),
    (185, "West Asia Standard Time"),
    (190, "India Standard Time"),
    (193, "Nepal Standard Time"),
    (195, "Central Asia Standard Time"),
    (196, "Bangladesh Standard Time"),
    (200, "Sri Lanka Standard Time"),
    (201, "N. Central Asia Standard Time"),
    (203, "Myanmar Standard Time"),
    (205, "SE Asia Standard Time"),
    (207, "North Asia Standard Time"),
    (210, "China Standard Time"),
    (215, "Singapore Standard Time"),
    (220, "Taipei Standard Time"),
    (225, "W. Australia Standard Time"),
    (227, "North Asia East Standard Time"),
    (230, "Korea Standard Time"),
    (235, "Tokyo Standard Time"),
    (240, "Yakutsk Standard Time"),
    (245, "AUS Central Standard Time"),
    (250, "Cen. Australia Standard Time"),
    (255, "AUS Eastern Standard Time"),
    (260, "E. Australia Standard Time"),
    (290, "New Zealand Standard Time"),
];

pub(super) fn code_by_name(call: &Call<'_, '_>) -> Outcome<Answer> {
    let name = call.arguments.text("LocalizedStandardName")?;
    let found = ZONES
        .iter()
        .find(|(_, known)| known.eq_ignore_ascii_case(name));
    let (code, _) = found.ok_or_else(|| {
        let text = format!("The time zone '{name}' is not known.");
        Fault::new(StatusCode::NOT_FOUND, "0x80040217", text)
    })?;
    Ok(call.answer(
        "GetTimeZoneCodeByLocalizedNameResponse",
        json!({"TimeZoneCode": code}),
    ))
}
