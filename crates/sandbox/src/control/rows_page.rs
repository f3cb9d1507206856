//! A page with the rows of a table, for people.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;

use crate::control::page::POLICY;
use crate::control::rows;
use crate::control::trouble::Trouble;
use crate::serve::Shared;

/// Rows on one page: more are the API's.
const ROWS_MAX: u32 = 500;
const ROWS: u32 = 50;

/// What is asked; a field that is left empty asks nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    filter: String,
    orderby: String,
    select: String,
    top: String,
}

#[derive(Debug, Template)]
#[template(path = "control_rows.html")]
struct RowsPage {
    organization: String,
    set: String,
    asked: Asked,
    problem: Option<String>,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

pub(super) async fn show(
    State(world): State<Shared>,
    Path((organization, set)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Response, Trouble> {
    let query = asked.query();
    let (named, of_set) = (organization.clone(), set.clone());
    let ask = move || rows::ask(&world, &named, &of_set, &query);
    let broken = |_| {
        Trouble::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the rows could not be read",
        )
    };
    let (status, body) = tokio::task::spawn_blocking(ask).await.map_err(broken)??;
    let problem = body["error"]["message"].as_str().map(str::to_owned);
    let found = body["value"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let columns = columns(found);
    let page = RowsPage {
        organization,
        set,
        asked,
        problem,
        rows: found.iter().map(|row| cells(row, &columns)).collect(),
        columns,
    };
    let Ok(text) = page.render() else {
        return Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response());
    };
    let policy = [(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    )];
    Ok((status, policy, Html(text)).into_response())
}

impl Asked {
    /// The same question in the Web API's words.
    fn query(&self) -> String {
        let top = self.top.trim().parse().unwrap_or(ROWS).clamp(1, ROWS_MAX);
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("$top", &top.to_string());
        let options = [
            ("$filter", &self.filter),
            ("$orderby", &self.orderby),
            ("$select", &self.select),
        ];
        for (name, text) in options
            .into_iter()
            .filter(|(_, text)| !text.trim().is_empty())
        {
            query.append_pair(name, text.trim());
        }
        query.finish()
    }
}

/// Columns that are not empty in every row, in the order of the table.
fn columns(rows: &[Value]) -> Vec<String> {
    let Some(first) = rows.first().and_then(Value::as_object) else {
        return Vec::new();
    };
    let names = first.keys().filter(|name| !name.contains('@'));
    let filled = |name: &&String| rows.iter().any(|row| !row[name.as_str()].is_null());
    names.filter(filled).cloned().collect()
}

fn cells(row: &Value, columns: &[String]) -> Vec<String> {
    let cell = |name: &String| match &row[name.as_str()] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    columns.iter().map(cell).collect()
}
